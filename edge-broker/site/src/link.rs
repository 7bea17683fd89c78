//! Bytes on the paid link this month: part of the state, so that a restart does not forget them.
//!
//! Pure. Whoever counts hands in what came since the last time, with the month it belongs to.

use serde::{Deserialize, Serialize};

/// Clocks that show less were never set (2025-01-01): what they count belongs to the first month
/// that is known, and never ends one.
const CLOCK_SET_MS: i64 = 1_735_689_600_000;

/// One calendar month, the newest that was ever seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkMonth {
    /// Months since March of year 0, UTC.
    pub month: u32,
    /// Wall clock when counting began in it.
    pub began_ms: i64,
    /// Sent to central in it.
    pub sent_bytes: u64,
    /// Received from there.
    pub received_bytes: u64,
}

/// What came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUse {
    /// The month that the wall clock shows.
    pub month: u32,
    /// The wall clock.
    pub at_ms: i64,
    /// Sent since the last time.
    pub sent_bytes: u64,
    /// Received since the last time.
    pub received_bytes: u64,
}

impl LinkMonth {
    /// Adds to the month, or begins the next one. A clock that is set back a little ends no month;
    /// one that had been far ahead does.
    pub fn add(&mut self, used: LinkUse) {
        let set = self.began_ms >= CLOCK_SET_MS;
        let anew = used.at_ms >= CLOCK_SET_MS && (!set || used.month + 1 < self.month);
        if used.month > self.month || anew {
            *self = LinkMonth {
                month: used.month,
                began_ms: used.at_ms,
                sent_bytes: if set { 0 } else { self.sent_bytes },
                received_bytes: if set { 0 } else { self.received_bytes },
            };
        }
        self.sent_bytes = self.sent_bytes.saturating_add(used.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(used.received_bytes);
    }

    /// Both ways.
    pub fn bytes(&self) -> u64 {
        self.sent_bytes.saturating_add(self.received_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER: i64 = 1_795_219_200_000;
    const DAY_MS: i64 = 86_400_000;

    fn used(month: u32, at_ms: i64, sent_bytes: u64) -> LinkUse {
        LinkUse {
            month,
            at_ms,
            sent_bytes,
            received_bytes: 1,
        }
    }

    #[test]
    fn a_month_adds_up_and_the_next_begins_at_nothing() {
        let mut month = LinkMonth::default();
        month.add(used(100, NOVEMBER, 10));
        month.add(used(100, NOVEMBER + DAY_MS, 20));
        assert_eq!((month.bytes(), month.began_ms), (32, NOVEMBER));
        month.add(used(101, NOVEMBER + 15 * DAY_MS, 5));
        assert_eq!((month.bytes(), month.month), (6, 101));
    }

    #[test]
    fn a_clock_that_was_never_set_ends_no_month_and_counts_for_the_first_known_one() {
        let mut month = LinkMonth::default();
        month.add(used(3, 1_000, 10));
        month.add(used(100, NOVEMBER, 20));
        assert_eq!((month.month, month.bytes()), (100, 32));
        month.add(used(3, 2_000, 5));
        assert_eq!((month.month, month.bytes()), (100, 38), "a reboot in 1970");
    }

    #[test]
    fn a_clock_that_was_far_ahead_does_not_stop_the_calendar() {
        let mut month = LinkMonth::default();
        month.add(used(900, NOVEMBER + 25_000 * DAY_MS, 10));
        month.add(used(100, NOVEMBER, 20));
        assert_eq!((month.month, month.bytes()), (100, 21));
        month.add(used(99, NOVEMBER - 25 * DAY_MS, 7));
        assert_eq!((month.month, month.bytes()), (100, 29), "a little back");
    }
}
