//! What is refused: alone where records stand apart, told or counted, never both, never neither.

use super::*;

fn record(bytes: usize) -> Record {
    Record {
        value: Some(Bytes::from(vec![1; bytes])),
        ..Record::default()
    }
}

/// A driver with topics `t` and `other`.
fn with_two_topics() -> (Driver, [TopicPartition; 2]) {
    let mut driver = Driver::new(config());
    driver.core.handle_topic(driver.now, 0, ensure("other"));
    driver.pass(0);
    driver.settle();
    let topics = ["t", "other"].map(|name| driver.core.topics().get(name).unwrap().partition(0));
    (driver, topics)
}

fn three(driver: &mut Driver, [t, other]: [TopicPartition; 2], level: AckLevel, relaxed: bool) {
    let items = [t, other, t].map(|tp| (tp, record(10)));
    let mut request = AppendRequest::records(items.to_vec(), level);
    (request.apart, request.relaxed) = (true, relaxed);
    driver.core.handle_append(driver.now, 9, request);
    driver.drain();
}

fn delete_other(driver: &mut Driver) {
    let name = "other".into();
    driver
        .core
        .handle_topic(driver.now, 0, TopicOp::Delete { name });
    driver.drain();
}

/// Told apart: the number of the refused record, and why.
fn told(driver: &mut Driver) -> (Vec<i64>, Vec<(usize, Refused)>) {
    let (_, outcome) = driver.spent.pop().expect("it is spent");
    let appended = outcome.unwrap();
    let refused = appended.refused.into_iter();
    let refused = refused.map(|one| (one.item, one.why)).collect();
    (appended.offsets, refused)
}

fn ledger(driver: &mut Driver) -> Vec<(LossCause, Option<TopicId>, u64)> {
    driver.pass(1000);
    driver.settle();
    let entries = driver.core.state().ledger.entries().iter();
    entries.map(|e| (e.cause, e.topic, e.count)).collect()
}

/// A deleted topic took what was appended with its records to other topics with it.
#[test]
fn records_that_stand_apart_are_refused_by_themselves() {
    let (mut driver, topics) = with_two_topics();
    delete_other(&mut driver);
    three(&mut driver, topics, AckLevel::Disk, false);
    driver.pass(0);
    driver.settle();
    let expected = (vec![0, -1, 1], vec![(1, Refused::UnknownTopic)]);
    assert_eq!(told(&mut driver), expected);
    let request = AppendRequest::records(
        vec![(topics[0], record(10)), (topics[1], record(1))],
        AckLevel::Disk,
    );
    driver.core.handle_append(driver.now, 9, request);
    driver.drain();
    assert_eq!(driver.outcomes(), [(9, Err(Refused::UnknownTopic))]);
}

#[test]
fn the_same_where_the_topic_goes_after_they_were_let_in() {
    let (mut driver, topics) = with_two_topics();
    driver.append(1, 10);
    three(&mut driver, topics, AckLevel::Disk, false);
    let too_large = record(2 << 20);
    assert_eq!(driver.persists.len(), 1, "they wait for this one");
    delete_other(&mut driver);
    driver.settle();
    let expected = (vec![1, -1, 2], vec![(1, Refused::UnknownTopic)]);
    assert_eq!(told(&mut driver), expected);
    let mut request = AppendRequest::records(vec![(topics[1], too_large)], AckLevel::Disk);
    request.apart = true;
    driver.core.handle_append(driver.now, 9, request);
    driver.drain();
    let outcome = driver.spent.pop().unwrap().1;
    assert_eq!(outcome, Err(Refused::UnknownTopic), "all of them");
}

#[test]
fn who_was_told_that_all_is_taken_is_told_no_more_and_the_ledger_is() {
    let (mut driver, topics) = with_two_topics();
    driver.append(1, 10);
    three(&mut driver, topics, AckLevel::Memory, false);
    assert_eq!(told(&mut driver), (vec![], vec![]));
    delete_other(&mut driver);
    driver.settle();
    let lost = (LossCause::TopicDeleted, Some(topics[1].topic), 1);
    assert_eq!(ledger(&mut driver), [lost]);
}

/// Beyond a thousand open appends a connection does not look at the outcome of QoS 0.
#[test]
fn what_is_refused_at_qos_0_is_in_the_ledger_though_nobody_follows_its_ticket() {
    let (mut driver, topics) = with_two_topics();
    delete_other(&mut driver);
    three(&mut driver, topics, AckLevel::Memory, true);
    driver.settle();
    let lost = (LossCause::TopicDeleted, Some(topics[1].topic), 1);
    assert_eq!(ledger(&mut driver), [lost]);
    let mut request = AppendRequest::records(vec![(topics[1], record(1))], AckLevel::Memory);
    request.relaxed = true;
    driver.core.handle_append(driver.now, 9, request);
    driver.drain();
    assert_eq!(driver.spent.pop().unwrap().1, Err(Refused::UnknownTopic));
    let both = (LossCause::TopicDeleted, Some(topics[1].topic), 2);
    assert_eq!(ledger(&mut driver), [both]);
}
