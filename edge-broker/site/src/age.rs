//! How old frames are: running time, which no wall clock can change.
//!
//! Running time is what passed while the site's gateways were up: milliseconds since boot, summed
//! over boots. Apply counts it from the frames' headers, so all gateways agree:
//!
//! ```text
//! boot 1 of gateway A   ├──── 500 ────┤ 900     frames 1, 2     ran 500 (first frame: 0), +400
//! power off             ┆ three weeks           nobody knows    +0
//! boot 2 of gateway A      ├── 200               frame 3         +200: up since, at least
//! gateway B leads          ├──────── 70_000      frame 4         +0: its boot tells nothing here
//! ```
//! So nothing looks older than it is, whatever clocks show and clients stamp; time without power
//! makes nothing older. Frames are committed in the order in which they were written (raft's), so
//! the index of a frame is enough to ask for its age.
//!
//! Pure. Retention asks; the wall clock and the mending of stamps are `clock`'s business.

use edge_log::FrameHeader;
use serde::{Deserialize, Serialize};

/// Frames closer together than this share a rung.
const SPACING_MS: u64 = 1000;

/// Rungs; beyond it the one goes that is missed the least: about 10 % of an age over ten years.
const RUNGS_MAX: usize = 256;

/// A moment on a gateway's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Which gateway.
    pub store_id: u64,
    /// Which boot of it.
    pub boot_id: u64,
    /// Milliseconds since then.
    pub boot_ms: u64,
}

impl Moment {
    /// When a frame was proposed.
    pub fn of(header: &FrameHeader) -> Moment {
        Moment {
            store_id: header.store_id,
            boot_id: header.boot_id,
            boot_ms: header.boot_ms,
        }
    }
}

/// Every frame up to `index` was written when so much running time had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rung {
    index: u64,
    ran_ms: u64,
}

/// Part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ages {
    /// The newest frame.
    index: u64,
    ran_ms: u64,
    at: Moment,
    /// Older ones, the further apart the older they are.
    rungs: Vec<Rung>,
}

impl Ages {
    /// Running time at a moment after everything applied.
    pub fn ran_ms(&self, at: Moment) -> u64 {
        let passed_ms = if at.boot_id == self.at.boot_id {
            at.boot_ms.saturating_sub(self.at.boot_ms)
        } else if at.store_id == self.at.store_id {
            at.boot_ms
        } else {
            0
        };
        self.ran_ms.saturating_add(passed_ms)
    }

    /// A frame is applied.
    pub fn note(&mut self, index: u64, at: Moment) {
        let ran_ms = self.ran_ms(at);
        // The last frame before a pause is the one that counts.
        let above = |rung: &Rung| {
            self.ran_ms > rung.ran_ms && ran_ms >= rung.ran_ms.saturating_add(SPACING_MS)
        };
        if self.index > 0 && self.rungs.last().is_none_or(above) {
            self.rungs.push(Rung {
                index: self.index,
                ran_ms: self.ran_ms,
            });
            self.thin_out();
        }
        (self.index, self.ran_ms, self.at) = (index, ran_ms, at);
    }

    fn thin_out(&mut self) {
        if self.rungs.len() <= RUNGS_MAX {
            return;
        }
        // The gap that is left, in thousandths of how old it is.
        let gap = |w: &[Rung]| {
            let age_ms = self.ran_ms - w[1].ran_ms + SPACING_MS;
            (w[2].ran_ms - w[0].ran_ms).saturating_mul(1000) / age_ms
        };
        let gaps = self.rungs.windows(3).map(gap);
        if let Some((at, _)) = gaps.enumerate().min_by_key(|&(_, gap)| gap) {
            self.rungs.remove(at + 1);
        }
    }

    /// How old a frame is at a moment: at least so much, and not much more.
    pub fn age_ms(&self, index: u64, at: Moment) -> u64 {
        if index > self.index {
            return 0;
        }
        let rung = self.rungs.partition_point(|rung| rung.index < index);
        let written_ms = self.rungs.get(rung).map_or(self.ran_ms, |rung| rung.ran_ms);
        self.ran_ms(at).saturating_sub(written_ms)
    }
}

#[cfg(test)]
mod tests;
