//! How long to wait before a connection is tried again.
//!
//! A try that ends before there is a TCP connection costs about a hundred bytes, and its success
//! is how the return of central is noticed: it is repeated often. One that came further costs
//! kilobytes of TLS and login, and somebody has to repair something: it may wait longer. The two
//! are counted apart, so that an hour of refused connections does not make the first failure
//! behind it wait, and a lost packet does not speed up a wrong password.

use super::{Forwarder, types::Ms};

/// The longest wait after an early end is this part of `retry_ms_max`: 5 s of the default 30.
const EARLY_PART: Ms = 6;

/// Tries in a row that failed, of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tries {
    early: u32,
    late: u32,
}

impl Tries {
    /// One more failed.
    pub fn failed(&mut self, early: bool) {
        let count = if early {
            &mut self.early
        } else {
            &mut self.late
        };
        *count = count.saturating_add(1);
    }

    pub fn any(&self) -> bool {
        self.early > 0 || self.late > 0
    }

    /// Nothing is known but that nobody answers.
    pub fn only_early(&self) -> bool {
        self.early > 0 && self.late == 0
    }
}

impl Forwarder {
    /// The wait after a try that failed so.
    pub(super) fn wait_after(&mut self, tries: Tries, early: bool) -> Ms {
        let retry_ms_max = self.settings.retry_ms_max;
        if early {
            let most = (retry_ms_max / EARLY_PART).max(self.settings.retry_ms_min);
            self.backoff_within(tries.early, most)
        } else {
            self.backoff_within(tries.late, retry_ms_max)
        }
    }
}
