//! Figures that people read: how old, how much of it payload.

use edge_log::{PartitionSpan, SliceInfo};

use super::*;

/// It was the newest record of the oldest slice, by a stamp of a clock that was wrong.
#[test]
fn the_oldest_record_is_as_old_as_the_site_ran_whatever_its_stamp() {
    let mut driver = Driver::new(config());
    driver.append(1, 10);
    driver.settle();
    driver.pass(3_600_000);
    driver.append(2, 10);
    driver.settle();
    let span = PartitionSpan {
        partition: driver.tp(),
        first_offset: 0,
        next_offset: 2,
        bytes: 20,
        max_timestamp_ms: 1,
    };
    let slice = SliceInfo {
        number: 1,
        bytes: 20,
        first_index: 1,
        last_index: driver.core.indexes().0,
        max_timestamp_ms: 1,
        partitions: vec![span],
        sealed: false,
        poisoned: false,
        rescuing: false,
        droppable: false,
    };
    let usage = Usage {
        slices: vec![slice],
        append_bytes_left: 1 << 30,
        ..Usage::default()
    };
    assert_eq!(driver.core.oldest_age_ms(driver.now), None);
    driver.core.handle_disk_report(driver.now, usage);
    assert_eq!(driver.core.oldest_age_ms(driver.now), Some(3_600_000));
}

/// Compressed batches were taken for it, and the disk seemed to write many times the payload.
#[test]
fn payload_is_what_came_and_nothing_of_what_the_gateway_notes_for_itself() {
    let mut driver = Driver::new(config());
    driver.append(1, 100_000);
    driver.settle();
    assert_eq!(driver.core.counters().payload_bytes, 100_000);
    driver.core.handle_topic(driver.now, 0, ensure("_retained"));
    driver.pass(0);
    driver.settle();
    let own = driver.core.topics().get("_retained").unwrap().partition(0);
    let record = Record {
        value: Some(Bytes::from_static(b"x")),
        ..Record::default()
    };
    let request = AppendRequest::records(vec![(own, record)], AckLevel::Disk);
    driver.core.handle_append(driver.now, 2, request);
    driver.pass(0);
    driver.settle();
    assert_eq!(driver.core.counters().payload_bytes, 100_000);
}
