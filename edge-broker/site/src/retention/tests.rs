//! Three slices of two topics, and what goes from them.
#![allow(clippy::unwrap_used)]

use edge_log::TopicId;

use super::*;
use crate::topics::{CleanupPolicy, TopicConfig, TopicWhenFull};

const DAY: i64 = 86_400_000;
/// Since the boot.
const NOW: i64 = 100 * DAY;

fn at(ms: i64) -> Moment {
    Moment {
        store_id: 1,
        boot_id: 1,
        boot_ms: ms as u64,
    }
}

fn tp(topic: u128) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(topic),
        partition: 0,
    }
}

/// Topics 1 and 2 with 100 records of each in each of `days.len()` slices, closed that long ago.
/// Stamps of records say nothing.
fn world(days: &[i64]) -> (State, Usage) {
    let mut state = State::default();
    for topic in [1, 2] {
        let marks = PartitionState {
            end: 100 * days.len() as i64,
            ..Default::default()
        };
        let config = TopicConfig::default();
        let topic_state = TopicState {
            name: format!("t{topic}"),
            config,
            partitions: vec![marks],
        };
        state.topics.insert(TopicId::from_u128(topic), topic_state);
    }
    for (i, days) in days.iter().enumerate() {
        state.ages.note(10 * i as u64 + 9, at(NOW - days * DAY));
    }
    let slice = |i: usize| {
        let span = |topic| PartitionSpan {
            partition: tp(topic),
            first_offset: 100 * i as i64,
            next_offset: 100 * i as i64 + 100,
            bytes: 1000,
            max_timestamp_ms: 0,
        };
        SliceInfo {
            number: i as u64,
            bytes: 2000,
            first_index: 10 * i as u64,
            last_index: 10 * i as u64 + 9,
            max_timestamp_ms: 0,
            partitions: vec![span(1), span(2)],
            sealed: true,
            poisoned: false,
            rescuing: false,
            droppable: true,
        }
    };
    let slices = (0..days.len()).map(slice).collect();
    let usage = Usage {
        append_bytes_left: 1 << 30,
        own_bytes_left: 1 << 30,
        slices,
        ..Usage::default()
    };
    (state, usage)
}

fn config(state: &mut State, topic: u128) -> &mut TopicConfig {
    &mut state
        .topics
        .get_mut(&TopicId::from_u128(topic))
        .unwrap()
        .config
}

fn marks(state: &mut State, topic: u128) -> &mut PartitionState {
    &mut state
        .topics
        .get_mut(&TopicId::from_u128(topic))
        .unwrap()
        .partitions[0]
}

fn moves(state: &State, usage: &Usage) -> Vec<(u128, i64, Option<LossCause>)> {
    let plan = planned(state, usage);
    plan.moves
        .iter()
        .map(|(tp, &(start, loss))| (tp.topic.as_u128(), start, loss))
        .collect()
}

fn planned(state: &State, usage: &Usage) -> Plan {
    plan(&Situation {
        state,
        usage,
        now: at(NOW),
        when_full: WhenFull::DropOldest,
        forwarding: true,
        wanted_bytes: 3000,
    })
}

#[test]
fn nothing_goes_while_young_and_roomy() {
    let (state, usage) = world(&[6, 3, 1]);
    assert_eq!(planned(&state, &usage), Plan::default());
}

#[test]
fn a_week_expires_and_counts_what_central_lacks() {
    let (mut state, usage) = world(&[9, 8, 1]);
    config(&mut state, 2).retention_ms = -1;
    assert_eq!(
        moves(&state, &usage),
        [(1, 200, Some(LossCause::Retention))]
    );
    config(&mut state, 1).forward = false;
    assert_eq!(moves(&state, &usage), [(1, 200, None)]);
}

#[test]
fn a_stamp_keeps_nothing_and_lets_nothing_go() {
    let (state, mut usage) = world(&[9, 8, 1]);
    let year = 365 * DAY;
    for stamp_ms in [0, NOW, 1_800_000_000_000, 1_800_000_000_000 + 10 * year] {
        for span in usage.slices.iter_mut().flat_map(|s| &mut s.partitions) {
            span.max_timestamp_ms = stamp_ms;
        }
        let lost = Some(LossCause::Retention);
        assert_eq!(moves(&state, &usage), [(1, 200, lost), (2, 200, lost)]);
    }
}

#[test]
fn bytes_keep_at_least_what_was_asked_for() {
    let (mut state, usage) = world(&[3, 2, 1]);
    config(&mut state, 1).retention_bytes = 1500;
    assert_eq!(
        moves(&state, &usage),
        [(1, 100, Some(LossCause::Retention))]
    );
    config(&mut state, 1).retention_bytes = 1000;
    assert_eq!(
        moves(&state, &usage),
        [(1, 200, Some(LossCause::Retention))]
    );
}

/// What the store may still take, by its own limit.
fn left(usage: &mut Usage, bytes: u64) {
    usage.own_bytes_left = bytes;
    usage.append_bytes_left = bytes;
}

#[test]
fn full_takes_forwarded_first_then_oldest_of_those_that_say_so() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    left(&mut usage, 1000);
    marks(&mut state, 1).forwarded = 250;
    // 2000 bytes lack: two slices of topic 1 are with central.
    assert_eq!(moves(&state, &usage), [(1, 200, None)]);
    // 3000 lack: one more must be dropped, and only topic 2's first is oldest.
    left(&mut usage, 0);
    assert_eq!(
        moves(&state, &usage),
        [(1, 200, None), (2, 100, Some(LossCause::StorageFull))]
    );
    config(&mut state, 2).when_full = TopicWhenFull::Refuse;
    let plan = planned(&state, &usage);
    assert_eq!(plan.moves.get(&tp(2)), None);
    assert_eq!(
        plan.moves.get(&tp(1)),
        Some(&(300, Some(LossCause::StorageFull)))
    );
}

#[test]
fn what_is_dead_already_is_waited_for() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    left(&mut usage, 1000);
    marks(&mut state, 1).start = 200;
    assert_eq!(planned(&state, &usage).moves, BTreeMap::new());
}

/// Dead bytes in slices that the store keeps for what lives in them make no room.
#[test]
fn a_little_that_is_dead_in_every_slice_is_no_room() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    for slice in &mut usage.slices {
        slice.partitions[0].bytes = 100;
    }
    marks(&mut state, 1).start = 300;
    left(&mut usage, 2800);
    let plan = planned(&state, &usage);
    let dropped = Some(&(100, Some(LossCause::StorageFull)));
    assert_eq!(plan.moves.get(&tp(2)), dropped);
    // Where that may not be dropped, nothing is given up for nothing either.
    marks(&mut state, 1).start = 0;
    config(&mut state, 2).when_full = TopicWhenFull::Refuse;
    let plan = planned(&state, &usage);
    assert_eq!(plan.moves, BTreeMap::new());
    assert!(plan.refuse && !plan.makes_room);
}

#[test]
fn somebody_elses_files_cost_no_unforwarded_record() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    usage.filesystem_full = true;
    usage.append_bytes_left = 0;
    marks(&mut state, 1).forwarded = 120;
    assert_eq!(moves(&state, &usage), [(1, 100, None)]);
    assert!(planned(&state, &usage).makes_room);
    marks(&mut state, 1).forwarded = 0;
    assert!(!planned(&state, &usage).makes_room);
}

#[test]
fn somebody_elses_files_cost_none_before_the_filesystem_is_full_either() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    for bytes in [2000, 1000, 0] {
        usage.append_bytes_left = bytes;
        assert_eq!(moves(&state, &usage), [], "{bytes}");
    }
    marks(&mut state, 1).forwarded = 120;
    assert_eq!(moves(&state, &usage), [(1, 100, None)]);
    usage.own_bytes_left = 2000;
    assert_eq!(
        moves(&state, &usage),
        [(1, 100, None)],
        "its own limit is content with that"
    );
}

/// A deposed leader's slice: what another leader overwrote is still in its figures.
#[test]
fn offsets_that_were_given_again_are_as_young_as_their_new_records() {
    let (mut state, mut usage) = world(&[9, 8, 1]);
    config(&mut state, 2).retention_ms = -1;
    usage.slices[1].partitions[0].next_offset = 230;
    let lost = Some(LossCause::Retention);
    assert_eq!(moves(&state, &usage), [(1, 200, lost)]);
    // The same at the end, where the next records will be.
    usage.slices[2].partitions.remove(0);
    marks(&mut state, 1).end = 200;
    assert_eq!(moves(&state, &usage), [(1, 200, lost)]);
    left(&mut usage, 0);
    marks(&mut state, 1).forwarded = 180;
    usage.slices[0].partitions[0].next_offset = 150;
    assert_eq!(moves(&state, &usage)[0], (1, 200, lost));
}

#[test]
fn compacted_topics_wait_for_compaction_and_then_do_as_they_say() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    usage.append_bytes_left = 2000;
    usage.own_bytes_left = 2000;
    config(&mut state, 1).cleanup_policy = CleanupPolicy::Compact;
    config(&mut state, 2).when_full = TopicWhenFull::Refuse;
    usage.compacting = true;
    assert_eq!(moves(&state, &usage), []);
    assert!(
        planned(&state, &usage).refuse,
        "who says refuse is refused meanwhile"
    );
    usage.compacting = false;
    let dropped = (1, 100, Some(LossCause::StorageFull));
    assert_eq!(moves(&state, &usage), [dropped]);
    // State at the edge is not given up because central has it, too.
    marks(&mut state, 1).forwarded = 300;
    assert_eq!(moves(&state, &usage), [dropped]);
    config(&mut state, 1).when_full = TopicWhenFull::Refuse;
    assert_eq!(moves(&state, &usage), []);
}

#[test]
fn the_gateways_own_state_is_never_the_oldest() {
    let (mut state, mut usage) = world(&[3, 2, 1]);
    usage.append_bytes_left = 0;
    usage.own_bytes_left = 0;
    for topic in [1, 2] {
        config(&mut state, topic).cleanup_policy = CleanupPolicy::Compact;
    }
    state.topics.get_mut(&TopicId::from_u128(1)).unwrap().name = "_retained".into();
    let moved = moves(&state, &usage);
    assert_eq!(moved, [(2, 300, Some(LossCause::StorageFull))]);
}

#[test]
fn what_is_compacted_expires_only_where_it_is_said() {
    let (mut state, usage) = world(&[30, 20, 1]);
    config(&mut state, 1).cleanup_policy = CleanupPolicy::Compact;
    config(&mut state, 2).cleanup_policy = CleanupPolicy::CompactDelete;
    assert_eq!(
        moves(&state, &usage),
        [(2, 200, Some(LossCause::Retention))]
    );
}

#[test]
fn a_slice_that_was_overwritten_whole_says_nothing() {
    let (state, mut usage) = world(&[9, 8, 1]);
    // It promised offsets that its partition never had in the end.
    usage.slices[1].last_index = usage.slices[1].first_index - 1;
    usage.slices[1].partitions[0].first_offset = 50;
    let lost = Some(LossCause::Retention);
    assert_eq!(moves(&state, &usage), [(1, 100, lost), (2, 100, lost)]);
}
