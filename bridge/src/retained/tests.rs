//! The index of retained messages: set, cleared, seen early, compacted.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::packet::Publish;

const LOG: TopicId = TopicId::from_u128(1);

fn topic(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn message(payload: &'static str) -> Arc<Message> {
    let publish = Publish {
        payload: payload.into(),
        ..Default::default()
    };
    Arc::new(Message {
        publish,
        client_id: Bytes::new(),
    })
}

fn index(records: &[(&str, bool)]) -> RetainedIndex {
    let mut index = RetainedIndex::default();
    index.follow(LOG);
    for (offset, (name, is_message)) in records.iter().enumerate() {
        index.apply(&topic(name), offset as i64, 100, *is_message);
    }
    index
}

const NO_LIMITS: PageLimits = PageLimits {
    count_max: usize::MAX,
    topic_bytes_max: usize::MAX,
    looked_at_max: usize::MAX,
};

fn all(index: &RetainedIndex, filter: &str) -> Vec<(Bytes, Source)> {
    let page = index.page(filter.as_bytes(), Moment::MAX, None, &NO_LIMITS);
    assert_eq!(page.rest_after, None);
    let found = page.found.into_iter();
    found
        .map(|(topic, offset)| {
            let source = index.find(&topic, Moment::MAX).unwrap();
            assert_eq!(source.offset(), offset);
            (topic, source)
        })
        .collect()
}

fn found(index: &RetainedIndex, filter: &str) -> Vec<String> {
    let found = all(index, filter).into_iter();
    found
        .map(|(topic, source)| format!("{} {source:?}", String::from_utf8_lossy(&topic)))
        .collect()
}

#[test]
fn the_newest_record_of_a_topic_counts() {
    let index = index(&[
        ("a", true),
        ("b", true),
        ("a", true),
        ("b", false),
        ("c/d", true),
    ]);
    assert_eq!(found(&index, "#"), ["a Logged(2)", "c/d Logged(4)"]);
    assert_eq!(index.len(), 2);
}

#[test]
fn filters_find_their_topics() {
    let names = ["a", "a/b", "a/b/c", "ab", "$SYS/x", "b"];
    let index = index(&names.map(|name| (name, true)));
    let topics = |filter: &str| -> Vec<String> {
        let found = all(&index, filter).into_iter();
        found
            .map(|(topic, _)| String::from_utf8_lossy(&topic).into_owned())
            .collect()
    };
    assert_eq!(topics("a/#"), ["a", "a/b", "a/b/c"]);
    assert_eq!(topics("+/b"), ["a/b"]);
    assert_eq!(topics("#"), ["a", "a/b", "a/b/c", "ab", "b"]);
    assert_eq!(topics("$SYS/#"), ["$SYS/x"]);
    assert_eq!(topics("a"), ["a"]);
}

#[test]
fn qos_0_is_seen_before_it_is_in_the_log_and_qos_1_is_not() {
    let mut index = index(&[]);
    index.begin(&topic("a"), 1, None);
    assert_eq!(found(&index, "a"), [""; 0]);
    index.begin(&topic("a"), 2, Some(Some(message("x"))));
    assert!(found(&index, "a")[0].contains("Memory"));
    index.end(&topic("a"), 1, LOG, Some((7, 100, true)));
    assert!(found(&index, "a")[0].contains("Memory"));
    index.end(&topic("a"), 2, LOG, Some((8, 100, true)));
    assert_eq!(found(&index, "a"), ["a Logged(8)"]);
}

#[test]
fn a_refused_publish_leaves_what_was_there() {
    let mut index = index(&[("a", true)]);
    index.begin(&topic("a"), 1, Some(None));
    assert_eq!(found(&index, "a"), [""; 0]);
    index.end(&topic("a"), 1, LOG, None);
    assert_eq!(found(&index, "a"), ["a Logged(0)"]);
    index.begin(&topic("new"), 2, Some(Some(message("x"))));
    index.end(&topic("new"), 2, LOG, None);
    assert_eq!(all(&index, "new"), []);
}

#[test]
fn an_older_record_that_comes_late_does_not_bring_a_cleared_topic_back() {
    let mut index = index(&[]);
    index.begin(&topic("a"), 1, None);
    index.end(&topic("a"), 1, LOG, Some((5, 100, true)));
    index.begin(&topic("a"), 2, None);
    index.end(&topic("a"), 2, LOG, Some((6, 100, false)));
    index.apply(&topic("a"), 5, 100, true);
    assert_eq!(all(&index, "a"), []);
    index.apply(&topic("a"), 6, 100, false);
    assert_eq!(all(&index, "a"), []);
    assert!(index.entries.is_empty());
    assert_eq!((index.live, index.live_bytes), (0, 0));
}

#[test]
fn compaction_begins_when_most_of_a_large_log_is_dead() {
    let mut index = index(&[]);
    for offset in 0..3 {
        index.apply(&topic("a"), offset, 400_000, true);
    }
    assert!(index.wants_compaction());
    assert_eq!(index.judge(&topic("a"), 0), Judgement::Dead);
    assert_eq!(index.judge(&topic("a"), 2), Judgement::Live);
    index.begin(&topic("a"), 1, None);
    assert_eq!(index.judge(&topic("a"), 2), Judgement::Wait);
    index.trimmed(800_000);
    assert!(!index.wants_compaction());
}

/// What a subscription gets of a record at `offset`: from the index, live, or (wrongly) both.
fn got(index: &RetainedIndex, (moment, passed): &(Moment, i64), offset: i64) -> (bool, bool) {
    let from_index = index.find(b"a", *moment) == Some(Source::Logged(offset));
    let known = offset < *passed || index.known_since(b"a", offset) <= *moment;
    (from_index, !known)
}

#[test]
fn a_subscription_gets_each_message_retained_or_live_whoever_is_first() {
    const FROM_INDEX: (bool, bool) = (true, false);
    const LIVE: (bool, bool) = (false, true);
    let mut index = index(&[("a", true)]);
    index.begin(&topic("a"), 1, None);
    let before = index.now();
    // The publisher hears of it first, the dispatcher comes later.
    index.end(&topic("a"), 1, LOG, Some((1, 100, true)));
    let between = index.now();
    assert_eq!(got(&index, &before, 1), LIVE);
    assert_eq!(got(&index, &between, 1), FROM_INDEX);
    index.apply(&topic("a"), 1, 100, true);
    assert_eq!(got(&index, &before, 1), LIVE);
    assert_eq!(got(&index, &between, 1), FROM_INDEX);
    assert_eq!(got(&index, &index.now(), 1), FROM_INDEX);
    // The other way round.
    index.begin(&topic("a"), 2, None);
    let before = index.now();
    index.apply(&topic("a"), 2, 100, true);
    let between = index.now();
    index.end(&topic("a"), 2, LOG, Some((2, 100, true)));
    assert_eq!(got(&index, &before, 2), LIVE);
    assert_eq!(got(&index, &between, 2), FROM_INDEX);
}

#[test]
fn one_at_qos_0_is_retained_for_who_comes_after_it_also_once_it_is_in_the_log() {
    let mut index = index(&[]);
    let (before, _) = index.now();
    index.begin(&topic("a"), 1, Some(Some(message("x"))));
    let (after, _) = index.now();
    let seen_by =
        |index: &RetainedIndex| [before, after].map(|moment| index.find(b"a", moment).is_some());
    assert_eq!(seen_by(&index), [false, true]);
    index.apply(&topic("a"), 0, 100, true);
    assert_eq!(seen_by(&index), [false, true]);
    index.end(&topic("a"), 1, LOG, Some((0, 100, true)));
    assert_eq!(seen_by(&index), [false, true]);
}

#[test]
fn a_copy_that_compaction_made_is_the_same_message() {
    let mut index = index(&[("a", true)]);
    let (moment, _) = index.now();
    index.moving(b"a");
    index.apply(&topic("a"), 1, 100, true);
    index.moved(b"a", Some(1));
    assert_eq!(index.find(b"a", moment), Some(Source::Logged(1)));
    index.apply(&topic("a"), 2, 100, true);
    assert_eq!(index.find(b"a", moment), None);
}

/// The original is cut off next; a subscription that looked there would go without.
#[test]
fn the_place_of_a_copy_is_known_before_the_dispatcher_has_passed_it() {
    let mut index = index(&[("a", true), ("b", true)]);
    let (moment, _) = index.now();
    index.moving(b"a");
    index.moving(b"b");
    index.moved(b"a", Some(2));
    index.moved(b"b", None);
    assert_eq!(found(&index, "#"), ["a Logged(2)", "b Logged(1)"]);
    index.apply(&topic("a"), 2, 100, true);
    assert_eq!(index.find(b"a", moment), Some(Source::Logged(2)));
    assert_eq!(index.judge(&topic("a"), 2), Judgement::Live);
}

#[test]
fn pages_are_as_large_as_asked_for_and_miss_nothing() {
    let names = ["a", "a/b", "a/c", "b", "c"];
    let index = index(&names.map(|name| (name, true)));
    let limits = [
        PageLimits {
            count_max: 3,
            ..NO_LIMITS
        },
        PageLimits {
            topic_bytes_max: 5,
            ..NO_LIMITS
        },
        PageLimits {
            looked_at_max: 3,
            ..NO_LIMITS
        },
    ];
    for limits in &limits {
        let (mut topics, mut after) = (Vec::new(), None);
        for size in [3, 2] {
            let page = index.page(b"#", Moment::MAX, after.as_ref(), limits);
            assert_eq!(page.found.len(), size);
            topics.extend(page.found.into_iter().map(|(topic, _)| topic));
            after = page.rest_after;
        }
        assert_eq!((topics, after), (names.map(Bytes::from).to_vec(), None));
    }
    let nothing = index.page(b"+/none", Moment::MAX, None, &limits[2]);
    assert_eq!((nothing.found.len(), nothing.looked_at), (0, 3));
    assert_eq!(nothing.rest_after.as_deref(), Some(&b"a/c"[..]));
}

#[test]
fn a_dispatcher_that_is_far_behind_costs_a_bounded_list() {
    let mut index = index(&[]);
    for offset in 0..5000 {
        index.begin(&topic("a"), 1, None);
        index.end(&topic("a"), 1, LOG, Some((offset, 100, true)));
    }
    assert_eq!(index.ahead.len(), AHEAD_COUNT_MAX);
    let known = [(b"a", 4999), (b"b", 4999), (b"a", 5000)];
    let known = known.map(|(topic, offset)| index.known_since(topic, offset) < Moment::MAX);
    assert_eq!(known, [true, false, false]);
}

/// Offsets of another topic are smaller than those that were known, and its records newer.
#[test]
fn another_topic_begins_without_what_was_in_the_one_before() {
    let mut index = index(&[("a", true), ("b", true), ("b", true)]);
    index.begin(&topic("b"), 1, None);
    let other = TopicId::from_u128(2);
    index.follow(other);
    assert_eq!((index.len(), found(&index, "#").len()), (0, 0));
    // What was under way to the one before is not in this one.
    index.end(&topic("b"), 1, LOG, Some((3, 100, true)));
    assert_eq!(index.len(), 0);
    index.begin(&topic("a"), 2, None);
    index.end(&topic("a"), 2, other, Some((0, 100, true)));
    assert_eq!(found(&index, "#"), ["a Logged(0)"]);
    index.apply(&topic("a"), 0, 100, true);
    assert_eq!(index.len(), 1);
}

#[test]
fn nothing_is_compacted_away_that_the_index_does_not_know() {
    let mut index = index(&[("a", true)]);
    index.apply(&topic("a"), 1, 4 << 20, true);
    assert_eq!(index.judge(&topic("a"), 0), Judgement::Dead);
    // Committed, but the dispatcher has yet to come to it: perhaps a copy that compaction made.
    assert_eq!(index.judge(&topic("a"), 2), Judgement::Wait);
    assert_eq!(index.judge(&topic("b"), 2), Judgement::Wait);
    index.apply(&topic("a"), 2, 100, true);
    assert!(index.wants_compaction());
    index.miss(0..1);
    assert!(!index.wants_compaction());
}

/// Such a message was served for ever, and compaction put it behind the record that clears it.
#[test]
fn what_is_found_to_be_cleared_goes_and_what_was_not_read_stays() {
    let mut served = index(&[("a", true), ("b", true), ("c", true), ("d", true)]);
    // Under way; known to its publisher only; and cleared before the dispatcher came to it.
    served.begin(&topic("b"), 1, None);
    for (name, offset, is_message) in [("e", 7, true), ("d", 6, false)] {
        served.begin(&topic(name), 2, None);
        served.end(&topic(name), 2, LOG, Some((offset, 100, is_message)));
    }
    let records = ["a", "b", "c", "d", "a", "b", "d"];
    let records: Vec<_> = records.iter().enumerate().collect();
    let records: Vec<_> = records.iter().map(|(at, name)| (**name, *at < 4)).collect();
    let mut all_read = index(&records);
    all_read.entries.remove(&topic("c"));
    all_read.miss(2..3);
    assert!(served.adopt(&all_read, 7));
    assert_eq!(found(&served, "#"), ["c Logged(2)", "e Logged(7)"]);
    assert_eq!((served.live, served.live_bytes), (2, 200));
    let verdicts = ["a", "b"].map(|name| served.judge(&topic(name), 0));
    assert_eq!(verdicts, [Judgement::Dead; 2]);
    served.end(&topic("b"), 1, LOG, None);
    served.apply(&topic("d"), 3, 100, true);
    assert_eq!(found(&served, "#").len(), 2, "an older one came back");
    served.apply(&topic("d"), 6, 100, false);
    let bytes = served.entries.keys().map(bytes_of).sum::<usize>();
    assert_eq!((served.entries.len(), served.index_bytes), (2, bytes));
}

/// With one publish of a topic always under way, compaction never got past its first record.
#[test]
fn a_record_that_was_replaced_is_dead_though_another_publish_is_under_way() {
    let mut index = index(&[("a", true), ("a", true), ("b", false)]);
    index.begin(&topic("a"), 1, None);
    index.begin(&topic("b"), 2, None);
    let verdicts = [("a", 0), ("a", 1), ("b", 2)];
    let verdicts = verdicts.map(|(name, offset)| index.judge(&topic(name), offset));
    assert_eq!(
        verdicts,
        [Judgement::Dead, Judgement::Wait, Judgement::Dead]
    );
}
