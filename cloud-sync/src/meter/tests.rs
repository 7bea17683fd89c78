//! The calendar of the month's projection.
#![allow(clippy::unwrap_used)]

use std::{sync::atomic::Ordering, time::Duration};

use super::{DAY_S, Meter, month_of};

fn day(days: u64) -> Duration {
    Duration::from_secs(days * DAY_S)
}

#[test]
fn months_have_their_lengths() {
    // 1970-01-01, 1970-02-01, 2024-02-29 and 2026-11-21 as days since 1970.
    assert_eq!(month_of(0).1, 31 * DAY_S);
    assert_eq!(month_of(31).1, 28 * DAY_S);
    assert_eq!(month_of(31).0, month_of(58).0);
    assert_ne!(month_of(58).0, month_of(59).0);
    assert_eq!(month_of(20_778).1, 30 * DAY_S);
    assert_eq!(month_of(20_758).0, month_of(20_787).0);
    assert_ne!(month_of(20_787).0, month_of(20_788).0);
}

#[test]
fn the_projection_is_what_was_seen_times_the_month() {
    let meter = Meter::default();
    meter.begin(day(20_778));
    meter.sent.store(1_000_000, Ordering::Relaxed);
    meter.received.store(200_000, Ordering::Relaxed);
    let status = meter.status(day(20_778) + Duration::from_secs(DAY_S / 10));
    assert_eq!(status.month_bytes, 1_200_000);
    assert_eq!(status.month_projected_bytes, 360_000_000);
}

#[test]
fn a_new_month_begins_at_nothing() {
    let meter = Meter::default();
    meter.begin(day(20_778));
    meter.sent.store(5_000, Ordering::Relaxed);
    assert_eq!(meter.status(day(20_780)).month_bytes, 5_000);
    assert_eq!(meter.status(day(20_790)).month_bytes, 0);
    meter.sent.store(6_000, Ordering::Relaxed);
    assert_eq!(meter.status(day(20_791)).month_bytes, 1_000);
    assert_eq!(meter.status(day(20_791)).sent_bytes, 6_000);
}
