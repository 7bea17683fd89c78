//! Says in the log how this gateway's clock stands, where it was not always right.

use super::{PendingControl, SiteCore};
use crate::append::Now;
use crate::clock::{ClockTrust, Mends};
use crate::control::Control;

/// What was said may have got lost with a leader: it is said again after so long.
const REPEAT_MS: u64 = 1000;

/// What this core knows of its clock.
#[derive(Default)]
pub(super) struct Clock {
    trust: Option<ClockTrust>,
    said_at_ms: Option<u64>,
    pub(super) mends_changed: bool,
}

impl<T> SiteCore<T> {
    /// How far the wall clock can be believed; called now and then, and when it leapt.
    ///
    /// Without this call nothing is said, and no stamp is ever mended.
    pub fn handle_clock(&mut self, now: Now, trust: ClockTrust) {
        let changed = self.clock.trust.replace(trust) != Some(trust);
        if changed {
            self.clock.said_at_ms = None;
        }
        if self.leads && self.clock_control(now).is_some() {
            self.soft.since_ms.get_or_insert(now.mono_ms);
            self.advance(now);
        }
    }

    /// What goes into the next frame, ahead of the records that this clock stamped.
    pub(super) fn say_clock(&mut self, now: Now) -> Option<PendingControl<T>> {
        let control = self.clock_control(now)?;
        self.clock.said_at_ms = Some(now.mono_ms);
        Some(PendingControl::silent(control))
    }

    fn clock_control(&self, now: Now) -> Option<Control> {
        let trust = self.clock.trust?;
        let said = self.clock.said_at_ms;
        if said.is_some_and(|at| now.mono_ms < at + REPEAT_MS) {
            return None;
        }
        let boot_ms = now.mono_ms;
        let offset_ms = now.wall_ms.saturating_sub_unsigned(boot_ms);
        let clocks = &self.state.clocks;
        let wanted = clocks.wants(self.store_id, self.config.boot_id, offset_ms, trust);
        wanted.then_some(Control::Clock {
            boot_ms,
            offset_ms,
            trust,
        })
    }

    /// What mends wrong stamps, if that changed since the last call.
    pub fn take_mends(&mut self) -> Option<Mends> {
        std::mem::take(&mut self.clock.mends_changed).then(|| self.state.clocks.mends())
    }
}

#[cfg(test)]
mod tests;
