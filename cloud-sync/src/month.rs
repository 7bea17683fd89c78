//! The calendar month of the link: which one it is, and what it will come to.
//!
//! Pure; times are milliseconds since 1970, months are UTC as a bill's are.

use edge_site::{LinkMonth, LinkUse};

const DAY_MS: i64 = 86_400_000;
/// A rate seen for less than this counts as if it had taken so long: a backlog after an outage is
/// no habit.
const SEEN_MS_MIN: i64 = 3 * DAY_MS;

/// A month and where we are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calendar {
    /// Months since March of year 0.
    month: u32,
    left_ms: i64,
}

/// Hinnant's calendar.
fn calendar(wall_ms: i64) -> Calendar {
    let shifted = wall_ms.div_euclid(DAY_MS).max(0) + 719_468;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5;
    let year = shifted / 146_097 * 400 + year_of_era;
    let days = match month {
        1 | 3 | 6 | 8 => 30,
        11 => 28,
        _ => 31,
    };
    Calendar {
        month: u32::try_from(year * 12 + month).unwrap_or(0),
        // The 29th of February counts as the last of 28.
        left_ms: ((days - day) * DAY_MS - wall_ms.rem_euclid(DAY_MS)).max(0),
    }
}

/// Bytes at a time, in the month they belong to.
pub(crate) fn used(wall_ms: i64, sent_bytes: u64, received_bytes: u64) -> LinkUse {
    LinkUse {
        month: calendar(wall_ms).month,
        at_ms: wall_ms,
        sent_bytes,
        received_bytes,
    }
}

/// What the month will come to at the rate seen so far; 0 where the clock is of another month.
pub(crate) fn projected_bytes(month: &LinkMonth, wall_ms: i64) -> u64 {
    let calendar = calendar(wall_ms);
    if calendar.month != month.month {
        return 0;
    }
    let seen_ms = (wall_ms - month.began_ms).max(SEEN_MS_MIN) as f64;
    let rest = month.bytes() as f64 / seen_ms * calendar.left_ms as f64;
    month.bytes().saturating_add(rest as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 as days since 1970.
    const NOVEMBER_21: i64 = 20_778 * DAY_MS;

    #[test]
    fn months_have_their_lengths() {
        assert_eq!(calendar(0).left_ms, 31 * DAY_MS);
        assert_eq!(calendar(31 * DAY_MS).left_ms, 28 * DAY_MS);
        assert_eq!(calendar(31 * DAY_MS).month, calendar(58 * DAY_MS).month);
        assert_eq!(calendar(58 * DAY_MS).month + 1, calendar(59 * DAY_MS).month);
        assert_eq!(calendar(NOVEMBER_21).left_ms, 10 * DAY_MS);
        let december = calendar(NOVEMBER_21 + 10 * DAY_MS);
        assert_eq!(december.month, calendar(NOVEMBER_21).month + 1);
        assert_eq!(december.left_ms, 31 * DAY_MS);
    }

    fn month(began_ms: i64, sent_bytes: u64) -> LinkMonth {
        let mut month = LinkMonth::default();
        month.add(used(began_ms, sent_bytes, 0));
        month
    }

    #[test]
    fn the_projection_is_what_was_used_and_the_rate_for_the_rest() {
        let month = month(NOVEMBER_21 - 10 * DAY_MS, 1_000);
        assert_eq!(projected_bytes(&month, NOVEMBER_21), 2_000);
        assert_eq!(
            projected_bytes(&month, NOVEMBER_21 + 10 * DAY_MS),
            0,
            "another month"
        );
    }

    #[test]
    fn a_backlog_of_the_first_minute_is_not_taken_for_a_habit() {
        let month = month(NOVEMBER_21, 300);
        assert_eq!(projected_bytes(&month, NOVEMBER_21 + 60_000), 300 + 999);
    }
}
