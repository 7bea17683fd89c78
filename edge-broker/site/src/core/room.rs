//! When the store has no room left: appends wait for what retention frees, or are refused.
//!
//! ```text
//! a write took the last room ─▶ no frame takes records, the queue fills, who comes next waits
//!     report: something goes ─▶ starts move, slices go ─▶ a report with room ─▶ frames again
//!     report: nothing can go, or none went for five seconds ─▶ refused, storage.full
//! ```
//! Control entries go on meanwhile: they make the room. What may go is `retention`'s business.

use super::{Disk, Output, SiteCore};
use crate::append::Now;
use crate::error::Refused;
use crate::retention::Plan;

/// Room that retention makes is waited for so long.
const WAIT_MS_MAX: u64 = 5000;

/// What is said then.
pub(super) const NO_ROOM: Refused = Refused::Full {
    limit: "storage.bytes_max",
};

/// Meanwhile the store is asked this often.
const LOOK_MS: u64 = 20;

/// What appends wait for.
#[derive(Default)]
pub(super) struct RoomWait {
    /// Since when there is no room.
    since_ms: Option<u64>,
    /// When to ask the store again.
    look_at_ms: Option<u64>,
    /// Nothing will come of it: appends are refused.
    over: bool,
}

impl Disk {
    /// Nothing may be appended at the moment.
    pub(super) fn no_room(&self) -> bool {
        self.append_bytes_left == Some(0)
    }

    /// Nothing may be appended, and waiting does not help.
    pub(super) fn is_stuck(&self) -> bool {
        self.no_room() && self.room.over
    }
}

impl<T> SiteCore<T> {
    /// What the disk says can be appended; with nothing left, its figures are asked for at once.
    pub(super) fn note_room(&mut self, now: Now, append_bytes_left: u64) {
        self.disk.append_bytes_left = Some(append_bytes_left);
        if !self.disk.no_room() {
            self.disk.room = RoomWait::default();
        } else if self.disk.room.since_ms.is_none() {
            self.disk.room.since_ms = Some(now.mono_ms);
            self.ask_for_report();
        }
    }

    /// After a report: whether waiting goes on, because something goes by the plan or may soon.
    pub(super) fn judge_room(&mut self, now: Now, planned: &Plan) {
        let Some(since_ms) = self.disk.room.since_ms else {
            return;
        };
        // Retention may have what a checkpoint covers.
        let covered = self.checkpoints.index;
        let closed = self.disk.usage.slices.iter().filter(|slice| slice.sealed);
        let uncovered = closed.max_by_key(|slice| slice.last_index);
        let uncovered = uncovered.is_some_and(|slice| slice.last_index > covered);
        if uncovered {
            self.save_checkpoint(true);
        }
        let usage = &self.disk.usage;
        let hope = planned.makes_room || usage.compacting || usage.closing || uncovered;
        let room = &mut self.disk.room;
        room.over = !hope || now.mono_ms >= since_ms + WAIT_MS_MAX;
        room.look_at_ms = (!room.over).then_some(now.mono_ms + LOOK_MS);
    }

    /// Asks again when it is time to.
    pub(super) fn look_for_room(&mut self, now: Now) {
        let due = |at: &mut u64| now.mono_ms >= *at;
        if self.disk.room.look_at_ms.take_if(due).is_some() {
            self.ask_for_report();
        }
    }

    /// When that is.
    pub(super) fn room_deadline_ms(&self) -> Option<u64> {
        self.disk.room.look_at_ms
    }

    pub(super) fn ask_for_report(&mut self) {
        if !self.disk.report_wanted {
            self.disk.report_wanted = true;
            self.out.push_back(Output::WantReport);
        }
    }
}
