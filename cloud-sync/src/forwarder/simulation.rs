//! The forwarder against a model of central, with invented time, from a seed.
//!
//! Answers get lost before and after the append, brokers go down, leaders move, producers are
//! forgotten, topics leave and return, topics and records are refused, the gateway crashes and
//! begins again at its last durable mark. What must hold, in every seed: first occurrences of a
//! partition arrive in order and without holes; a mark never passes a record that is neither there
//! nor put aside; one refused topic holds up no other; memory stays bounded; once faults end
//! everything arrives.
#![allow(clippy::unwrap_used)]

mod central;
mod faults;
mod outage;
mod world;

use edge_site::TopicPartition;

use self::world::World;
use super::types::Ms;
use crate::{config::OnRejected, status::TopicState};

const FAULTS_UNTIL: Ms = 60_000;
const REPAIR_AT: Ms = 1_500_000;
const END_AT: Ms = 6_000_000;
const HELD_BYTES_MAX: usize = 64 << 10;

impl World {
    /// Everything of a topic is there or put aside.
    fn is_complete(&self, name: &str) -> bool {
        let topic = self.topics.iter().find(|topic| topic.name == name).unwrap();
        (0..topic.partitions).all(|partition| {
            let end = self.locals[&TopicPartition {
                topic: topic.id,
                partition,
            }]
                .end;
            let central = &self.central.topics[name];
            end == 0
                || central
                    .partitions
                    .get(partition as usize)
                    .is_some_and(|p| p.covers(end))
        })
    }

    fn run(&mut self) {
        let mut repaired = false;
        while self.now < END_AT {
            self.carry_out();
            if self.now >= REPAIR_AT && !repaired {
                repaired = true;
                let parks = self.settings.on_rejected == OnRejected::Park;
                let others = ["t0", "t4", "t2", "t3"];
                for name in &others[..if parks { 2 } else { 4 }] {
                    assert!(
                        self.is_complete(name),
                        "{name} is held up: {}",
                        self.picture()
                    );
                }
                self.repair();
                continue;
            }
            if repaired
                && self
                    .topics
                    .iter()
                    .all(|topic| self.is_complete(&topic.name))
            {
                return self.check_end();
            }
            self.step(if repaired { END_AT } else { REPAIR_AT });
        }
        panic!("not everything arrived: {}", self.picture());
    }

    fn repair(&mut self) {
        let status = self.core.topic_status(self.now);
        let refused = status.iter().find(|topic| topic.topic == "t1").unwrap();
        if refused.waiting_records > 0 {
            assert_eq!(refused.state, TopicState::Parked, "{refused:?}");
            assert!(refused.reason.is_some());
        }
        let topic = self.central.topics.get_mut("t1").unwrap();
        topic.may_create = true;
        topic.may_write = true;
        if self.settings.on_rejected == OnRejected::Park {
            for topic in self.central.topics.values_mut() {
                topic.poison.clear();
                topic.batch_bytes_max = 1 << 20;
            }
        }
        if self.chance.one_in(2) {
            assert!(self.core.handle_retry("t1", self.now));
        }
    }

    fn check_end(&mut self) {
        // Poison and what is too large are put aside and nothing else; where it parks, nothing.
        let parks = self.settings.on_rejected == OnRejected::Park;
        for (name, topic) in &self.central.topics {
            for partition in &topic.partitions {
                let wrong = partition
                    .letters
                    .iter()
                    .find(|at| parks || name != "t3" && !topic.poison.contains(at));
                assert!(wrong.is_none(), "{name}: {wrong:?} is a dead letter");
            }
        }
    }

    fn picture(&self) -> String {
        let marks: Vec<_> = self
            .locals
            .iter()
            .map(|(tp, l)| (tp, l.end, l.durable))
            .collect();
        format!(
            "{:#?}\n{marks:?} at {} ms",
            self.core.topic_status(self.now),
            self.now
        )
    }
}

fn simulate(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| World::new(seed).run());
        if let Err(cause) = std::panic::catch_unwind(run) {
            let text = cause.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed}: {text}");
        }
    }
}

#[test]
fn every_record_arrives_in_order_whatever_central_and_the_link_do() {
    let only = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let count: u64 = std::env::var("SIM_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(400);
    match only {
        Some(seed) => simulate(std::iter::once(seed)),
        None => simulate(0..count),
    }
    println!("proved sim: {count} seeds of the forwarder against a central that fails");
}

#[test]
fn a_seed_repeats_itself() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.run();
        (world.now, world.core.counters.requests)
    };
    assert_eq!(run(7), run(7));
}
