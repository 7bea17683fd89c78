//! Counting, joining, bounds.

use super::*;

const HOUR: i64 = 3_600_000;

#[test]
fn losses_close_in_time_are_one_line() {
    let mut ledger = Ledger::default();
    ledger.add(LossCause::Retention, None, "", 3, 0);
    ledger.add(LossCause::Retention, None, "", 4, HOUR - 1);
    ledger.add(LossCause::Retention, None, "", 0, HOUR);
    ledger.add(LossCause::StorageFull, None, "", 1, HOUR);
    let lines: Vec<_> = ledger
        .entries()
        .iter()
        .map(|e| (e.cause, e.count, e.first_ms, e.last_ms))
        .collect();
    assert_eq!(
        lines,
        [
            (LossCause::Retention, 7, 0, HOUR - 1),
            (LossCause::StorageFull, 1, HOUR, HOUR)
        ]
    );
}

#[test]
fn lines_are_bounded_and_no_count_is_lost() {
    let mut ledger = Ledger::default();
    for i in 0..10_000_i64 {
        let topic = TopicId::from_u128(i as u128 % 700);
        ledger.add(LossCause::Expired, Some(topic), "t", 2, i * 2 * HOUR);
    }
    assert!(ledger.entries().len() <= LINES_TOTAL_MAX);
    assert_eq!(
        ledger.entries().iter().map(|e| e.count).sum::<u64>(),
        20_000
    );
}

/// The number stands in every log and checkpoint: a new cause goes behind the others.
#[test]
fn causes_keep_their_stored_numbers() {
    let numbers = [
        (LossCause::Retention, 0),
        (LossCause::StorageFull, 1),
        (LossCause::QosZeroOverload, 2),
        (LossCause::QueueLimit, 3),
        (LossCause::Expired, 4),
        (LossCause::DiskLoss, 5),
        (LossCause::TopicDeleted, 6),
        (LossCause::Undecodable, 7),
        (LossCause::TooLarge, 8),
    ];
    for (cause, number) in numbers {
        assert_eq!(postcard::to_allocvec(&cause).ok(), Some(vec![number]));
    }
}
