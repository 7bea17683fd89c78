//! One gateway: kills, power cuts, crashes inside operations, failed syncs, a full disk.
//!
//! Checked after every restart and at the end: every acked record is at its offset exactly once,
//! unknown outcomes are there once or not at all, refused ones never, marks never go back.

use edge_log::sim::Faults;
use edge_site::core::TopicOp;
use edge_site::{Now, TopicPartition};

use crate::checker::Checker;
use crate::node::{EXPIRING, Node, RETENTION_MS, site_config};
use crate::work::Work;
use crate::{Seen, run_seeds};

/// Seeds that failed once; each found a mistake.
const OLD_SEEDS: &[u64] = &[11, 162, 446, 596, 808, 973, 4551, 17_167, 5227, 6626];

/// `state` and `mirrored` are compacted, `mirrored` goes to central, too.
const TOPICS: [&str; 6] = ["alarms", "mqtt", "trimmed", "state", "mirrored", EXPIRING];

#[test]
fn one_gateway_keeps_its_promises() {
    run_seeds("one gateway", OLD_SEEDS, 1000, scenario);
}

struct World {
    rng: fastrand::Rng,
    now: Now,
    node: Node,
    work: Work,
    checker: Checker,
    seen: Seen,
    /// Started, but not yet compared with what was promised.
    unchecked: bool,
}

fn scenario(seed: u64) -> Seen {
    let mut rng = fastrand::Rng::with_seed(seed);
    let config = site_config(&mut rng);
    let mut world = World {
        now: Now {
            mono_ms: 1000,
            wall_ms: 1_800_000_000_000,
        },
        node: Node::new(0, seed, config),
        work: Work::default(),
        checker: Checker::default(),
        seen: Seen::default(),
        unchecked: false,
        rng,
    };
    let steps = world.rng.u32(150..500);
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    world.seen.syncs_failed += world.node.disk.stats().syncs_failed;
    world.seen
}

impl World {
    fn step(&mut self) {
        let ms = if self.rng.u8(..30) == 0 {
            1200
        } else {
            self.rng.u64(..12)
        };
        self.pass(ms);
        if self.node.up.is_none() {
            self.start();
            return;
        }
        match self.rng.u16(..1000) {
            0..=3 => self.node.kill(false, &mut self.work, &mut self.seen),
            4..=9 => self.node.kill(true, &mut self.work, &mut self.seen),
            10..=15 => self.node.disk.crash_after(self.rng.u64(1..60)),
            16..=30 => self.node.disk.fail_sync_nth(self.rng.u64(1..4)),
            31..=34 => self.node.disk.fail_syncs(self.rng.u32(2..6)),
            35..=40 => self.fail_by_chance(),
            41..=44 => self
                .node
                .disk
                .set_capacity_bytes(edge_log::Disk::bytes_used(&self.node.disk)),
            45..=54 => self.node.disk.set_capacity_bytes(u64::MAX),
            55..=60 => self.trim(),
            61..=66 => self.progress(),
            67..=76 => self.node.clock_leaps(self.now, &mut self.seen),
            _ => self.ask(),
        }
        let mut sent = Vec::new();
        self.node.step(
            self.now,
            &mut self.work,
            &mut self.checker,
            &mut self.seen,
            &mut sent,
        );
        assert!(sent.is_empty(), "nobody to send to");
        // What the store could not yet copy at its start is readable once something was written.
        if self.unchecked && self.node.up.as_ref().is_some_and(|up| up.core.leads()) {
            self.unchecked = false;
            self.check();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        self.work.now_ms = self.now.mono_ms;
        self.node.disk.advance_ms(ms);
    }

    fn start(&mut self) {
        if self.node.start(self.now, &mut self.checker, &mut self.seen) {
            for name in TOPICS {
                self.node.ensure_topic(self.now, name);
            }
            self.unchecked = true;
        } else {
            self.node.kill(true, &mut self.work, &mut self.seen);
        }
    }

    fn fail_by_chance(&mut self) {
        self.node.faulty = !self.node.faulty;
        let one_in = if self.node.faulty {
            self.rng.u32(3..30)
        } else {
            0
        };
        let faults = Faults {
            sync_fails_one_in: one_in,
            ..Faults::default()
        };
        self.node.disk.set_faults(faults);
    }

    fn partitions(&mut self) -> Vec<TopicPartition> {
        let Some(up) = &self.node.up else {
            return Vec::new();
        };
        let topics = up.core.topics();
        let of_topic = |name: &&str| topics.get(name).map(|topic| topic.partition(0));
        if let Some(tp) = of_topic(&EXPIRING) {
            self.checker.expires(tp);
        }
        TOPICS.iter().filter_map(of_topic).collect()
    }

    fn ask(&mut self) {
        let partitions = self.partitions();
        if partitions.is_empty() {
            return;
        }
        for _ in 0..self.rng.u32(1..5) {
            let (id, request) = self.work.ask(&mut self.rng, 0, &partitions);
            let now = self.node.now(self.now);
            if let Some(up) = &mut self.node.up {
                up.core.handle_append(now, id, request);
            }
        }
    }

    fn trim(&mut self) {
        let now = self.node.now(self.now);
        let Some(up) = &mut self.node.up else { return };
        let Some(topic) = up.core.topics().get("trimmed").cloned() else {
            return;
        };
        let tp = topic.partition(0);
        let end = up.core.marks(tp).map_or(0, |marks| marks.committed_end);
        let start = self.rng.i64(..=end);
        self.seen.trims += 1;
        self.checker.trim(tp, start);
        up.core.handle_topic(now, 0, TopicOp::Trim { tp, start });
    }

    fn progress(&mut self) {
        let now = self.node.now(self.now);
        for tp in self.partitions() {
            let Some(up) = &mut self.node.up else { return };
            let end = up.core.marks(tp).map_or(0, |marks| marks.committed_end);
            let offset = self.rng.i64(..=end);
            self.checker.progress(tp, offset);
            up.core.handle_progress(now, vec![(tp, offset)]);
        }
    }

    fn check(&mut self) {
        if let Some(up) = &self.node.up
            && !self.node.disk.is_crashed()
        {
            let compacted = self.checker.check_node(&up.core, &up.store, &self.work);
            self.seen.compacted += compacted;
        }
    }

    /// Faults stop: within a few seconds everything asked has an outcome, and more is taken.
    fn finish(&mut self) {
        self.node.disk.set_faults(Faults::default());
        self.node.disk.fail_syncs(0);
        self.node.disk.fail_sync_nth(0);
        self.node.disk.set_capacity_bytes(u64::MAX);
        self.node.disk.crash_after(u64::MAX);
        self.node.faulty = false;
        self.node.settle(self.now, &mut self.seen);
        self.node.kill(true, &mut self.work, &mut self.seen);
        self.start();
        self.calm();
        self.ask();
        self.calm();
        assert_eq!(self.work.open(), 0, "everything asked has an outcome");
        self.check();
        self.wait_for_expiry();
        self.node.kill(true, &mut self.work, &mut self.seen);
        self.start();
        self.calm();
        self.check();
        self.node.settle(self.now, &mut self.seen);
        self.check();
        self.count();
    }

    fn calm(&mut self) {
        for _ in 0..200 {
            self.pass(10);
            let mut sent = Vec::new();
            self.node.step(
                self.now,
                &mut self.work,
                &mut self.checker,
                &mut self.seen,
                &mut sent,
            );
        }
    }

    /// Nothing stays for ever, whatever clocks showed and clients stamped.
    fn wait_for_expiry(&mut self) {
        for _ in 0..2 * RETENTION_MS / 1000 {
            self.pass(1000);
            self.calm();
        }
        let Some(up) = &self.node.up else { return };
        let tp = up.core.topics().get(EXPIRING).unwrap().partition(0);
        let marks = up.core.marks(tp).unwrap();
        let usage = up.store.usage();
        let open = usage.slices.iter().filter(|slice| !slice.sealed);
        let spans = open.flat_map(|slice| &slice.partitions);
        let open = spans.filter(|span| span.partition == tp);
        let open = open.map(|span| span.first_offset).min();
        let expired = open.unwrap_or(i64::MAX).min(marks.committed_end);
        assert!(marks.start >= expired, "{marks:?}, below {expired} is old");
    }

    fn count(&mut self) {
        self.seen.expired = self.checker.expired.len() as u64;
        use crate::work::End;
        for asked in self.work.asked.values() {
            match asked.end {
                End::Acked(_) => self.seen.acked += 1,
                End::Refused(_) => self.seen.refused += 1,
                End::Open | End::Unknown => self.seen.unknown += 1,
            }
        }
    }
}
