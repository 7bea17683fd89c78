//! Producer ids and sequence numbers: what central would take for a repetition, and what not.

use super::*;

/// Producer, first sequence number of the oldest part under way.
fn identity(bench: &Bench) -> (Option<Identity>, i32) {
    let part = &bench.sent[0].1.parts[0];
    (part.identity, part.base_sequence)
}

/// A topic was deleted and created again, or `forward` switched off and on: its first batch had
/// the number of the very first one, central said "there already", and it was nowhere.
#[test]
fn a_topic_that_comes_back_is_no_repetition_of_itself() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1, 1000);
    let first = identity(&bench);
    bench.answer_next(0);
    bench.core.handle_topics(vec![], bench.now);
    bench.settle();
    let again = vec![topic(9, "a", Class::Normal)];
    bench.core.handle_topics(again, bench.now);
    bench.commit(tp(9, 0), 1);
    bench.pass(1000);
    assert_ne!(identity(&bench), first);
}

/// The same where a read finds out that the topic is gone.
#[test]
fn a_partition_that_a_read_finds_gone_leaves_its_producer_id_to_nobody() {
    let mut bench = live();
    let before = bench.producers;
    bench.gone = true;
    bench.commit(tp(1, 0), 2);
    bench.pass(600);
    bench.gone = false;
    bench.commit(tp(1, 0), 3);
    bench.pass(600);
    assert_eq!(bench.producers, before + 1);
}

/// A leader that is deposed while it waits for its replicas says "not leader" of a batch that the
/// next leader has. It was cut anew after the second such answer: a repetition that central could
/// not know as one.
#[test]
fn a_batch_of_a_deposed_leader_is_sent_again_as_it_was() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 10, 1000);
    let before = bench.under_way();
    for end in [12, 14, 16] {
        bench.answer_next(6);
        bench.commit(tp(1, 0), end);
        bench.pass(1_500);
        assert_eq!(bench.under_way()[0], before[0]);
    }
}

/// What certainly is not there need not wait in memory.
#[test]
fn a_batch_that_replicas_are_missing_for_is_read_again() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 10, 1000);
    bench.answer_next(19);
    bench.pass(1_500);
    bench.commit(tp(1, 0), 12);
    bench.answer_next(19);
    bench.pass(1_500);
    assert_eq!(bench.under_way(), [(0, 0, 0, 12)]);
}

/// What was to be read again never lost the identity that was refused, so it was refused again at
/// once, thousands of times a second.
#[test]
fn a_batch_that_keeps_being_refused_for_its_producer_waits_and_parks() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 300, 100);
    bench.answer_next(0);
    bench.pass(50);
    let id = TopicId::from_u128(1);
    bench.core.park(id, "other".into(), bench.now);
    let mut refused = 0;
    for _ in 0..100_000 {
        if bench.sent.is_empty() {
            bench.pass(1);
        } else {
            bench.answer_next(31);
            refused += 1;
        }
    }
    assert_eq!(bench.state("a").0, TopicState::Parked);
    assert!(refused < 200, "refused {refused} times");
}

/// A cluster that was upgraded, or a right that was granted, needed a restart of the gateway.
#[test]
fn a_producer_id_that_was_refused_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.no_producer = Some(31);
    bench.commit(tp(1, 0), 1);
    bench.pass(600);
    assert_eq!(bench.sent[0].1.parts[0].identity, None);
    bench.no_producer = None;
    bench.commit(tp(1, 0), 3);
    bench.core.handle_retry("a", bench.now);
    bench.pass(600);
    assert_eq!(
        bench.sent.len(),
        1,
        "the switch waits for what is under way"
    );
    bench.answer_next(0);
    bench.pass(5);
    assert_eq!(bench.under_way(), [(0, 0, 0, 2)]);
}

/// A broker that does not know the new topic yet was asked without a pause.
#[test]
fn a_topic_that_is_there_and_not_known_yet_is_asked_for_with_pauses() {
    let mut bench = Bench::new();
    bench.unknown = true;
    bench.commit(tp(1, 0), 1);
    bench.pass(2_000);
    assert!(
        (5..60).contains(&bench.questions),
        "{} times",
        bench.questions
    );
    bench.unknown = false;
    bench.pass(5_000);
    assert_eq!(bench.sent.len(), 1);
}

/// A cluster without a coordinator gave no producer id, nothing was sent, and `status` said that
/// central is reachable.
#[test]
fn a_cluster_that_gives_no_producer_id_is_told_as_a_failure() {
    let mut bench = Bench::new();
    bench.no_producer = Some(15);
    bench.commit(tp(1, 0), 1);
    bench.pass(10_000);
    let (reachable, _, failure) = bench.core.reachability(bench.now);
    let text = failure.unwrap().0.to_string();
    assert!(!reachable && text.contains("no producer id"), "{text}");
    bench.no_producer = None;
    bench.pass(2_000);
    assert!(bench.core.reachability(bench.now).0);
    assert_eq!(bench.sent.len(), 1);
}
