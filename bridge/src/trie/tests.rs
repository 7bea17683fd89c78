//! The tree against the plain definition of matching, and its own housekeeping.
#![allow(clippy::unwrap_used)]

use super::*;

fn found(trie: &Trie<()>, topic: &str) -> Vec<u64> {
    let mut ids = Vec::new();
    trie.matches(topic.as_bytes(), |id, ()| ids.push(id));
    ids.sort_unstable();
    ids
}

fn trie(filters: &[&str]) -> Trie<()> {
    let mut trie = Trie::new();
    for (id, filter) in filters.iter().enumerate() {
        assert!(trie.insert(filter.as_bytes(), id as u64, ()).is_none());
    }
    trie
}

#[test]
fn wildcards_match_as_the_standard_says() {
    let trie = trie(&[
        "sport/#",
        "sport/+",
        "+/+",
        "+",
        "/+",
        "#",
        "sport",
        "sport/tennis/+",
    ]);
    assert_eq!(found(&trie, "sport"), [0, 3, 5, 6]);
    assert_eq!(found(&trie, "sport/tennis"), [0, 1, 2, 5]);
    assert_eq!(found(&trie, "sport/"), [0, 1, 2, 5]);
    assert_eq!(found(&trie, "/finance"), [2, 4, 5]);
    assert_eq!(found(&trie, "sport/tennis/1"), [0, 5, 7]);
}

#[test]
fn wildcards_at_the_first_level_do_not_match_dollar_topics() {
    let trie = trie(&["#", "+/uptime", "$SYS/#", "$SYS/+", "/$SYS"]);
    assert_eq!(found(&trie, "$SYS/uptime"), [2, 3]);
    assert_eq!(found(&trie, "$SYS"), [2]);
    assert_eq!(found(&trie, "/$SYS"), [0, 4]);
}

#[test]
fn topics_that_start_with_a_wide_character_are_topics_like_others() {
    let trie = trie(&["ä/temp", "+/temp", "ä/#"]);
    assert_eq!(found(&trie, "ä/temp"), [0, 1, 2]);
}

#[test]
fn a_second_subscription_to_one_filter_replaces_the_first() {
    let mut trie = Trie::new();
    assert_eq!(trie.insert(b"a/+", 1, 'x'), None);
    assert_eq!(trie.insert(b"a/+", 1, 'y'), Some('x'));
    assert_eq!(trie.len(), 1);
    assert_eq!(trie.remove(b"a/+", 1), Some('y'));
    assert_eq!(trie.remove(b"a/+", 1), None);
    assert_eq!(trie.len(), 0);
}

#[test]
fn nodes_go_back_when_their_last_subscription_does() {
    let mut trie = trie(&["a/b/c/d/#", "a/+/c", "#"]);
    for (id, filter) in ["a/b/c/d/#", "a/+/c", "#"].iter().enumerate() {
        trie.remove(filter.as_bytes(), id as u64).unwrap();
    }
    assert_eq!(trie.nodes_in_use(), 1);
}

/// Random filters and topics of a small alphabet, so that they meet often.
#[test]
fn the_tree_finds_what_the_definition_finds() {
    let mut random = fastrand::Rng::with_seed(7);
    let filter_levels = ["a", "b", "", "+", "$x", "ä"];
    let topic_levels = ["a", "b", "", "$x", "ä"];
    for _ in 0..300 {
        let mut trie = Trie::new();
        let mut all: Vec<(String, u64)> = Vec::new();
        for id in 0..random.u64(1..30) {
            let mut filter = words(&mut random, &filter_levels);
            match random.u8(..5) {
                0 => filter.push_str("/#"),
                1 => filter = "#".to_owned(),
                _ => {}
            }
            if filter.is_empty() {
                continue;
            }
            trie.insert(filter.as_bytes(), id, ());
            all.push((filter, id));
        }
        for _ in 0..all.len() / 3 {
            let (filter, id) = all.swap_remove(random.usize(..all.len()));
            assert!(trie.remove(filter.as_bytes(), id).is_some());
        }
        assert_eq!(trie.len(), all.len());
        for _ in 0..40 {
            let topic = words(&mut random, &topic_levels);
            let mut expected: Vec<u64> = all
                .iter()
                .filter(|(filter, _)| filter_matches(filter.as_bytes(), topic.as_bytes()))
                .map(|(_, id)| *id)
                .collect();
            expected.sort_unstable();
            assert_eq!(found(&trie, &topic), expected, "{topic:?} in {all:?}");
        }
    }
}

fn words(random: &mut fastrand::Rng, from: &[&str]) -> String {
    let words: Vec<&str> = (0..random.usize(1..5))
        .map(|_| from[random.usize(..from.len())])
        .collect();
    words.join("/")
}

#[test]
fn filters_overlap_where_a_topic_could_match_both() {
    for (one, other, overlap) in [
        ("a/b", "a/b", true),
        ("a/+", "+/b", true),
        ("a/#", "b/#", false),
        ("a/#", "a", true),
        ("#", "$SYS/x", true),
        ("a/b", "a/b/c", false),
        ("a/+/c", "a/b/+", true),
    ] {
        assert_eq!(
            filters_overlap(one.as_bytes(), other.as_bytes()),
            overlap,
            "{one} {other}"
        );
        assert_eq!(
            filters_overlap(other.as_bytes(), one.as_bytes()),
            overlap,
            "{other} {one}"
        );
    }
}

#[test]
fn every_filter_can_be_asked_for() {
    let filters = ["a/+/c", "#", "a/#", "/", "a", "+/x"];
    let trie = trie(&filters);
    let mut seen = Vec::new();
    assert!(!trie.any_filter(|filter| {
        seen.push(String::from_utf8(filter.to_vec()).unwrap());
        false
    }));
    seen.sort_unstable();
    let mut expected = filters.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}
