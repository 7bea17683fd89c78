//! What is told to the site, and what is shown meanwhile and after a restart.
#![allow(clippy::unwrap_used)]

use super::*;

/// 2026-11-21.
const NOW: i64 = 1_795_219_200_000;
const DAY_MS: i64 = 86_400_000;

fn moved(meter: &Meter, sent: u64, received: u64) {
    meter.sent.fetch_add(sent, Ordering::Relaxed);
    meter.received.fetch_add(received, Ordering::Relaxed);
}

#[test]
fn what_moved_is_told_once_and_shown_always() {
    let meter = Meter::default();
    assert_eq!(meter.take(NOW), None);
    moved(&meter, 5_000, 200);
    assert_eq!(meter.status(NOW).month_bytes, 5_200);
    let used = meter.take(NOW).unwrap();
    assert_eq!((used.sent_bytes, used.received_bytes), (5_000, 200));
    assert_eq!(meter.take(NOW), None);
    moved(&meter, 1, 0);
    assert_eq!(meter.status(NOW).month_bytes, 5_201);
    assert_eq!(meter.status(NOW).sent_bytes, 5_001);
}

#[test]
fn a_restart_goes_on_with_the_month() {
    let mut month = LinkMonth::default();
    month.add(month::used(NOW - 10 * DAY_MS, 1_000_000, 0));
    let meter = Meter::default();
    meter.resume(month);
    moved(&meter, 0, 7);
    let status = meter.status(NOW);
    assert_eq!(status.month_bytes, 1_000_007);
    assert_eq!((status.sent_bytes, status.received_bytes), (0, 7));
    assert_eq!(
        meter.status(NOW + 11 * DAY_MS).month_bytes,
        7,
        "a new month"
    );
}

/// Totals that were read before another thread told the site were smaller than what was kept.
#[test]
fn threads_that_look_and_tell_at_once_see_no_negative_use() {
    let meter = Meter::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    moved(&meter, 1, 1);
                    meter.take(NOW);
                    assert!(meter.status(NOW).month_bytes <= 120_000);
                }
            });
        }
    });
}
