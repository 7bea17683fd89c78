//! Clocks that leap, boots that end too early: what becomes of the stamps made meanwhile.
#![allow(clippy::unwrap_used)]

use super::*;

const STORE: u64 = 7;
/// 2026-11-21, about.
const TODAY: i64 = 1_795_219_200_000;

fn tp(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: edge_log::TopicId::from_u128(1),
        partition,
    }
}

/// One gateway that boots, leaps and appends one record at a time.
#[derive(Default)]
struct Gateway {
    clocks: Clocks,
    boot: u64,
    end: i64,
}

impl Gateway {
    fn boots(mut self) -> Self {
        self.boot += 1;
        self
    }

    /// The wall clock shows `wall_ms` at `ms` since boot.
    fn clock(mut self, ms: u64, wall_ms: i64, trust: ClockTrust) -> Self {
        let offset_ms = wall_ms - ms as i64;
        self.clocks.note(STORE, self.boot, ms, offset_ms, trust);
        self
    }

    /// A record was framed at `ms` since boot.
    fn appends(mut self, ms: u64) -> Self {
        let span = (self.end, self.end + 1);
        self.clocks.seen(self.boot, ms);
        self.clocks.stamp(tp(0), span, self.boot, ms);
        self.end += 1;
        self
    }

    fn mended(&self, offset: i64, stamp_ms: i64) -> i64 {
        mended_ms(&self.clocks.mends().of(tp(0)), offset, stamp_ms)
    }
}

use ClockTrust::{Right, Unset, Unsynced};

#[test]
fn a_leap_within_a_boot_is_mended_exactly() {
    let gateway = Gateway::default().boots().clock(10, 10, Unset);
    let gateway = gateway.appends(500).appends(9_000);
    assert_eq!(gateway.mended(0, 480), 480, "not known yet, not guessed");
    let mends = gateway.clocks.mends().of(tp(0));
    assert_eq!(mends[0].add_ms, None);

    let gateway = gateway.clock(20_000, TODAY, Right).appends(20_100);
    assert_eq!(gateway.mended(0, 480), TODAY - 20_000 + 480);
    assert_eq!(gateway.mended(1, 8_990), TODAY - 20_000 + 8_990);
    let raced = gateway.mended(2, 19_990);
    assert_eq!(
        raced,
        TODAY - 10,
        "stamped before the leap, framed after it"
    );
    assert_eq!(
        gateway.mended(2, TODAY + 50),
        TODAY + 50,
        "stamped after it"
    );
}

#[test]
fn stamps_of_somebody_elses_clock_are_left_alone() {
    let gateway = Gateway::default().boots().clock(10, 10, Unset).appends(500);
    let gateway = gateway.clock(20_000, TODAY, Right);
    assert_eq!(gateway.mended(0, TODAY - 19_500), TODAY - 19_500);
    assert_eq!(gateway.mended(0, 86_400_000), 86_400_000);
}

#[test]
fn a_boot_that_ended_too_early_is_bounded_by_the_next_one_that_knows() {
    let gateway = Gateway::default().boots().clock(0, 0, Unset);
    let gateway = gateway.appends(1_000).appends(5_000);
    let gateway = gateway.boots().clock(0, 0, Unset).appends(300).appends(700);
    let gateway = gateway.boots().clock(0, 0, Unset).appends(2_000);
    let gateway = gateway.clock(10_000, TODAY, Right);
    let third = TODAY - 10_000;
    assert_eq!(gateway.mended(4, 2_000), third + 2_000);
    assert_eq!(
        gateway.mended(3, 700),
        third,
        "the newest: when the next boot began"
    );
    assert_eq!(gateway.mended(2, 300), third - 400, "distances are kept");
    let second = third - 700;
    assert_eq!(gateway.mended(1, 5_000), second);
    assert_eq!(gateway.mended(0, 1_000), second - 4_000);
}

#[test]
fn a_boot_that_is_right_from_the_start_mends_the_one_before() {
    let gateway = Gateway::default().boots().clock(0, 0, Unset).appends(1_000);
    let gateway = gateway.boots().clock(50, TODAY + 50, Right).appends(60);
    assert_eq!(gateway.mended(0, 1_000), TODAY);
    assert_eq!(gateway.mended(1, TODAY + 60), TODAY + 60);
}

#[test]
fn a_clock_that_was_never_right_is_not_guessed() {
    let gateway = Gateway::default().boots().clock(0, 0, Unset).appends(1_000);
    let gateway = gateway.boots().clock(0, 0, Unset).appends(1_000);
    assert_eq!(gateway.mended(0, 1_000), 1_000);
    assert_eq!(gateway.mended(1, 1_000), 1_000);
}

#[test]
fn another_gateways_boot_bounds_nothing() {
    let gateway = Gateway::default().boots().clock(0, 0, Unset).appends(1_000);
    let mut gateway = gateway.boots();
    gateway.clocks.note(STORE + 1, 2, 0, TODAY, Right);
    assert_eq!(gateway.mended(0, 1_000), 1_000);
}

#[test]
fn a_date_that_is_possible_is_mended_by_a_leap_but_not_by_a_reboot() {
    let yesterday = TODAY - 86_400_000;
    let late = Gateway::default().boots().clock(0, yesterday, Unsynced);
    let late = late.appends(1_000);
    let leapt = late.clock(10_000, TODAY, Right);
    assert_eq!(leapt.mended(0, yesterday + 1_000), TODAY - 9_000);

    let late = Gateway::default().boots().clock(0, yesterday, Unsynced);
    let rebooted = late.appends(1_000).boots().clock(0, TODAY, Right);
    assert_eq!(rebooted.mended(0, yesterday + 1_000), yesterday + 1_000);
}

#[test]
fn a_clock_set_back_after_it_was_right_is_mended_by_what_it_knew() {
    let gateway = Gateway::default()
        .boots()
        .clock(0, 0, Unset)
        .clock(1_000, TODAY, Right);
    let gateway = gateway.clock(100_000, 5, Unset).appends(200_000);
    assert_eq!(gateway.mended(0, 100_005), TODAY + 199_000);
}

#[test]
fn a_gateway_with_the_right_time_leaves_no_trace() {
    let gateway = Gateway::default().boots().clock(0, TODAY, Right).appends(5);
    assert_eq!(gateway.clocks, Clocks::default());
    assert!(!gateway.clocks.wants(STORE, 1, TODAY, Right));
    assert!(gateway.clocks.wants(STORE, 1, TODAY, Unsynced));
}

#[test]
fn what_central_has_is_forgotten() {
    let gateway = Gateway::default()
        .boots()
        .clock(0, 0, Unset)
        .appends(5)
        .appends(6);
    let mut gateway = gateway.clock(20_000, TODAY, Right);
    assert!(!gateway.clocks.passed(tp(0), 1), "one record is still here");
    assert!(gateway.clocks.passed(tp(0), 2));
    assert_eq!(gateway.clocks.mends(), Mends::default());
    let gateway = gateway.boots().clock(0, 0, Unset);
    assert_eq!(
        gateway.clocks.boots.len(),
        1,
        "the boot before is of no use"
    );
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut gateway = Gateway::default();
    for _ in 0..200 {
        gateway = gateway.boots();
        for stretch in 0..40_u64 {
            let wall_ms = (stretch * 5_000) as i64;
            gateway = gateway.clock(stretch * 100, wall_ms, Unset);
            gateway = gateway.appends(stretch * 100 + 1);
        }
    }
    let clocks = &gateway.clocks;
    assert!(clocks.boots.len() <= BOOTS_MAX);
    assert!(
        clocks
            .boots
            .iter()
            .all(|b| b.stretches.len() <= STRETCHES_MAX)
    );
    assert!(clocks.spans[&tp(0)].len() <= SPANS_MAX);
}
