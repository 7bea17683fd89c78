//! One core, driven by hand: invented time, persists that end when the test says so.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use edge_log::{Checkpoint, Durable, FRAME_LEVEL, FrameBuilder, FrameHeader, PersistError};
use kafka_wire::Record;

use super::*;
use crate::append::{AckLevel, Appended};
use crate::config::SiteConfig;
use crate::error::{Refused, TopicError};
use crate::topics::{Topic, TopicConfig};

mod figures;
mod holes;
mod refusing;
mod room;

struct Driver {
    core: SiteCore<u32>,
    now: Now,
    persists: VecDeque<Arc<PersistJob>>,
    spent: Vec<(u32, Result<Appended, Refused>)>,
    released: usize,
    checkpoints: Vec<Checkpoint>,
    topics_done: Vec<Result<Option<Arc<Topic>>, TopicError>>,
    device_bytes: u64,
    append_bytes_left: u64,
    reports_wanted: usize,
}

fn recovery() -> Recovery {
    Recovery {
        store_id: 7,
        previous_store_id: None,
        boot_count: 1,
        hard_state: HardState::default(),
        checkpoint: None,
        first_index: 1,
        last_index: 0,
        proven_index: 0,
        terms: vec![],
        lost: vec![],
        quarantined: vec![],
        clean: true,
        slices: 0,
    }
}

fn config() -> CoreConfig {
    let site = SiteConfig {
        wear_gb_per_day: 0.0,
        ..SiteConfig::default()
    };
    CoreConfig {
        site,
        boot_id: 1,
        seed: 1,
        voters: vec![],
    }
}

fn ensure(name: &str) -> TopicOp {
    TopicOp::Ensure {
        name: name.into(),
        settings: Default::default(),
    }
}

impl Driver {
    /// Opened on what was found, started, with topic `t`.
    fn new(config: CoreConfig) -> Driver {
        let mut driver = Driver::open(config, recovery(), vec![]);
        driver.core.handle_topic(driver.now, 0, ensure("t"));
        driver.pass(0);
        driver.settle();
        driver
    }

    fn open(config: CoreConfig, recovery: Recovery, entries: Vec<Entry>) -> Driver {
        let now = Now {
            mono_ms: 1000,
            wall_ms: 1_800_000_000_000,
        };
        let mut core = SiteCore::open(config, recovery, now);
        if core.replay_wants().is_some() {
            core.replay(entries, now);
        }
        core.start(now);
        let mut driver = Driver {
            core,
            now,
            persists: VecDeque::new(),
            spent: vec![],
            released: 0,
            checkpoints: vec![],
            topics_done: vec![],
            device_bytes: 0,
            append_bytes_left: 1 << 30,
            reports_wanted: 0,
        };
        driver.drain();
        driver
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Persist(job) => self.persists.push_back(job),
                Output::Spent { ticket, outcome } => self.spent.push((ticket, outcome)),
                Output::Released { count, .. } => self.released += count,
                Output::SaveCheckpoint(checkpoint) => self.checkpoints.push(checkpoint),
                Output::TopicDone { outcome, .. } => self.topics_done.push(outcome),
                Output::WantReport => self.reports_wanted += 1,
                Output::Send(messages) => panic!("nobody to send to: {messages:?}"),
                _ => {}
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        self.core.handle_tick(self.now);
        self.drain();
    }

    /// The write that is out ends well.
    fn persisted(&mut self) -> usize {
        let job = self.persists.pop_front().expect("a write is out");
        self.device_bytes += 10_000;
        let device_bytes = self.device_bytes;
        let durable = Durable {
            device_bytes,
            append_bytes_left: self.append_bytes_left,
            ..Durable::default()
        };
        self.core
            .handle_persisted(self.now, job.number, Ok(durable));
        self.drain();
        job.entries.len()
    }

    fn fails(&mut self, error: PersistError) -> u64 {
        let job = self.persists.pop_front().expect("a write is out");
        self.core.handle_persisted(self.now, job.number, Err(error));
        self.drain();
        job.number
    }

    fn settle(&mut self) {
        while !self.persists.is_empty() {
            self.persisted();
        }
    }

    fn tp(&self) -> TopicPartition {
        self.core.topics().get("t").unwrap().partition(0)
    }

    fn append(&mut self, ticket: u32, bytes: usize) {
        self.append_as(ticket, bytes, AckLevel::Disk, false);
    }

    fn append_as(&mut self, ticket: u32, bytes: usize, level: AckLevel, relaxed: bool) {
        let value = Some(Bytes::from(vec![1; bytes]));
        let record = Record {
            timestamp_ms: 1,
            key: None,
            value,
            headers: vec![],
        };
        let mut request = AppendRequest::records(vec![(self.tp(), record)], level);
        request.relaxed = relaxed;
        self.core.handle_append(self.now, ticket, request);
        self.pass(0);
    }

    fn alarm(&self, code: &str) -> &Alarm {
        let mut alarms = self.core.alarms();
        alarms.find(|alarm| alarm.code == code).unwrap()
    }

    /// Tickets spent since the last call: their offsets, or the refusal in short.
    fn outcomes(&mut self) -> Vec<(u32, Result<Vec<i64>, Refused>)> {
        let spent = std::mem::take(&mut self.spent);
        spent
            .into_iter()
            .map(|(ticket, o)| (ticket, o.map(|a| a.offsets)))
            .collect()
    }
}

fn poisoned() -> PersistError {
    PersistError::Poisoned {
        retry_after_ms: 1000,
        cause: "eio".into(),
    }
}

#[test]
fn a_gateway_alone_leads_after_its_first_write() {
    let mut driver = Driver::open(config(), recovery(), vec![]);
    assert!(!driver.core.leads());
    driver.settle();
    assert!(driver.core.leads());
    assert_eq!(driver.now.mono_ms, 1000, "no time had to pass");
}

#[test]
fn nothing_is_spent_before_its_sync() {
    let mut driver = Driver::new(config());
    driver.append(1, 10);
    driver.pass(10_000);
    assert_eq!(driver.outcomes(), []);
    driver.persisted();
    assert_eq!(driver.outcomes(), [(1, Ok(vec![0]))]);
    assert_eq!(driver.released, 1);
}

#[test]
fn device_bytes_count_once() {
    let mut driver = Driver::new(config());
    for ticket in 0..5 {
        driver.append(ticket, 10);
        driver.settle();
    }
    assert_eq!(driver.core.counters().device_bytes, driver.device_bytes);
}

/// Two cores of one seed draw the same ids; only a seed that is not random does that.
#[test]
fn a_creation_that_did_nothing_is_answered_with_an_error() {
    let first = Driver::new(config());
    let taken = first.tp().topic;
    let created = Control::TopicCreated {
        id: taken,
        name: "other".into(),
        partitions: 1,
        config: TopicConfig::default(),
    };
    let announced = Control::Incarnation {
        store_id: 7,
        lost: vec![],
    };
    let found = entry(frame(7, &[&announced.encode(), &created.encode()]));
    let recovery = Recovery {
        last_index: 1,
        proven_index: 1,
        terms: vec![(1, 1)],
        ..recovery()
    };
    let mut driver = Driver::open(config(), recovery, vec![found]);
    driver.settle();
    for (ticket, expected) in [(1, Err(TopicError::IdTaken("t".into()))), (2, Ok("t"))] {
        driver.core.handle_topic(driver.now, ticket, ensure("t"));
        driver.pass(0);
        driver.settle();
        let outcome = driver.topics_done.pop().unwrap();
        let named = outcome.map(|topic| topic.unwrap().name.to_string());
        assert_eq!(named.as_deref(), expected.as_ref().copied());
    }
    assert_eq!(driver.core.topics().len(), 2);
}

#[test]
fn what_is_not_surely_on_the_disk_is_shown_only_after_the_next_write() {
    let created = Control::TopicCreated {
        id: TopicId::from_u128(1),
        name: "t".into(),
        partitions: 1,
        config: TopicConfig::default(),
    };
    let announced = Control::Incarnation {
        store_id: 7,
        lost: vec![],
    };
    let entry = entry(frame(7, &[&announced.encode(), &created.encode()]));
    let recovery = Recovery {
        last_index: 1,
        terms: vec![(1, 1)],
        ..recovery()
    };
    let mut driver = Driver::open(config(), recovery, vec![entry]);
    assert!(driver.core.topics().get("t").is_none());
    driver.settle();
    assert!(driver.core.topics().get("t").is_some());
}

#[test]
fn what_arrives_during_a_sync_shares_the_next_one() {
    let mut driver = Driver::new(config());
    driver.append(1, 10);
    driver.append(2, 10);
    driver.append(3, 10);
    assert_eq!(driver.persists.len(), 1);
    assert_eq!(driver.persisted(), 1);
    assert_eq!(driver.outcomes(), [(1, Ok(vec![0]))]);
    assert_eq!(driver.persisted(), 1, "one frame");
    assert_eq!(driver.outcomes(), [(2, Ok(vec![1])), (3, Ok(vec![2]))]);
}

#[test]
fn full_frames_are_formed_while_the_disk_works() {
    let mut driver = Driver::new(config());
    for ticket in 1..=5 {
        driver.append(ticket, 130 << 10);
    }
    driver.persisted();
    assert_eq!(driver.persisted(), 4, "four frames, one sync");
    assert_eq!(driver.outcomes().len(), 5);
}

#[test]
fn memory_is_acknowledged_at_once_and_still_stored() {
    let mut driver = Driver::new(config());
    driver.append_as(1, 10, AckLevel::Memory, false);
    assert_eq!(driver.outcomes(), [(1, Ok(vec![]))]);
    driver.settle();
    assert_eq!(driver.core.marks(driver.tp()).unwrap().committed_end, 1);
}

#[test]
fn relaxed_records_wait_for_company_or_a_second() {
    let mut driver = Driver::new(config());
    driver.append_as(1, 10, AckLevel::Memory, true);
    driver.pass(999);
    assert!(driver.persists.is_empty());
    driver.pass(1);
    driver.settle();
    driver.append_as(2, 10, AckLevel::Memory, true);
    driver.append(3, 10);
    driver.settle();
    assert_eq!(driver.core.marks(driver.tp()).unwrap().committed_end, 3);
}

#[test]
fn without_budget_a_commit_waits_but_not_longer_than_allowed() {
    let mut config = config();
    config.site.wear_gb_per_day = 0.000_001;
    let mut driver = Driver::new(config);
    driver.append(1, 10);
    driver.pass(20);
    driver.append(2, 10);
    driver.pass(29);
    assert!(driver.persists.is_empty());
    assert_eq!(
        driver.core.deadline_ms(driver.now),
        Some(driver.now.mono_ms + 1)
    );
    driver.pass(1);
    driver.settle();
    assert_eq!(driver.outcomes().len(), 2);
    driver.append(3, 128 << 10);
    assert_eq!(driver.persists.len(), 1, "a full frame never waits");
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_is_repeated_by_itself() {
    let mut driver = Driver::new(config());
    driver.append(1, 10);
    let number = driver.fails(poisoned());
    assert!(
        driver
            .core
            .alarms()
            .any(|alarm| alarm.code == "storage.poisoned")
    );
    driver.pass(999);
    assert!(driver.persists.is_empty());
    driver.pass(1);
    assert_eq!(driver.fails(poisoned()), number);
    assert_eq!(driver.outcomes(), []);
    // The second time in a row newcomers are told, instead of waiting for who knows how long.
    driver.append(2, 10);
    assert!(matches!(
        driver.outcomes()[..],
        [(2, Err(Refused::Poisoned { .. }))]
    ));
    driver.pass(2000);
    driver.settle();
    assert_eq!(driver.outcomes(), [(1, Ok(vec![0]))]);
    assert_eq!(driver.core.alarms().count(), 0);
}

#[test]
fn a_full_filesystem_refuses_until_there_is_room_again() {
    let mut driver = Driver::new(config());
    let usage = |full| Usage {
        filesystem_full: full,
        append_bytes_left: 1 << 30,
        ..Usage::default()
    };
    driver.core.handle_disk_report(driver.now, usage(true));
    driver.append(1, 10);
    assert_eq!(
        driver.outcomes(),
        [(
            1,
            Err(Refused::Full {
                limit: "storage.free_bytes_min"
            })
        )]
    );
    assert_eq!(driver.alarm("storage.full").fix, disk::FILESYSTEM_FULL_FIX);
    driver.core.handle_disk_report(driver.now, usage(false));
    driver.append(2, 10);
    driver.settle();
    assert_eq!(driver.outcomes(), [(2, Ok(vec![0]))]);
    assert_eq!(driver.core.alarms().count(), 0);
}

#[test]
fn what_can_never_be_stored_is_refused_for_good() {
    let mut driver = Driver::new(config());
    driver.append(1, 1_100_000);
    assert!(matches!(
        driver.outcomes()[..],
        [(1, Err(Refused::TooLarge { .. }))]
    ));
    let record = Record {
        timestamp_ms: 1,
        key: None,
        value: None,
        headers: vec![],
    };
    let tp = TopicPartition {
        partition: 9,
        ..driver.tp()
    };
    let request = AppendRequest::records(vec![(tp, record)], AckLevel::Disk);
    driver.core.handle_append(driver.now, 2, request);
    driver.drain();
    assert_eq!(driver.outcomes(), [(2, Err(Refused::UnknownTopic))]);
    assert_eq!(driver.released, 2);
}

fn frame(store_id: u64, controls: &[&[u8]]) -> Bytes {
    let header = FrameHeader {
        level: FRAME_LEVEL,
        proposer_term: 1,
        store_id,
        first_intake: 0,
        site_time_ms: 1,
        boot_id: 1,
        boot_ms: 1,
    };
    let mut frame = FrameBuilder::new(&header);
    controls
        .iter()
        .for_each(|control| frame.push_control(control));
    frame.finish()
}

fn entry(data: Bytes) -> Entry {
    Entry {
        index: 1,
        term: 1,
        kind: edge_log::EntryKind::Normal,
        data,
    }
}

#[test]
fn a_store_that_lost_something_jumps_before_it_takes_anything() {
    let created = Control::TopicCreated {
        id: TopicId::from_u128(1),
        name: "t".into(),
        partitions: 1,
        config: TopicConfig::default(),
    };
    let announced = Control::Incarnation {
        store_id: 6,
        lost: vec![],
    };
    let entry = entry(frame(6, &[&announced.encode(), &created.encode()]));
    let tp = TopicPartition {
        topic: TopicId::from_u128(1),
        partition: 0,
    };
    let lost = edge_log::LostRange {
        partitions: vec![(tp, 0, 4)],
        ..Default::default()
    };
    let recovery = Recovery {
        previous_store_id: Some(6),
        last_index: 1,
        proven_index: 1,
        terms: vec![(1, 1)],
        lost: vec![lost],
        ..recovery()
    };
    let mut driver = Driver::open(config(), recovery, vec![entry]);
    driver.settle();
    driver.append(1, 10);
    driver.settle();
    assert_eq!(
        driver.outcomes(),
        [(1, Ok(vec![crate::state::INCARNATION_JUMP]))]
    );
    let ledger = driver.core.state().ledger.entries();
    assert_eq!((ledger[0].cause, ledger[0].count), (LossCause::DiskLoss, 5));
}

#[test]
fn a_newer_programs_entry_stops_everything_but_reading() {
    let recovery = Recovery {
        last_index: 1,
        proven_index: 1,
        terms: vec![(1, 1)],
        ..recovery()
    };
    let mut driver = Driver::open(config(), recovery, vec![entry(frame(7, &[&[99]]))]);
    assert!(driver.persists.is_empty());
    driver.core.handle_topic(driver.now, 1, ensure("t"));
    let outcome = driver.core.poll_output();
    assert!(matches!(
        outcome,
        Some(Output::TopicDone {
            outcome: Err(_),
            ..
        })
    ));
    assert!(
        driver
            .core
            .alarms()
            .any(|alarm| alarm.code == "storage.readonly")
    );
}

#[test]
fn a_core_that_stopped_asks_for_no_time() {
    let recovery = Recovery {
        hard_state: HardState {
            term: 1,
            vote: 0,
            commit: 1,
        },
        last_index: 1,
        proven_index: 1,
        terms: vec![(1, 1)],
        ..recovery()
    };
    let mut config = config();
    config.voters = vec![7, 8, 9];
    let mut driver = Driver::open(config, recovery, vec![entry(frame(7, &[&[99]]))]);
    driver.pass(10_000);
    assert_eq!(driver.core.deadline_ms(driver.now), None);
}

#[test]
fn a_newer_programs_checkpoint_stops_everything_and_its_records_stay() {
    let mut newer = State::default().encode().to_vec();
    newer[0] += 1;
    let checkpoint = Checkpoint {
        index: 5,
        term: 1,
        data: newer.into(),
    };
    let recovery = Recovery {
        checkpoint: Some(checkpoint),
        first_index: 6,
        last_index: 6,
        proven_index: 6,
        terms: vec![(6, 1)],
        ..recovery()
    };
    let now = Now::default();
    let mut core: SiteCore<u32> = SiteCore::open(config(), recovery, now);
    assert_eq!(core.replay_wants(), None);
    core.start(now);
    let usage = Usage {
        append_bytes_left: 1 << 30,
        ..Usage::default()
    };
    core.handle_disk_report(now, usage);
    core.handle_stop(now);
    while let Some(output) = core.poll_output() {
        // Starts would say that every record there is belongs to nobody.
        assert!(matches!(output, Output::Topics(_)), "{output:?}");
    }
    assert!(!core.is_ready() && core.is_idle());
    let alarm = core.alarms().next().unwrap();
    assert_eq!(alarm.code, "storage.readonly");
    assert!(alarm.message.contains("checkpoint"), "{alarm:?}");
    assert!(alarm.fix.contains("install the version"), "{alarm:?}");
}

#[test]
fn a_checkpoint_follows_a_slice_of_log() {
    let mut config = config();
    config.site.store.slice_bytes = 100_000;
    config.site.compression = kafka_wire::Compression::None;
    let mut driver = Driver::new(config);
    for ticket in 0..30 {
        driver.append(ticket, 10_000);
        driver.settle();
        if let Some(checkpoint) = driver.checkpoints.last() {
            driver
                .core
                .handle_checkpoint_saved(driver.now, checkpoint.index, &Ok(()));
            driver.drain();
        }
    }
    assert_eq!(driver.checkpoints.len(), 3);
    let state = State::decode(&driver.checkpoints[1].data).unwrap();
    assert_eq!(state.applied_index, driver.checkpoints[1].index);
}
