//! A slice that is gone, and nobody saw it go.

use super::*;

/// The store's figures: of topic `t` these offsets are there.
fn held(driver: &Driver, ranges: &[(i64, i64)], rescuing: bool) -> Usage {
    let slice = |(number, &(first_offset, next_offset)): (u64, &(i64, i64))| edge_log::SliceInfo {
        number,
        first_index: number,
        last_index: number,
        sealed: true,
        droppable: false,
        partitions: vec![edge_log::PartitionSpan {
            partition: driver.tp(),
            first_offset,
            next_offset,
            bytes: 1000,
            max_timestamp_ms: 1,
        }],
        bytes: 1000,
        max_timestamp_ms: 1,
        poisoned: false,
        rescuing,
    };
    Usage {
        slices: (1..).zip(ranges).map(slice).collect(),
        bytes_max: 1 << 30,
        append_bytes_left: 1 << 30,
        ..Usage::default()
    }
}

/// A store that holds ten records, opened again.
fn with_ten_records() -> Driver {
    let mut driver = Driver::new(config());
    for ticket in 0..10 {
        driver.append(ticket, 10);
        driver.settle();
    }
    let checkpoint = Checkpoint {
        index: driver.core.indexes().1,
        term: driver.core.term(),
        data: driver.core.state().encode(),
    };
    let recovery = Recovery {
        first_index: checkpoint.index + 1,
        last_index: checkpoint.index,
        proven_index: checkpoint.index,
        checkpoint: Some(checkpoint),
        ..recovery()
    };
    let mut driver = Driver::open(config(), recovery, vec![]);
    driver.settle();
    driver
}

fn alarm(driver: &Driver) -> Option<&str> {
    let alarm = driver
        .core
        .alarms()
        .find(|a| a.code == "storage.quarantined")?;
    Some(&alarm.message)
}

fn lost(driver: &Driver) -> Vec<(i64, i64)> {
    let lost = driver.core.state().holes.lost().iter();
    lost.map(|lost| (lost.first, lost.last)).collect()
}

/// A folder of `slices` was removed by hand: `status` said OK and lost 0.
#[test]
fn records_that_no_slice_holds_are_in_the_ledger_and_an_alarm() {
    let mut driver = with_ten_records();
    let usage = held(&driver, &[(0, 3), (7, 10)], false);
    driver.core.handle_disk_report(driver.now, usage.clone());
    assert_eq!(alarm(&driver), Some("the disk lost records: t[0] 3 to 6"));
    driver.pass(5000);
    driver.settle();
    assert_eq!(lost(&driver), [(3, 6)]);
    let state = driver.core.state();
    assert_eq!(state.ledger.entries()[0].cause, LossCause::DiskLoss);
    assert_eq!(state.ledger.entries()[0].count, 4);
    // It stands until the next start, and is said once.
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(5000);
    driver.settle();
    assert!(alarm(&driver).is_some());
    assert_eq!(lost(&driver), [(3, 6)]);
}

#[test]
fn what_is_there_is_no_loss_whatever_is_appended_meanwhile() {
    let mut driver = with_ten_records();
    let usage = held(&driver, &[(0, 10)], false);
    driver.append(10, 10);
    driver.settle();
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(5000);
    driver.settle();
    assert_eq!((alarm(&driver), lost(&driver)), (None, vec![]));
}

#[test]
fn what_is_still_being_rescued_is_waited_for() {
    let mut driver = with_ten_records();
    let usage = held(&driver, &[(0, 3)], true);
    driver.core.handle_disk_report(driver.now, usage);
    assert_eq!(alarm(&driver), None);
    let usage = held(&driver, &[(0, 3), (3, 10)], false);
    driver.core.handle_disk_report(driver.now, usage);
    driver.pass(5000);
    driver.settle();
    assert_eq!((alarm(&driver), lost(&driver)), (None, vec![]));
}
