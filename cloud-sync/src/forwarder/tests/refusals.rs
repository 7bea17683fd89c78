//! What central refuses: letters, parked topics, batches that are too large.

use super::*;

fn parking() -> Settings {
    Settings {
        on_rejected: OnRejected::Park,
        ..settings()
    }
}

/// Numbers of the dead letters asked for since the last call.
fn letters(bench: &mut Bench) -> Vec<u64> {
    let letters = |output| match output {
        Output::DeadLetter { number, .. } => Some(number),
        _ => None,
    };
    bench.others.drain(..).filter_map(letters).collect()
}

/// A bench with one record that central refuses for itself; the number of its letter.
fn refused_record() -> (Bench, u64) {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1, 100);
    bench.answer_next(87);
    bench.pass(5);
    let number = letters(&mut bench)[0];
    (bench, number)
}

/// `_dead_letter` that refuses was asked five times a second for ever, and nobody was told.
#[test]
fn letters_that_cannot_be_written_are_tried_less_often_and_then_park_their_topic() {
    let (mut bench, mut number) = refused_record();
    let mut tries = 0;
    while bench.state("a").0 != TopicState::Parked {
        let failed = Err("no room".to_owned());
        let now = bench.now;
        bench
            .core
            .handle_dead_lettered(tp(1, 0), number, failed, now);
        tries += 1;
        while bench.state("a").0 != TopicState::Parked {
            bench.pass(1);
            if let Some(next) = letters(&mut bench).pop() {
                number = next;
                break;
            }
        }
        assert!(bench.now < 63_000);
    }
    assert!((60..150).contains(&tries), "{tries} tries in a minute");
    let status = bench.core.topic_status(bench.now);
    assert!(status[0].reason.as_ref().unwrap().ends_with("no room"));
}

/// A topic parked and resumed while its letters were on the way: the answer to the old ones was
/// taken for that of the new ones, which nobody had written yet.
#[test]
fn an_answer_for_letters_of_before_says_nothing_about_those_of_now() {
    let (mut bench, old) = refused_record();
    let id = TopicId::from_u128(1);
    bench.core.park(id, "other".into(), bench.now);
    bench.core.handle_retry("a", bench.now);
    bench.pass(200);
    bench.answer_next(87);
    bench.pass(5);
    let new = letters(&mut bench)[0];
    let now = bench.now;
    bench.core.handle_dead_lettered(tp(1, 0), old, Ok(()), now);
    bench.pass(200);
    assert!(
        bench.sent.is_empty(),
        "nothing moves before the letter is there"
    );
    let now = bench.now;
    bench.core.handle_dead_lettered(tp(1, 0), new, Ok(()), now);
    bench.pass(200);
    bench.answer_next(0);
    assert_eq!(bench.progress(), [1]);
}

/// With `on_rejected = "park"` a record too large for central kept all records of its read back,
/// also those ahead of it.
#[test]
fn what_is_ahead_of_a_record_too_large_is_sent_before_its_topic_parks() {
    let mut bench = Bench::backlog(parking(), tp(1, 0), 1, 1000);
    bench.answer_next(0);
    bench.oversized = Some(4);
    bench.commit(tp(1, 0), 10);
    bench.pass(600);
    assert_eq!(bench.under_way(), [(0, 1, 0, 3)]);
    assert_ne!(
        bench.state("a").0,
        TopicState::Parked,
        "not while it is under way"
    );
    bench.answer_next(0);
    bench.pass(600);
    assert_eq!(bench.state("a").0, TopicState::Parked);
    assert_eq!(bench.progress().last(), Some(&4));
    let reason = bench.core.topic_status(bench.now)[0].reason.clone();
    assert!(
        reason
            .unwrap()
            .starts_with("record 0@4: record of 2000000 bytes")
    );
}

/// A healthy partition of the topic cleared the refusal of its neighbour with each of its records:
/// the alarm came and went, and the wait never doubled.
#[test]
fn one_refused_partition_keeps_its_topic_parked_longer_and_longer() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1, 1000);
    bench.commit(tp(1, 1), 1);
    let mut end = 1;
    while bench.now < 400_000 {
        while !bench.sent.is_empty() {
            let (_, request) = bench.sent.remove(0);
            let code = |partition| if partition == 1 { 44 } else { 0 };
            let answers = request.parts.iter().map(|part| PartAnswer {
                error_code: code(part.tp.partition),
                ..PartAnswer::default()
            });
            let answers: Vec<_> = answers.collect();
            let (link, number, now) = (request.link, request.number, bench.now);
            bench
                .core
                .handle_produce_response(link, number, &answers, 0, now);
            bench.settle();
        }
        if bench.now.is_multiple_of(5_000) {
            end += 1;
            bench.commit(tp(1, 0), end);
        }
        bench.pass(1);
    }
    let waits: Vec<_> = bench.others.iter().filter_map(parked_ms).collect();
    assert_eq!(waits, [30_000, 60_000, 120_000, 240_000]);
    let resumed = |o: &&Output| matches!(o, Output::Note(Note::Resumed { .. }));
    assert_eq!(bench.others.iter().filter(resumed).count(), 0);
}

fn parked_ms(output: &Output) -> Option<Ms> {
    match output {
        Output::Note(Note::Parked { retry_in_ms, .. }) => Some(*retry_in_ms),
        _ => None,
    }
}

/// A batch that nobody can unpack: central answers UNKNOWN_SERVER_ERROR, which says nothing, and
/// the topic parked for ever although `on_rejected` was "dead-letter".
#[test]
fn a_batch_that_central_fails_at_twice_is_decoded_before_it_is_sent_again() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1, 1000);
    bench.answer_next(0);
    (bench.unreadable, bench.unreadable_inside) = (Some(4), true);
    bench.commit(tp(1, 0), 10);
    bench.pass(600);
    assert_eq!(
        bench.under_way(),
        [(0, 1, 0, 9)],
        "as it is, for central to judge"
    );
    bench.answer_next(-1);
    bench.pass(1_500);
    bench.answer_next(-1);
    bench.pass(1_500);
    assert_eq!(bench.under_way(), [(0, 0, 1, 3)]);
    bench.answer_next(0);
    bench.pass(5);
    bench.answer_next(0);
    assert_eq!(bench.progress().last(), Some(&10));
    assert_eq!(bench.state("a").0, TopicState::Idle);
    let lost = |o: &&Output| matches!(o, Output::Lost(_, 2));
    assert_eq!(bench.others.iter().filter(lost).count(), 1);
}

/// Where central does not tell its limit, batches doubled after each success: of four batches three
/// were sent in vain, for hours.
#[test]
fn what_central_refused_as_too_large_is_not_tried_again_with_each_batch() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 20_000, 300);
    let (mut taken, mut refused) = (0, 0);
    while bench.now < 20_000 && taken < 20_000 {
        if !bench.sent.is_empty() {
            let records = bench.sent[0].1.parts[0].batch.record_count();
            let too_large = records > 100;
            *(if too_large { &mut refused } else { &mut taken }) += records;
            bench.answer_next(if too_large { 10 } else { 0 });
        }
        bench.pass(1);
    }
    assert_eq!(taken, 20_000);
    assert!(refused < 1_000, "{refused} sent in vain");
}

/// A broker cut off from its cluster goes on to name itself as leader; nobody else was asked.
#[test]
fn replicas_that_are_missing_make_us_ask_who_leads() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 10, 1000);
    let before = bench.questions;
    bench.answer_next(19);
    bench.pass(50);
    assert_eq!(bench.questions, before + 1);
}

/// The broker that is asked may be the one that knows nothing.
#[test]
fn a_leader_that_stays_unknown_is_asked_for_at_another_broker() {
    let mut bench = Bench::new();
    bench.leaderless = true;
    bench.commit(tp(1, 0), 5);
    bench.pass(20_000);
    assert!(bench.elsewhere);
}
