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
