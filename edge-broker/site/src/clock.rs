//! Records that were stamped by a clock that was not right, and what mends their stamps.
//!
//! A gateway without a battery-backed clock boots in 1970 and stamps records with it until a time
//! service sets the clock. The clock's leap tells what was wrong: milliseconds since boot go on
//! through it. So the state keeps, per boot, the **stretches** during which wall clock and time
//! since boot kept their distance, and per partition the **spans** of offsets appended meanwhile:
//!
//! ```text
//!  boot 1  ├─ 1970 ───────┤ off            a record at ms 500 of boot 1: at the latest
//!  boot 2  ├─ 1970 ─┤ leap ├─ right ──▶      (wall at ms 0 of boot 2) − (end of boot 1 − 500)
//!                                          a record at ms 500 of boot 2: right − 1970 later
//! ```
//!
//! Within a boot the mend is exact. A boot that ended before its clock was right is bounded by
//! the next one that knows the time: its records are older than that boot, and keep their
//! distances. Where no later boot ever knew the time, nothing is guessed. A clock that shows a
//! possible date and was never corrected is left alone, too.
//!
//! Pure. Told by control entries and frame headers, so every gateway of a site agrees; a gateway
//! whose clock is right from its boot on leaves no trace here.

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_log::TopicPartition;
use serde::{Deserialize, Serialize};

/// Leaps smaller than this are not worth mending.
const STEP_MS: i64 = 1000;

/// How long a record may wait between its stamp and its frame, and a leap until it is noticed.
const SLACK_MS: i64 = 60_000;

/// Boots remembered; beyond it the oldest is forgotten with its spans, which stay as stamped.
const BOOTS_MAX: usize = 64;

/// Stretches of one boot; beyond it the newest takes over.
const STRETCHES_MAX: usize = 32;

/// Spans of one partition; beyond it the oldest is forgotten.
const SPANS_MAX: usize = 64;

/// How far the wall clock can be believed. The order is the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClockTrust {
    /// It shows a date before this program was built: nobody set it.
    Unset,
    /// A possible date, but a time service says that it has not set the clock yet.
    Unsynced,
    /// Set by a time service, or possible where nobody says anything.
    Right,
}

/// A time in which the wall clock ran evenly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    /// Noticed at this time since boot.
    from_ms: u64,
    /// Wall clock at the moment of the boot.
    offset_ms: i64,
    trust: ClockTrust,
}

/// One boot of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    id: u64,
    store_id: u64,
    /// Never empty.
    stretches: Vec<Stretch>,
    /// Time since boot of its newest frame.
    last_ms: u64,
    /// The latest moment this boot can have begun, learned from a later one.
    bound_ms: Option<i64>,
}

/// Offsets of a partition that were appended during one stretch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: i64,
    to: i64,
    boot: u64,
    stretch: u32,
}

/// Part of the state; empty where every boot had the right time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    boots: Vec<Boot>,
    spans: BTreeMap<TopicPartition, Vec<Span>>,
}

/// What to add to stamps of some records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mend {
    /// First offset.
    pub from: i64,
    /// First offset after it.
    pub to: i64,
    /// Stamps before this were not made by that clock: somebody else's, left alone.
    pub stamped_from_ms: i64,
    /// Stamps after this neither.
    pub stamped_to_ms: i64,
    /// None while the right time is not known yet.
    pub add_ms: Option<i64>,
}

impl Mend {
    /// Whether it is about a record.
    pub fn fits(&self, offset: i64, timestamp_ms: i64) -> bool {
        (self.from..self.to).contains(&offset)
            && (self.stamped_from_ms..=self.stamped_to_ms).contains(&timestamp_ms)
    }
}

/// All mends, by partition. Of several that fit a record the first holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mends(BTreeMap<TopicPartition, Arc<[Mend]>>);

impl Mends {
    /// Those of a partition.
    pub fn of(&self, tp: TopicPartition) -> Arc<[Mend]> {
        self.0.get(&tp).cloned().unwrap_or_default()
    }
}

/// The stamp a record should have.
pub fn mended_ms(mends: &[Mend], offset: i64, timestamp_ms: i64) -> i64 {
    let mend = mends.iter().find(|mend| mend.fits(offset, timestamp_ms));
    let add_ms = mend.and_then(|mend| mend.add_ms).unwrap_or(0);
    timestamp_ms.saturating_add(add_ms)
}

impl Boot {
    /// Time since boot at which a stretch ended; none while it goes on.
    fn end_of(&self, stretch: usize) -> Option<u64> {
        let next = self.stretches.get(stretch + 1).map(|next| next.from_ms);
        next.or(self.bound_ms.map(|_| self.last_ms))
    }

    fn knows(&self) -> bool {
        self.stretches.iter().any(|s| s.trust == ClockTrust::Right)
    }

    /// Nothing tells yet what its wrong stamps should have been.
    fn is_open(&self) -> bool {
        !self.knows() && self.bound_ms.is_none()
    }

    /// The right wall clock at the boot, as far as it concerns a stretch.
    fn truth_ms(&self, stretch: usize) -> Option<i64> {
        let right = |s: &&Stretch| s.trust == ClockTrust::Right;
        let later = self.stretches.iter().skip(stretch).find(right);
        let before = self.stretches.iter().take(stretch).rev();
        let known = later.or_else(|| before.clone().find(right));
        let unset = self.stretches.get(stretch)?.trust == ClockTrust::Unset;
        known
            .map(|s| s.offset_ms)
            .or(self.bound_ms.filter(|_| unset))
    }

    /// What mends stamps of a stretch; none where nothing can be said, and nothing is wrong.
    fn mend(&self, span: &Span, stretch: usize) -> Option<Mend> {
        let about = self.stretches.get(stretch)?;
        let truth_ms = self.truth_ms(stretch);
        if truth_ms.is_none() && about.trust != ClockTrust::Unset {
            return None;
        }
        let stamp = |ms: u64| about.offset_ms.saturating_add_unsigned(ms);
        let add_ms = truth_ms.map(|truth| truth - about.offset_ms);
        Some(Mend {
            from: span.from,
            to: span.to,
            stamped_from_ms: stamp(about.from_ms) - SLACK_MS,
            stamped_to_ms: self
                .end_of(stretch)
                .map_or(i64::MAX, |ms| stamp(ms).saturating_add(SLACK_MS)),
            add_ms: add_ms.map(|add| if add.abs() < STEP_MS { 0 } else { add }),
        })
    }
}

impl Clocks {
    /// Whether a gateway should say how its clock stands.
    pub fn wants(&self, store_id: u64, boot_id: u64, offset_ms: i64, trust: ClockTrust) -> bool {
        let Some(boot) = self.boot(boot_id) else {
            let waits = |boot: &Boot| boot.store_id == store_id && boot.is_open();
            return trust != ClockTrust::Right || self.boots.iter().any(waits);
        };
        let Some(last) = boot.stretches.last() else {
            return true;
        };
        let leapt = (last.offset_ms - offset_ms).abs() >= STEP_MS;
        last.trust != trust || (leapt && trust != ClockTrust::Right)
    }

    /// How a gateway's clock stands from here on. True if [`Self::mends`] changed.
    pub fn note(
        &mut self,
        store_id: u64,
        boot_id: u64,
        boot_ms: u64,
        offset_ms: i64,
        trust: ClockTrust,
    ) -> bool {
        if !self.wants(store_id, boot_id, offset_ms, trust) {
            return false;
        }
        let stretch = Stretch {
            from_ms: boot_ms,
            offset_ms,
            trust,
        };
        match self.boots.iter_mut().find(|boot| boot.id == boot_id) {
            Some(boot) => {
                boot.stretches.truncate(STRETCHES_MAX - 1);
                boot.stretches.push(stretch);
                boot.last_ms = boot.last_ms.max(boot_ms);
            }
            None => self.boots.push(Boot {
                id: boot_id,
                store_id,
                stretches: vec![stretch],
                last_ms: boot_ms,
                bound_ms: None,
            }),
        }
        if trust == ClockTrust::Right {
            self.bound_earlier_boots(store_id, boot_id);
        }
        self.tidy();
        true
    }

    /// Each boot before one that knows the time ended, at the latest, when the next one began.
    fn bound_earlier_boots(&mut self, store_id: u64, boot_id: u64) {
        let Some(at) = self.boots.iter().position(|boot| boot.id == boot_id) else {
            return;
        };
        let mut began_ms = self.boots[at].truth_ms(0);
        let earlier = self.boots[..at].iter_mut().rev();
        for boot in earlier.filter(|boot| boot.store_id == store_id) {
            let Some(end_ms) = began_ms.filter(|_| boot.is_open()) else {
                return;
            };
            boot.bound_ms = Some(end_ms.saturating_sub_unsigned(boot.last_ms));
            began_ms = boot.bound_ms;
        }
    }

    /// A frame was proposed so long after a boot.
    pub fn seen(&mut self, boot: u64, boot_ms: u64) {
        if let Some(known) = self.boots.iter_mut().find(|known| known.id == boot) {
            known.last_ms = known.last_ms.max(boot_ms);
        }
    }

    /// A batch was committed. True if [`Self::mends`] changed.
    pub fn stamp(&mut self, tp: TopicPartition, span: (i64, i64), boot: u64, boot_ms: u64) -> bool {
        let Some(known) = self.boot(boot) else {
            return false;
        };
        let at = known.stretches.iter().rposition(|s| s.from_ms <= boot_ms);
        let at = at.unwrap_or(0);
        let stretch = &known.stretches[at];
        // Right after the leap a record may still carry a stamp from before.
        let late_ms = stretch.from_ms.saturating_add_signed(SLACK_MS);
        if stretch.trust == ClockTrust::Right && (at == 0 || boot_ms > late_ms) {
            return false;
        }
        let (from, to) = span;
        let spans = self.spans.entry(tp).or_default();
        if let Some(last) = spans.last_mut()
            && (last.boot, last.stretch) == (boot, at as u32)
        {
            last.to = to;
            return false;
        }
        if spans.len() >= SPANS_MAX {
            spans.remove(0);
        }
        spans.push(Span {
            from,
            to,
            boot,
            stretch: at as u32,
        });
        true
    }

    /// What lies below `offset` is of no more concern. True if [`Self::mends`] changed.
    pub fn passed(&mut self, tp: TopicPartition, offset: i64) -> bool {
        let Some(spans) = self.spans.get_mut(&tp) else {
            return false;
        };
        let before = spans.len();
        spans.retain(|span| span.to > offset);
        let changed = spans.len() != before;
        if changed {
            self.tidy();
        }
        changed
    }

    /// Partitions that are gone. True if [`Self::mends`] changed.
    pub fn retain(&mut self, exists: impl Fn(TopicPartition) -> bool) -> bool {
        let before = self.spans.len();
        self.spans.retain(|tp, _| exists(*tp));
        before != self.spans.len()
    }

    /// Forgets what nothing refers to any more.
    fn tidy(&mut self) {
        while self.boots.len() > BOOTS_MAX {
            let gone = self.boots.remove(0).id;
            self.spans
                .values_mut()
                .for_each(|spans| spans.retain(|span| span.boot != gone));
        }
        self.spans.retain(|_, spans| !spans.is_empty());
        // From the oldest on: what stands between an open boot and the next one is its measure.
        while let Some(oldest) = self.boots.first() {
            let newest = !self.boots[1..]
                .iter()
                .any(|b| b.store_id == oldest.store_id);
            let used = |spans: &Vec<Span>| spans.iter().any(|span| span.boot == oldest.id);
            if newest || self.spans.values().any(used) {
                return;
            }
            self.boots.remove(0);
        }
    }

    fn boot(&self, id: u64) -> Option<&Boot> {
        self.boots.iter().find(|boot| boot.id == id)
    }

    /// What to do with records that were stamped wrongly.
    pub fn mends(&self) -> Mends {
        let of = |spans: &Vec<Span>| {
            let mut list: Vec<Mend> = Vec::new();
            for (n, span) in spans.iter().enumerate() {
                let mut span = span.clone();
                if n + 1 == spans.len() {
                    // It still grows, and a new list for every commit would cost too much.
                    span.to = i64::MAX;
                }
                let Some(boot) = self.boot(span.boot) else {
                    continue;
                };
                let earlier = (0..=span.stretch as usize).rev();
                list.extend(earlier.filter_map(|stretch| boot.mend(&span, stretch)));
            }
            list.into()
        };
        Mends(
            self.spans
                .iter()
                .map(|(tp, spans)| (*tp, of(spans)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests;
