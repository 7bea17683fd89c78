//! From the boot with a wrong clock to mended stamps: a core, its log, and reboots on that log.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use edge_log::{Checkpoint, Durable, Entry, HardState, Recovery};
use kafka_wire::{Record, RecordBatch};

use crate::append::{AckLevel, AppendRequest, Now};
use crate::clock::{ClockTrust, mended_ms};
use crate::core::{CoreConfig, Output, SiteCore, TopicOp};
use crate::{SiteConfig, TopicPartition};

/// 2026-11-21, about.
const TODAY: i64 = 1_795_219_200_000;

/// A gateway whose disk is a list of entries; `wall_ms` is what its clock shows.
struct Gateway {
    core: SiteCore<u32>,
    boot_id: u64,
    now: Now,
    disk: Vec<Entry>,
    checkpoint: Option<Checkpoint>,
    committed: Vec<(TopicPartition, RecordBatch)>,
}

fn config(boot_id: u64) -> CoreConfig {
    let site = SiteConfig {
        wear_gb_per_day: 0.0,
        ..SiteConfig::default()
    };
    CoreConfig {
        site,
        boot_id,
        seed: 1,
        voters: vec![],
    }
}

fn recovery(disk: &[Entry], checkpoint: Option<Checkpoint>) -> Recovery {
    let last = disk.last().map_or(0, |entry| entry.index);
    Recovery {
        store_id: 7,
        previous_store_id: None,
        boot_count: 1,
        hard_state: HardState {
            term: disk.last().map_or(0, |entry| entry.term),
            vote: 7,
            commit: last,
        },
        checkpoint,
        first_index: 1,
        last_index: last,
        proven_index: last,
        terms: disk.iter().map(|entry| (entry.index, entry.term)).collect(),
        lost: vec![],
        quarantined: vec![],
        clean: false,
        slices: 1,
    }
}

impl Gateway {
    fn boots(
        boot_id: u64,
        wall_ms: i64,
        trust: ClockTrust,
        disk: Vec<Entry>,
        checkpoint: Option<Checkpoint>,
    ) -> Gateway {
        let now = Now {
            mono_ms: 10_000,
            wall_ms: wall_ms + 10_000,
        };
        let found = recovery(&disk, checkpoint.clone());
        let mut core = SiteCore::open(config(boot_id), found, now);
        while let Some((from, _)) = core.replay_wants() {
            let wanted = disk.iter().filter(|entry| entry.index >= from);
            core.replay(wanted.cloned().collect(), now);
        }
        core.handle_clock(now, trust);
        core.start(now);
        let mut gateway = Gateway {
            core,
            boot_id,
            now,
            disk,
            checkpoint,
            committed: vec![],
        };
        gateway.settle();
        gateway
    }

    /// The power goes; `wall_ms` is what the clock shows at the next boot.
    fn reboots(self, wall_ms: i64, trust: ClockTrust) -> Gateway {
        Gateway::boots(self.boot_id + 1, wall_ms, trust, self.disk, self.checkpoint)
    }

    fn settle(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Persist(job) => {
                    self.disk.extend(job.entries.iter().cloned());
                    let durable = Durable {
                        append_bytes_left: 1 << 30,
                        ..Durable::default()
                    };
                    self.core
                        .handle_persisted(self.now, job.number, Ok(durable));
                }
                Output::SaveCheckpoint(checkpoint) => self.checkpoint = Some(checkpoint),
                Output::Committed(frame) => self.committed.extend(frame.batches),
                _ => {}
            }
        }
    }

    fn passes(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        self.core.handle_tick(self.now);
        self.settle();
    }

    fn clock_leaps_to(&mut self, wall_ms: i64) {
        self.now.wall_ms = wall_ms;
        self.core.handle_clock(self.now, ClockTrust::Right);
        self.settle();
    }

    /// Stores a record stamped now; gives what the clock should have said, for the test to keep.
    fn stores(&mut self) {
        let (name, settings) = ("t".to_owned(), Default::default());
        self.core
            .handle_topic(self.now, 0, TopicOp::Ensure { name, settings });
        self.passes(0);
        let tp = self.core.topics().get("t").unwrap().partition(0);
        let record = Record {
            timestamp_ms: self.now.wall_ms,
            key: None,
            value: Some("v".into()),
            headers: vec![],
        };
        let request = AppendRequest::records(vec![(tp, record)], AckLevel::Disk);
        self.core.handle_append(self.now, 1, request);
        self.passes(5);
    }

    /// Stamps of everything in the log as central is to get them.
    fn stamps(&mut self) -> Vec<i64> {
        let mends = self.core.take_mends().unwrap_or_default();
        let tp = self.core.topics().get("t").unwrap().partition(0);
        let list: Arc<[_]> = mends.of(tp);
        let frames = self
            .disk
            .iter()
            .map(|e| edge_log::Frame::decode(e.data.clone()));
        let mut stamps = Vec::new();
        for frame in frames.flatten() {
            for item in frame.items() {
                let edge_log::Item::Batch { batch, .. } = item else {
                    continue;
                };
                let batch = RecordBatch::parse_stored(batch).unwrap();
                for record in batch.records(1 << 20).unwrap() {
                    let (offset, record) = record.unwrap();
                    stamps.push(mended_ms(&list, offset, record.timestamp_ms));
                }
            }
        }
        stamps
    }
}

#[test]
fn records_of_1970_get_the_right_time_once_the_clock_has_it() {
    let mut gateway = Gateway::boots(1, 0, ClockTrust::Unset, vec![], None);
    gateway.stores();
    gateway.passes(60_000);
    gateway.stores();
    assert!(gateway.stamps().iter().all(|stamp| *stamp < 100_000));
    gateway.passes(30_000);
    gateway.clock_leaps_to(TODAY);
    gateway.passes(1);
    gateway.stores();
    let at_boot = TODAY - gateway.now.mono_ms as i64 + 6;
    let stamps = gateway.stamps();
    assert_eq!(stamps[0] - at_boot, 10_000);
    assert_eq!(stamps[1] - at_boot, 70_005);
    assert_eq!(stamps[2], TODAY + 1);
}

#[test]
fn a_reboot_before_the_clock_was_right_leaves_the_best_bound_also_over_a_checkpoint() {
    let mut gateway = Gateway::boots(1, 0, ClockTrust::Unset, vec![], None);
    gateway.stores();
    gateway.passes(60_000);
    gateway.stores();
    gateway.core.handle_stop(gateway.now);
    gateway.settle();
    assert!(gateway.checkpoint.is_some());
    let mut gateway = gateway.reboots(0, ClockTrust::Unset);
    gateway.stores();
    gateway.passes(20_000);
    gateway.clock_leaps_to(TODAY);
    gateway.passes(1_500);
    let at_boot = TODAY - (gateway.now.mono_ms as i64 - 1_500);
    let stamps = gateway.stamps();
    assert_eq!(stamps[2], at_boot + 10_000, "its own boot: exact");
    assert_eq!(
        stamps[1],
        at_boot - 5,
        "framed 5 ms later, and then it booted at the latest"
    );
    assert_eq!(stamps[1] - stamps[0], 60_005, "distances are kept");
}

#[test]
fn without_ever_the_right_time_nothing_is_guessed_and_little_is_written() {
    let mut gateway = Gateway::boots(1, 0, ClockTrust::Unset, vec![], None);
    gateway.stores();
    let mut gateway = gateway.reboots(0, ClockTrust::Unset);
    gateway.stores();
    assert_eq!(gateway.stamps(), [10_000, 10_000]);
    let entries = gateway.disk.len();
    for _ in 0..100 {
        gateway.core.handle_clock(gateway.now, ClockTrust::Unset);
        gateway.passes(1_000);
    }
    assert_eq!(gateway.disk.len(), entries, "an idle gateway says it once");
}

#[test]
fn a_gateway_with_the_right_time_says_nothing_of_it() {
    let mut gateway = Gateway::boots(1, TODAY, ClockTrust::Right, vec![], None);
    gateway.stores();
    gateway.clock_leaps_to(TODAY + 3_600_000);
    gateway.passes(2_000);
    gateway.stores();
    let said = gateway.core.state().clocks.clone();
    assert_eq!(said, crate::clock::Clocks::default());
}
