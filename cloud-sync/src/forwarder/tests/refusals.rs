//! What central refuses: letters, parked topics, batches that are too large.

use super::*;

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
