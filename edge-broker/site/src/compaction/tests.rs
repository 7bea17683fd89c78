//! Up to where which partitions are compacted.
#![allow(clippy::unwrap_used)]

use edge_log::TopicId;

use super::*;
use crate::state::{PartitionState, TopicState};
use crate::topics::{CleanupPolicy, TopicConfig};

const NOW: i64 = 1_800_000_000_000;

fn state(name: &str, config: TopicConfig) -> State {
    let marks = PartitionState {
        end: 100,
        forwarded: 40,
        ..Default::default()
    };
    let topic = TopicState {
        name: name.into(),
        config,
        partitions: vec![PartitionState::default(), marks],
    };
    let topics = BTreeMap::from([(TopicId::from_u128(1), topic)]);
    State {
        topics,
        ..State::default()
    }
}

fn compact(forward: bool) -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy::Compact,
        forward,
        ..TopicConfig::default()
    }
}

fn below(state: &State, forwarding: bool) -> Vec<i64> {
    let to = plan(state, NOW, forwarding);
    to.values().map(|to| to.below).collect()
}

#[test]
fn what_central_is_to_have_stays_until_it_has_it() {
    assert_eq!(below(&state("t", compact(true)), true), [0, 40]);
    assert_eq!(below(&state("t", compact(false)), true), [0, 99]);
    assert_eq!(below(&state("t", compact(true)), false), [0, 99]);
}

#[test]
fn only_compacted_topics_of_users_are_compacted() {
    assert_eq!(below(&state("_retained", compact(false)), true), []);
    assert_eq!(below(&state("t", TopicConfig::default()), true), []);
}

#[test]
fn a_clock_that_was_never_set_takes_no_tombstone() {
    let state = state("t", compact(true));
    let before = |now_ms| {
        let to = plan(&state, now_ms, true);
        to.values().next().unwrap().delete_before_ms
    };
    assert_eq!(before(5000), i64::MIN);
    assert_eq!(before(NOW), NOW - 86_400_000);
}
