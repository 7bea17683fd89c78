//! Three gateways: everything of `one`, and a network that loses, repeats, reorders and splits.
//!
//! Checked all along: one leader per term, an index and an offset never show two values, marks
//! never go back within a run, what a node is about to overwrite of its own was given back
//! (`Voided`) first. At the end, after everything healed: all three have applied the same and
//! hold the same bytes, and every outcome is true.

use std::collections::BTreeMap;

use edge_log::sim::Faults;
use edge_site::core::{Message, TopicOp};
use edge_site::{Now, TopicPartition};

use crate::checker::Checker;
use crate::network::Network;
use crate::node::{EXPIRING, Node, site_config};
use crate::work::{End, Work};
use crate::{Seen, run_seeds};

/// Seeds that failed once; each found a mistake.
const OLD_SEEDS: &[u64] = &[179, 271, 392, 17_482, 3671];

const NODES: usize = 3;

/// `state` is compacted.
const TOPICS: [&str; 4] = ["mqtt", "trimmed", "state", EXPIRING];

#[test]
fn three_gateways_keep_their_promises() {
    run_seeds("three gateways", OLD_SEEDS, 1000, scenario);
}

struct World {
    rng: fastrand::Rng,
    now: Now,
    nodes: Vec<Node>,
    ids: BTreeMap<u64, usize>,
    network: Network,
    work: Work,
    checker: Checker,
    seen: Seen,
}

fn scenario(seed: u64) -> Seen {
    let mut world = World::new(seed);
    for _ in 0..world.rng.u32(300..700) {
        world.step();
    }
    world.finish();
    world.seen
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut config = site_config(&mut rng);
        config.store.raft_window_bytes = 1 << 40;
        config.raft_memory_bytes_max = if rng.bool() { 4 << 10 } else { 8 << 20 };
        let mut nodes: Vec<_> = (0..NODES)
            .map(|number| Node::new(number, seed, config.clone()))
            .collect();
        let ids: Vec<u64> = nodes.iter_mut().map(Node::store_id).collect();
        for node in &mut nodes {
            node.voters = ids.clone();
        }
        World {
            now: Now {
                mono_ms: 1000,
                wall_ms: 1_800_000_000_000,
            },
            nodes,
            ids: ids.into_iter().zip(0..).collect(),
            network: Network::new(seed),
            work: Work::default(),
            checker: Checker::default(),
            seen: Seen {
                three: true,
                ..Seen::default()
            },
            rng,
        }
    }

    fn step(&mut self) {
        let ms = if self.rng.u8(..40) == 0 {
            900
        } else {
            self.rng.u64(..40)
        };
        self.pass(ms);
        let number = self.rng.usize(..NODES);
        let node = &mut self.nodes[number];
        match self.rng.u16(..1000) {
            0..=2 if node.up.is_some() => node.kill(false, &mut self.work, &mut self.seen),
            3..=6 if node.up.is_some() => node.kill(true, &mut self.work, &mut self.seen),
            7..=10 => node.disk.crash_after(self.rng.u64(1..60)),
            11..=20 => node.disk.fail_sync_nth(self.rng.u64(1..3)),
            21..=24 => self.power_cut_everywhere(),
            25..=33 => {
                self.network.split(NODES);
                self.seen.partitions += 1;
            }
            34..=50 => self.network.heal(),
            51..=56 => self.trim(),
            57..=66 => node.clock_leaps(self.now, &mut self.seen),
            67..=300 => {}
            _ => self.ask(),
        }
        self.run();
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        self.work.now_ms = self.now.mono_ms;
        for node in &self.nodes {
            node.disk.advance_ms(ms);
        }
    }

    fn power_cut_everywhere(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.up.is_some()) {
            node.kill(true, &mut self.work, &mut self.seen);
        }
    }

    /// Messages arrive, nodes that are down come back, all take a step.
    fn run(&mut self) {
        for (to, message) in self.network.arrivals(self.now.mono_ms) {
            let now = self.nodes[to].now(self.now);
            if let Some(up) = &mut self.nodes[to].up {
                up.core.handle_message(now, message);
            }
        }
        for number in 0..NODES {
            self.run_node(number);
        }
    }

    fn run_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.up.is_none() {
            if self.rng.u8(..10) == 0 && !node.start(self.now, &mut self.checker, &mut self.seen) {
                node.kill(true, &mut self.work, &mut self.seen);
            }
            return;
        }
        let mut send: Vec<Message> = Vec::new();
        node.step(
            self.now,
            &mut self.work,
            &mut self.checker,
            &mut self.seen,
            &mut send,
        );
        if let Some(up) = &node.up
            && up.core.leads()
            && up.core.topics().len() < TOPICS.len()
        {
            TOPICS
                .iter()
                .for_each(|name| node.ensure_topic(self.now, name));
        }
        for message in send {
            let to = self.ids[&message.to];
            self.network.send(self.now.mono_ms, number, to, message);
        }
    }

    fn ask(&mut self) {
        // Mostly the leader is asked, sometimes somebody who only thinks so, or does not.
        let leads = |n: &usize| self.nodes[*n].up.as_ref().is_some_and(|up| up.core.leads());
        let leaders: Vec<usize> = (0..NODES).filter(leads).collect();
        let number = match leaders.is_empty() || self.rng.u8(..10) == 0 {
            true => self.rng.usize(..NODES),
            false => leaders[self.rng.usize(..leaders.len())],
        };
        let now = self.nodes[number].now(self.now);
        let Some(up) = &mut self.nodes[number].up else {
            return;
        };
        let of_topic = |name: &&str| up.core.topics().get(name).map(|topic| topic.partition(0));
        let partitions: Vec<TopicPartition> = TOPICS.iter().filter_map(of_topic).collect();
        if let Some(tp) = of_topic(&EXPIRING) {
            self.checker.expires(tp);
        }
        if !partitions.is_empty() {
            let (id, request) = self.work.ask(&mut self.rng, number, &partitions);
            up.core.handle_append(now, id, request);
        }
    }

    fn trim(&mut self) {
        for node in &mut self.nodes {
            let now = node.now(self.now);
            let Some(up) = &mut node.up else { continue };
            let Some(topic) = up.core.topics().get("trimmed").cloned() else {
                continue;
            };
            let tp = topic.partition(0);
            let end = up.core.marks(tp).map_or(0, |marks| marks.committed_end);
            if up.core.leads() {
                self.seen.trims += 1;
                let start = self.rng.i64(..=end);
                self.checker.trim(tp, start);
                up.core.handle_topic(now, 0, TopicOp::Trim { tp, start });
            }
        }
    }

    /// Faults stop: a leader is found, all catch up, everything asked has an outcome.
    fn finish(&mut self) {
        self.network.calm();
        for node in &mut self.nodes {
            node.disk.set_faults(Faults::default());
            node.disk.fail_sync_nth(0);
            node.disk.crash_after(u64::MAX);
            node.settle(self.now, &mut self.seen);
            node.kill(true, &mut self.work, &mut self.seen);
        }
        self.calm();
        let acked = |work: &Work| {
            work.asked
                .values()
                .filter(|asked| matches!(asked.end, End::Acked(_)))
                .count()
        };
        let before = acked(&self.work);
        for _ in 0..20 {
            self.ask();
        }
        self.calm();
        assert!(acked(&self.work) > before, "the site takes appends again");
        assert_eq!(self.work.open(), 0, "everything asked has an outcome");
        self.compare();
        for node in &self.nodes {
            let up = node.up.as_ref().unwrap();
            let compacted = self.checker.check_node(&up.core, &up.store, &self.work);
            self.seen.compacted += compacted;
            self.seen.syncs_failed += node.disk.stats().syncs_failed;
        }
        self.seen.elections = self.checker.elections;
        self.seen.expired = self.checker.expired.len() as u64;
        self.count();
    }

    fn calm(&mut self) {
        for step in 0..700 {
            if step % 100 == 0 {
                self.draw_election_ticks();
            }
            self.pass(10);
            self.run();
        }
    }

    /// The raft crate draws anew at every campaign: three that drew the same and keep it would
    /// split the votes for ever.
    fn draw_election_ticks(&mut self) {
        for up in self.nodes.iter_mut().filter_map(|node| node.up.as_mut()) {
            let ticks = 10 + self.rng.usize(..10);
            up.core.pin_election_ticks(Some(ticks));
        }
    }

    /// All replicas are equal: state, and with it (checked against what was shown) every byte.
    fn compare(&self) {
        let of = |number: usize| self.nodes[number].up.as_ref().unwrap().core.state();
        for number in 1..NODES {
            assert_eq!(of(0), of(number), "node {number} differs");
        }
    }

    fn count(&mut self) {
        for asked in self.work.asked.values() {
            match asked.end {
                End::Acked(_) => self.seen.acked += 1,
                End::Refused(_) => self.seen.refused += 1,
                End::Open | End::Unknown => self.seen.unknown += 1,
            }
        }
    }
}
