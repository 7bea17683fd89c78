//! The index of retained messages: set, cleared, seen early, compacted.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::packet::Publish;

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
    for (offset, (name, is_message)) in records.iter().enumerate() {
        index.apply(&topic(name), offset as i64, 100, *is_message);
    }
    index
}

fn found(index: &RetainedIndex, filter: &str) -> Vec<String> {
    let found = index.matching(filter.as_bytes()).into_iter();
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
        let found = index.matching(filter.as_bytes()).into_iter();
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
    let mut index = RetainedIndex::default();
    index.begin(&topic("a"), 1, None);
    assert_eq!(found(&index, "a"), [""; 0]);
    index.begin(&topic("a"), 2, Some(Some(message("x"))));
    assert!(found(&index, "a")[0].contains("Memory"));
    index.end(&topic("a"), 1, Some((7, 100, true)));
    assert!(found(&index, "a")[0].contains("Memory"));
    index.end(&topic("a"), 2, Some((8, 100, true)));
    assert_eq!(found(&index, "a"), ["a Logged(8)"]);
}

#[test]
fn a_refused_publish_leaves_what_was_there() {
    let mut index = index(&[("a", true)]);
    index.begin(&topic("a"), 1, Some(None));
    assert_eq!(found(&index, "a"), [""; 0]);
    index.end(&topic("a"), 1, None);
    assert_eq!(found(&index, "a"), ["a Logged(0)"]);
    index.begin(&topic("new"), 2, Some(Some(message("x"))));
    index.end(&topic("new"), 2, None);
    assert_eq!(index.matching(b"new"), []);
}

#[test]
fn an_older_record_that_comes_late_does_not_bring_a_cleared_topic_back() {
    let mut index = RetainedIndex::default();
    index.begin(&topic("a"), 1, None);
    index.end(&topic("a"), 1, Some((5, 100, true)));
    index.begin(&topic("a"), 2, None);
    index.end(&topic("a"), 2, Some((6, 100, false)));
    index.apply(&topic("a"), 5, 100, true);
    assert_eq!(index.matching(b"a"), []);
    index.apply(&topic("a"), 6, 100, false);
    assert_eq!(index.matching(b"a"), []);
    assert!(index.entries.is_empty());
    assert_eq!((index.live, index.live_bytes), (0, 0));
}

#[test]
fn compaction_begins_when_most_of_a_large_log_is_dead() {
    let mut index = RetainedIndex::default();
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
