//! Frames in, marks and topics out.
#![allow(clippy::unwrap_used)]

use edge_log::{FRAME_LEVEL, FrameBuilder, FrameHeader};
use kafka_wire::{BatchBuilder, Compression, Record};

use super::*;

const STORE: u64 = 7;
const TERM: u64 = 3;

fn tp(topic: u128) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(topic),
        partition: 0,
    }
}

fn batch(base: i64, count: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..count {
        builder.push(&Record {
            timestamp_ms: 1,
            key: None,
            value: None,
            headers: vec![],
        });
    }
    builder.build(base, 1)
}

struct World {
    state: State,
    index: u64,
    intake: u64,
}

impl World {
    fn new() -> World {
        let mut world = World {
            state: State::default(),
            index: 0,
            intake: 0,
        };
        world.control(&created(1, "a"));
        world
    }

    fn apply(&mut self, proposer_term: u64, fill: impl FnOnce(&mut FrameBuilder)) -> Applied {
        self.try_apply(proposer_term, fill).unwrap()
    }

    fn try_apply(
        &mut self,
        proposer_term: u64,
        fill: impl FnOnce(&mut FrameBuilder),
    ) -> Result<Applied, ApplyError> {
        let header = FrameHeader {
            level: FRAME_LEVEL,
            proposer_term,
            store_id: STORE,
            first_intake: self.intake,
            site_time_ms: 1000 * self.index as i64,
            boot_id: 1,
            boot_ms: 1,
        };
        let mut frame = FrameBuilder::new(&header);
        fill(&mut frame);
        self.index += 1;
        self.state.apply(self.index, TERM, &frame.finish())
    }

    fn control(&mut self, control: &Control) -> Applied {
        self.apply(TERM, |frame| frame.push_control(&control.encode()))
    }

    fn batch(&mut self, topic: u128, base: i64, count: usize) -> Applied {
        let applied = self.apply(TERM, |f| {
            f.push_batch(tp(topic), batch(base, count).bytes())
        });
        self.intake += 1;
        applied
    }

    fn marks(&self, topic: u128) -> (i64, i64, i64) {
        let marks = self.state.partition(tp(topic)).unwrap();
        (marks.start, marks.forwarded, marks.end)
    }

    fn lost(&self) -> u64 {
        self.state
            .ledger
            .entries()
            .iter()
            .map(|entry| entry.count)
            .sum()
    }
}

fn created(topic: u128, name: &str) -> Control {
    let id = TopicId::from_u128(topic);
    let config = TopicConfig::default();
    Control::TopicCreated {
        id,
        name: name.to_owned(),
        partitions: 1,
        config,
    }
}

#[test]
fn batches_move_the_end() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    world.batch(1, 10, 5);
    assert_eq!(world.marks(1), (0, 0, 15));
}

#[test]
fn a_frame_proposed_in_another_term_applies_as_nothing() {
    let mut world = World::new();
    let applied = world.apply(TERM - 1, |f| f.push_batch(tp(1), batch(0, 10).bytes()));
    assert!(applied.foreign_term && applied.batches.is_empty());
    assert_eq!(world.marks(1), (0, 0, 0));
    assert_eq!(world.state.applied_index, world.index);
}

#[test]
fn a_batch_seen_before_is_dropped() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    world.intake = 0;
    assert_eq!(world.batch(1, 10, 10).dropped, [tp(1)]);
    assert_eq!(world.marks(1), (0, 0, 10));
}

#[test]
fn a_batch_at_offsets_that_are_taken_is_dropped() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    assert_eq!(world.batch(1, 9, 5).dropped, [tp(1)]);
    assert_eq!(world.marks(1), (0, 0, 10));
}

#[test]
fn an_unknown_control_entry_stops_before_the_frame() {
    let mut world = World::new();
    let before = world.state.clone();
    let error = world.try_apply(TERM, |frame| {
        frame.push_batch(tp(1), batch(0, 1).bytes());
        frame.push_control(&[9, 1, 2]);
    });
    assert_eq!(
        error.unwrap_err(),
        ApplyError::Control(UnknownControl { version: 9 })
    );
    assert_eq!(world.state, before);
}

#[test]
fn moving_a_start_counts_only_what_central_lacks() {
    let mut world = World::new();
    world.batch(1, 0, 100);
    world.control(&Control::Forwarded {
        progress: vec![(tp(1), 30)],
    });
    let loss = Some(LossCause::Retention);
    world.control(&Control::StartsMoved {
        starts: vec![(tp(1), 20)],
        loss,
    });
    assert_eq!((world.marks(1), world.lost()), ((20, 30, 100), 0));
    world.control(&Control::StartsMoved {
        starts: vec![(tp(1), 50)],
        loss,
    });
    assert_eq!((world.marks(1), world.lost()), ((50, 50, 100), 20));
    world.control(&Control::StartsMoved {
        starts: vec![(tp(1), 900)],
        loss: None,
    });
    assert_eq!((world.marks(1), world.lost()), ((100, 100, 100), 20));
}

#[test]
fn a_new_incarnation_jumps_once_and_counts_no_gap_as_records() {
    let mut world = World::new();
    world.control(&Control::Incarnation {
        store_id: 1,
        lost: vec![],
    });
    assert_eq!(world.marks(1).2, INCARNATION_JUMP);
    world.batch(1, INCARNATION_JUMP, 10);
    let again = Control::Incarnation {
        store_id: 2,
        lost: vec![(tp(1), INCARNATION_JUMP + 3, INCARNATION_JUMP + 8)],
    };
    world.control(&again);
    world.control(&again);
    assert_eq!(world.marks(1).2, 2 * INCARNATION_JUMP + 10);
    assert_eq!(world.lost(), 5);
    let marks = world.state.partition(tp(1)).unwrap();
    assert_eq!(marks.records_between(0, marks.end), 5);
}

#[test]
fn deleting_counts_what_was_waiting_and_drops_later_batches() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    let loss = Some(LossCause::TopicDeleted);
    world.control(&Control::TopicDeleted {
        id: TopicId::from_u128(1),
        loss,
    });
    assert_eq!(world.lost(), 10);
    assert_eq!(world.batch(1, 10, 1).dropped, [tp(1)]);
}

#[test]
fn a_checkpoint_is_the_state() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    world.control(&created(2, "b"));
    let bytes = world.state.encode();
    assert_eq!(State::decode(&bytes), Ok(world.state));
    assert!(State::decode(&[]).is_err());
    assert!(State::decode(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn what_a_newer_program_added_to_a_checkpoint_is_not_read_past() {
    let mut bytes = World::new().state.encode().to_vec();
    bytes.push(0);
    assert_eq!(
        State::decode(&bytes),
        Err(UnknownCheckpoint { version: VERSION })
    );
}

#[test]
fn waiting_since_is_about_the_oldest_not_forwarded() {
    let mut world = World::new();
    for i in 0..1000 {
        world.batch(1, i * 10, 10);
    }
    let marks = world.state.partition(tp(1)).unwrap();
    assert!(marks.samples.len() <= SAMPLES_MAX);
    assert_eq!(marks.waiting_since_ms(), Some(1000));
    world.control(&Control::Forwarded {
        progress: vec![(tp(1), 5000)],
    });
    let since = world
        .state
        .partition(tp(1))
        .unwrap()
        .waiting_since_ms()
        .unwrap();
    assert!((430_000..=502_000).contains(&since), "{since}");
    world.control(&Control::Forwarded {
        progress: vec![(tp(1), 10_000)],
    });
    assert_eq!(
        world.state.partition(tp(1)).unwrap().waiting_since_ms(),
        None
    );
}

#[test]
fn a_checkpoint_of_an_older_program_is_read_and_one_cut_short_is_not() {
    let mut world = World::new();
    world.batch(1, 0, 3);
    let older = [vec![VERSION], postcard::to_stdvec(&world.state).unwrap()].concat();
    let known = State {
        ages: Ages::default(),
        ..world.state.clone()
    };
    assert_eq!(State::decode(&older), Ok(known));

    let trust = crate::clock::ClockTrust::Unset;
    world.control(&Control::Clock {
        boot_ms: 1,
        offset_ms: 0,
        trust,
    });
    world.batch(1, 3, 1);
    let used = crate::link::LinkUse {
        month: 3,
        at_ms: 4,
        sent_bytes: 5,
        received_bytes: 6,
    };
    world.control(&Control::Link { used });
    world.control(&Control::Link { used });
    assert_eq!(world.state.link.bytes(), 22);
    let stored = world.state.encode();
    assert_eq!(State::decode(&stored), Ok(world.state.clone()));
    assert!(State::decode(&stored[..stored.len() - 1]).is_err());
}

#[test]
fn what_the_disk_lost_counts_once_and_is_no_record_any_more() {
    let mut world = World::new();
    world.batch(1, 0, 10);
    let lost = |spans: &[(i64, i64)]| Control::Lost {
        lost: spans.iter().map(|&(a, b)| (tp(1), a, b)).collect(),
    };
    world.control(&lost(&[(2, 5), (8, 10)]));
    // A replay that missed some of the next ones.
    world.batch(1, 14, 1);
    // The same again, and more of it.
    world.control(&lost(&[(2, 5), (4, 6)]));
    world.control(&lost(&[(10, 14)]));
    assert_eq!(world.lost(), 3 + 2 + 1 + 4);
    let marks = world.state.partition(tp(1)).unwrap();
    assert_eq!((marks.end, marks.records_between(0, 15)), (15, 5));
    let told = world.state.holes.lost().iter();
    let told: Vec<_> = told.map(|lost| (lost.first, lost.last)).collect();
    assert_eq!(told, [(2, 4), (8, 9), (4, 5), (10, 13)]);
    let again = State::decode(&world.state.encode()).unwrap();
    assert_eq!(again, world.state);
}

#[test]
fn gaps_stay_few_and_apart() {
    let mut marks = PartitionState {
        end: 10_000,
        ..PartitionState::default()
    };
    marks.add_gap(10, 20);
    marks.add_gap(15, 25);
    marks.add_gap(25, 30);
    marks.add_gap(0, 0);
    assert_eq!(marks.gaps, [(10, 30)]);
    for n in 0..400 {
        marks.add_gap(100 + 20 * n, 101 + 20 * n);
    }
    assert_eq!(marks.gaps.len(), GAPS_MAX);
    assert!(marks.gaps.is_sorted_by(|a, b| a.1 < b.0));
}

#[test]
fn a_topic_that_was_ever_compacted_has_holes_that_are_no_loss() {
    use crate::holes::{ends, missing};
    use crate::topics::CleanupPolicy;
    let mut world = World::new();
    world.batch(1, 0, 10);
    let all = [(tp(1), 0, 10)];
    assert_eq!(missing(&world.state, &ends(&world.state), &[]), all);
    for cleanup_policy in [CleanupPolicy::Compact, CleanupPolicy::Delete] {
        let config = TopicConfig {
            cleanup_policy,
            ..TopicConfig::default()
        };
        world.control(&Control::TopicAltered {
            id: TopicId::from_u128(1),
            partitions: 1,
            config,
        });
        assert_eq!(missing(&world.state, &ends(&world.state), &[]), []);
    }
    let again = State::decode(&world.state.encode()).unwrap();
    assert_eq!(missing(&again, &ends(&again), &[]), []);
}
