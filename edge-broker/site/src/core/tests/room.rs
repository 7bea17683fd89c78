//! The store has no room left: who waits for it, who is refused, who is counted.

use super::super::room::NO_ROOM;
use super::*;

/// The store's figures with nothing left; one closed slice may hold what topic `t` has.
fn no_room(driver: &Driver, closed: bool) -> Usage {
    let span = edge_log::PartitionSpan {
        partition: driver.tp(),
        first_offset: 0,
        next_offset: 1,
        bytes: 1000,
        max_timestamp_ms: 1,
    };
    let slice = edge_log::SliceInfo {
        number: 1,
        first_index: 1,
        last_index: driver.core.indexes().1,
        sealed: closed,
        droppable: closed,
        partitions: vec![span],
        bytes: 1000,
        max_timestamp_ms: 1,
        poisoned: false,
        rescuing: false,
    };
    Usage {
        slices: vec![slice],
        bytes_max: 1 << 30,
        ..Usage::default()
    }
}

/// A write took the last room, and a record waits, of which the gateway told nobody or somebody.
fn without_room(level: AckLevel) -> Driver {
    let mut driver = Driver::new(config());
    driver.append_bytes_left = 0;
    driver.append(1, 10);
    driver.settle();
    assert_eq!(driver.outcomes(), [(1, Ok(vec![0]))]);
    assert_eq!(driver.reports_wanted, 1, "at once");
    driver.append_as(2, 10, level, false);
    driver.pass(1000);
    driver.settle();
    let end = driver.core.marks(driver.tp()).unwrap().end;
    assert_eq!(end, 1, "in no frame yet");
    driver
}

#[test]
fn appends_wait_for_the_room_that_retention_makes() {
    let mut driver = without_room(AckLevel::Disk);
    let usage = no_room(&driver, true);
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(0);
    // The write that moves the start needs no room; the record is not in it.
    assert_eq!(driver.persisted(), 1);
    assert_eq!(driver.core.marks(driver.tp()).unwrap().start, 1);
    assert_eq!(driver.outcomes(), []);
    assert!(driver.core.is_ready());
    let deadline = driver.core.deadline_ms(driver.now);
    assert_eq!(deadline, Some(driver.now.mono_ms + 20));
    driver.pass(20);
    assert_eq!(driver.reports_wanted, 2);
    driver.append_bytes_left = 1 << 20;
    let usage = Usage {
        append_bytes_left: 1 << 20,
        ..no_room(&driver, false)
    };
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(0);
    driver.settle();
    assert_eq!(driver.outcomes(), [(2, Ok(vec![1]))]);
}

#[test]
fn appends_are_refused_when_no_room_can_be_made() {
    let mut driver = without_room(AckLevel::Disk);
    let usage = no_room(&driver, false);
    driver.core.handle_disk_report(driver.now, usage);
    driver.drain();
    driver.append(3, 10);
    let full = |ticket| (ticket, Err(NO_ROOM));
    assert_eq!(driver.outcomes(), [full(2), full(3)]);
    assert!(!driver.core.is_ready());
    assert_eq!(driver.alarm("storage.full").fix, disk::STORE_FULL_FIX);
}

#[test]
fn room_that_does_not_come_is_not_waited_for_for_ever() {
    let mut driver = without_room(AckLevel::Disk);
    for _ in 0..3 {
        let usage = no_room(&driver, true);
        driver.core.handle_disk_report(driver.now, usage);
        driver.pass(0);
        driver.settle();
        assert_eq!(driver.outcomes(), []);
        driver.pass(1000);
    }
    driver.pass(1000);
    let usage = no_room(&driver, true);
    driver.core.handle_disk_report(driver.now, usage);
    driver.drain();
    assert_eq!(driver.outcomes(), [(2, Err(NO_ROOM))]);
}

#[test]
fn what_was_acknowledged_in_memory_and_finds_no_room_is_in_the_ledger() {
    let mut driver = without_room(AckLevel::Memory);
    assert_eq!(driver.outcomes(), [(2, Ok(vec![]))]);
    let usage = no_room(&driver, false);
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(1000);
    driver.settle();
    let ledger = driver.core.state().ledger.entries();
    let found = (ledger[0].cause, ledger[0].topic, ledger[0].count);
    let topic = driver.tp().topic;
    assert_eq!(found, (LossCause::StorageFull, Some(topic), 1));
}

#[test]
fn a_closed_slice_that_no_checkpoint_covers_is_waited_for() {
    let mut driver = without_room(AckLevel::Disk);
    let mut usage = no_room(&driver, true);
    usage.slices[0].droppable = false;
    driver.core.handle_disk_report(driver.now, usage.clone());
    driver.drain();
    assert_eq!(driver.outcomes(), []);
    let index = driver.checkpoints.pop().expect("one is wanted").index;
    let (core, now) = (&mut driver.core, driver.now);
    core.handle_checkpoint_saved(now, index, &Ok(()));
    core.handle_disk_report(now, usage);
    driver.drain();
    assert_eq!(
        driver.outcomes(),
        [(2, Err(NO_ROOM))],
        "it stays all the same"
    );
}

#[test]
fn stopping_waits_for_no_room() {
    let mut driver = without_room(AckLevel::Disk);
    driver.core.handle_stop(driver.now);
    driver.drain();
    assert_eq!(driver.outcomes(), [(2, Err(NO_ROOM))]);
}
