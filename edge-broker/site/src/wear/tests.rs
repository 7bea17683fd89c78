//! The bucket against an invented clock.
#![allow(clippy::unwrap_used)]

use super::*;

/// Drives commits of `bytes` as early as the budget lets them; returns device bytes in `s` seconds.
fn drive(gb_per_day: f64, bytes: usize, device_bytes: u64, s: u64) -> u64 {
    let mut wear = WearBudget::new(gb_per_day, 0);
    let mut now = 0;
    let mut written = 0;
    while now < s * 1000 {
        let at = wear.ready_at_ms(now, bytes);
        if at > now {
            now = at;
            continue;
        }
        wear.spend(now, bytes, device_bytes);
        written += device_bytes;
        now += 1;
    }
    written
}

#[test]
fn no_budget_never_waits() {
    let mut wear = WearBudget::new(0.0, 5);
    wear.spend(5, 100, u64::MAX);
    assert_eq!(wear.ready_at_ms(7, 1 << 20), 7);
}

#[test]
fn ten_minutes_keep_within_a_tenth_of_the_budget() {
    for device_bytes in [6_000, 9_000, 20_000, 200_000] {
        let written = drive(20.0, 500, device_bytes, 600) as f64;
        let allowed = 20e9 / 86_400.0 * 600.0;
        assert!(
            written < allowed * 1.1,
            "{device_bytes}: {written} of {allowed}"
        );
        assert!(
            written > allowed * 0.9,
            "{device_bytes}: {written} of {allowed}"
        );
    }
}

#[test]
fn a_commit_dearer_than_the_bucket_still_goes() {
    let mut wear = WearBudget::new(0.001, 0);
    wear.spend(0, 1 << 20, 4 << 20);
    assert!(wear.ready_at_ms(0, 16 << 20) < 60_000);
}
