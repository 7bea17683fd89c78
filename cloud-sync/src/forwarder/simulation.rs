//! The forwarder against a model of central, with invented time, from a seed.
//!
//! Answers get lost before and after the append, brokers go down, leaders move, producers are
//! forgotten, topics and records are refused, the gateway crashes and begins again at its last
//! durable mark. What must hold, in every seed: first occurrences of a partition arrive in order
//! and without holes; a mark never passes a record that is neither there nor put aside; one
//! refused topic holds up no other; memory stays bounded; once faults end everything arrives.
#![allow(clippy::unwrap_used)]

mod central;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_site::{Compression, Record, RecordBatch, TopicId, TopicPartition};
use kafka_wire::BatchBuilder;

use self::central::{Central, CentralTopic, Chance};
use super::{
    Forwarder,
    types::{
        Class, Control, ControlAnswer, LinkId, LocalMarks, LocalTopic, Ms, Output, Part,
        PartAnswer, ProduceRequest, ReadOutcome, ReadRequest, Settings,
    },
};
use crate::{
    config::OnRejected,
    error::{ConnectError, Stage},
    packing::{Packing, pack},
    status::TopicState,
};

const FAULTS_UNTIL: Ms = 60_000;
const REPAIR_AT: Ms = 1_500_000;
const END_AT: Ms = 6_000_000;
const HELD_BYTES_MAX: usize = 64 << 10;

/// Something under way.
enum Event {
    Answer {
        link: LinkId,
        life: u64,
        number: u64,
        answers: Vec<PartAnswer>,
    },
    Arrives {
        link: LinkId,
        life: u64,
        number: u64,
        parts: Vec<Part>,
    },
    Broken {
        link: LinkId,
        life: u64,
    },
    Connected {
        link: LinkId,
        life: u64,
    },
    Control {
        incarnation: u64,
        question: Control,
    },
    Read {
        incarnation: u64,
        request: ReadRequest,
    },
    Lettered {
        incarnation: u64,
        tp: TopicPartition,
        letters: Vec<i64>,
    },
    Fault,
    Grow,
}

struct Local {
    batches: Vec<RecordBatch>,
    end: i64,
    durable: i64,
}

struct World {
    chance: Chance,
    now: Ms,
    queue: BTreeMap<(Ms, u64), Event>,
    queued: u64,
    core: Forwarder,
    incarnation: u64,
    settings: Settings,
    topics: Vec<LocalTopic>,
    locals: BTreeMap<TopicPartition, Local>,
    central: Central,
    /// Live connections and a number that tells one life from the next; with what is unanswered.
    links: BTreeMap<LinkId, u64>,
    lives: u64,
    in_flight: BTreeMap<LinkId, BTreeSet<u64>>,
    busy_until: BTreeMap<LinkId, Ms>,
    link_is_cut: bool,
}

fn topic_id(n: u128) -> TopicId {
    TopicId::from_u128(n + 1)
}

fn settings(chance: &mut Chance) -> Settings {
    Settings {
        in_flight_max: 1 + chance.below(5) as usize,
        request_bytes_max: 600 + chance.below(3000) as usize,
        linger_ms: chance.below(3) * 300,
        linger_ms_high: 20,
        bytes_per_s_max: if chance.one_in(6) { 30_000 } else { 0 },
        drain_jitter_ms: chance.below(2000),
        retry_ms_min: 50 + chance.below(200),
        retry_ms_max: 5_000,
        park_after_ms: 10_000,
        create_topics: true,
        on_rejected: if chance.one_in(4) {
            OnRejected::Park
        } else {
            OnRejected::DeadLetter
        },
        producer_idle_ms: 1000,
        held_bytes_max: HELD_BYTES_MAX,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let settings = settings(&mut chance);
        let mut central = Central::new(1 + chance.below(3) as i32);
        central.refuses_idempotence = chance.one_in(10);
        central.strict_about_unknown = chance.one_in(2);
        let mut topics = Vec::new();
        let mut locals = BTreeMap::new();
        for n in 0..5_u32 {
            let name = format!("t{n}");
            let partitions = 1 + chance.below(3) as u32;
            let class = if n == 0 { Class::High } else { Class::Normal };
            let id = topic_id(n.into());
            for partition in 0..partitions {
                let tp = TopicPartition {
                    topic: id,
                    partition,
                };
                locals.insert(
                    tp,
                    Local {
                        batches: Vec::new(),
                        end: 0,
                        durable: 0,
                    },
                );
            }
            // t1 is refused until it is repaired, t2 holds poison, t3 takes small batches only.
            let poison = (0..200).filter(|_| n == 2 && chance.one_in(12)).collect();
            let topic = CentralTopic {
                exists: false,
                may_create: n != 1 || chance.one_in(2),
                may_write: n != 1,
                batch_bytes_max: if n == 3 {
                    90 + chance.below(300) as usize
                } else {
                    1 << 20
                },
                poison,
                partitions: Vec::new(),
            };
            central.topics.insert(name.clone(), topic);
            topics.push(LocalTopic {
                id,
                name: name.clone(),
                central: Ok(name),
                partitions,
                class,
            });
        }
        let core = Forwarder::new(settings.clone(), seed, 0);
        let mut world = Self {
            chance,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            core,
            incarnation: 0,
            settings,
            topics,
            locals,
            central,
            links: BTreeMap::new(),
            lives: 0,
            in_flight: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            link_is_cut: false,
        };
        world.core.handle_topics(world.topics.clone(), 0);
        world.later(0, Event::Grow);
        world.later(500, Event::Fault);
        world
    }

    fn later(&mut self, wait: Ms, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + wait, self.queued), event);
    }

    fn latency(&mut self) -> Ms {
        1 + self.chance.below(120)
    }

    /// Appends a few small batches to every partition and tells the core.
    fn grow(&mut self) {
        let tps: Vec<_> = self.locals.keys().copied().collect();
        for tp in tps {
            for _ in 0..self.chance.below(4) {
                let count = 1 + self.chance.below(4) as i64;
                let local = self.locals.get_mut(&tp).unwrap();
                if local.end > 150 {
                    break;
                }
                local.batches.push(batch(local.end, count));
                local.end += count;
            }
        }
        self.tell_marks();
    }

    fn tell_marks(&mut self) {
        for (tp, local) in &self.locals {
            let marks = LocalMarks {
                start: 0,
                committed_end: local.end,
                forwarded: Some(local.durable),
            };
            self.core.handle_marks(*tp, marks);
        }
    }

    fn fault(&mut self) {
        match self.chance.below(9) {
            0 => {
                let n = self.central.brokers.len() as u64;
                let node = 1 + self.chance.below(n) as i32;
                if !self.central.down.remove(&node) {
                    self.central.down.insert(node);
                }
                self.central.elect(&mut self.chance);
                let dead = self.central.down.clone();
                self.break_links(|link| dead.contains(&link.node));
            }
            1 => self.central.elect(&mut self.chance),
            2 => self.expire_producers(),
            3 => {
                self.link_is_cut = !self.link_is_cut;
                if self.link_is_cut {
                    self.break_links(|_| true);
                }
            }
            4 => self.crash(),
            5 => {
                self.central.not_enough_replicas = !self.central.not_enough_replicas;
            }
            _ => self.break_links(|_| true),
        }
    }

    /// Producers are forgotten where nothing was sent for a while, and is not just now.
    fn expire_producers(&mut self) {
        let coming = |event: &Event| match event {
            Event::Arrives { parts, .. } => parts.iter().map(|part| part.tp).collect(),
            _ => Vec::new(),
        };
        let busy: BTreeSet<_> = self.queue.values().flat_map(coming).collect();
        let quiet = self.locals.keys().filter(|tp| !busy.contains(tp));
        for tp in quiet.copied().collect::<Vec<_>>() {
            let topic = self
                .topics
                .iter()
                .find(|topic| topic.id == tp.topic)
                .unwrap();
            self.central
                .expire_producers(&topic.name, tp.partition, self.now);
        }
    }

    /// Breaks connections: what is on the way may still arrive, answers do not.
    fn break_links(&mut self, which: impl Fn(&LinkId) -> bool) {
        let broken: Vec<_> = self
            .links
            .iter()
            .filter(|(l, _)| which(l))
            .map(|(l, life)| (*l, *life))
            .collect();
        for (link, life) in broken {
            let wait = self.latency();
            self.later(wait, Event::Broken { link, life });
        }
    }

    /// The gateway dies: what was not durable is forgotten, what is on the way may arrive.
    fn crash(&mut self) {
        self.incarnation += 1;
        self.links.clear();
        self.in_flight.clear();
        let seed = self.chance.below(u64::MAX);
        self.core = Forwarder::new(self.settings.clone(), seed, self.now);
        self.core.handle_topics(self.topics.clone(), self.now);
        self.tell_marks();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output(self.now) {
            let wait = self.latency();
            let incarnation = self.incarnation;
            match output {
                Output::Connect { link, .. } => {
                    self.lives += 1;
                    let life = self.lives;
                    self.links.insert(link, life);
                    self.in_flight.insert(link, BTreeSet::new());
                    let refused = self.link_is_cut || self.central.down.contains(&link.node);
                    let event = match refused {
                        true => Event::Broken { link, life },
                        false => Event::Connected { link, life },
                    };
                    self.later(wait, event);
                }
                Output::Close(link) => drop(self.links.remove(&link)),
                Output::Control(question) => {
                    self.later(
                        wait,
                        Event::Control {
                            incarnation,
                            question,
                        },
                    );
                }
                Output::Read(request) => self.later(
                    wait / 8,
                    Event::Read {
                        incarnation,
                        request,
                    },
                ),
                Output::Send(request) => self.send(request),
                Output::Progress(tp, next) => self.progress(tp, next),
                Output::DeadLetter { tp, letters } => {
                    let letters = letters.into_iter().map(|(offset, _)| offset).collect();
                    self.later(
                        wait,
                        Event::Lettered {
                            incarnation,
                            tp,
                            letters,
                        },
                    );
                }
                Output::Note(_) => {}
            }
        }
        assert!(
            self.core.held_bytes() < 40 * HELD_BYTES_MAX,
            "memory is bounded"
        );
    }

    fn send(&mut self, request: ProduceRequest) {
        let ProduceRequest {
            link,
            number,
            parts,
        } = request;
        let Some(life) = self.links.get(&link).copied() else {
            return;
        };
        let unanswered = self.in_flight.get_mut(&link).unwrap();
        unanswered.insert(number);
        assert!(
            unanswered.len() <= self.settings.in_flight_max,
            "in_flight_max is kept"
        );
        // A connection keeps its order.
        let wait = self.latency();
        let at = self.busy_until.entry(link).or_insert(0);
        *at = (*at).max(self.now + wait);
        let wait = *at - self.now;
        self.later(
            wait,
            Event::Arrives {
                link,
                life,
                number,
                parts,
            },
        );
    }

    fn progress(&mut self, tp: TopicPartition, next: i64) {
        let name = &self
            .topics
            .iter()
            .find(|topic| topic.id == tp.topic)
            .unwrap()
            .name;
        let partition = &self.central.topics[name].partitions[tp.partition as usize];
        assert!(
            partition.covers(next),
            "{tp:?}: mark {next} passes what is not there"
        );
        let local = self.locals.get_mut(&tp).unwrap();
        // Durable now or only later: a crash may forget the newest marks.
        if self.chance.one_in(2) || self.now > FAULTS_UNTIL {
            local.durable = local.durable.max(next);
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        let alive = |links: &BTreeMap<LinkId, u64>, link: &LinkId, life: &u64| {
            links.get(link) == Some(life)
        };
        match event {
            Event::Arrives {
                link,
                life,
                number,
                parts,
            } => {
                if self.central.down.contains(&link.node) || self.link_is_cut {
                    return;
                }
                let answers = self.central.produce(link.node, &parts, self.now);
                let wait = self.latency();
                self.later(
                    wait,
                    Event::Answer {
                        link,
                        life,
                        number,
                        answers,
                    },
                );
            }
            Event::Answer {
                link,
                life,
                number,
                answers,
            } if alive(&self.links, &link, &life) => {
                // Answers of one connection come in order: earlier ones first, whatever the wait.
                let unanswered = self.in_flight.get_mut(&link).unwrap();
                if unanswered.first() != Some(&number) {
                    return self.later(
                        1,
                        Event::Answer {
                            link,
                            life,
                            number,
                            answers,
                        },
                    );
                }
                unanswered.remove(&number);
                self.core
                    .handle_produce_response(link, number, &answers, 0, now);
            }
            Event::Connected { link, life } if alive(&self.links, &link, &life) => {
                self.core.handle_connected(link, now);
            }
            Event::Broken { link, life } if alive(&self.links, &link, &life) => {
                self.links.remove(&link);
                let stage = if self.chance.one_in(2) {
                    Stage::Broken
                } else {
                    Stage::Request
                };
                let error = ConnectError::new(stage, "b", "gone");
                self.core.handle_disconnected(link, Some(error), now);
            }
            Event::Control {
                incarnation,
                question,
            } if incarnation == self.incarnation => {
                let answer = if self.link_is_cut || self.now < FAULTS_UNTIL && self.chance.one_in(9)
                {
                    ControlAnswer::Failed(ConnectError::new(Stage::Tcp, "b", "refused"))
                } else {
                    self.central.answer(&question, &mut self.chance)
                };
                self.core.handle_control_answer(answer, now);
            }
            Event::Read {
                incarnation,
                request,
            } if incarnation == self.incarnation => {
                let outcome = self.read(&request);
                self.core
                    .handle_read(request.tp, request.number, outcome, now);
            }
            Event::Lettered {
                incarnation,
                tp,
                letters,
            } if incarnation == self.incarnation => {
                let written = !self.chance.one_in(5);
                if written {
                    let topic = self
                        .topics
                        .iter()
                        .find(|topic| topic.id == tp.topic)
                        .unwrap();
                    let central = self.central.topics.get_mut(&topic.name).unwrap();
                    central.partitions[tp.partition as usize]
                        .letters
                        .extend(letters);
                }
                self.core.handle_dead_lettered(tp, written, now);
            }
            Event::Fault => {
                self.fault();
                if self.now < FAULTS_UNTIL {
                    let wait = 200 + self.chance.below(3000);
                    self.later(wait, Event::Fault);
                } else {
                    self.heal();
                }
            }
            Event::Grow => {
                self.grow();
                if self.now < FAULTS_UNTIL {
                    let wait = 100 + self.chance.below(4000);
                    self.later(wait, Event::Grow);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, request: &ReadRequest) -> ReadOutcome {
        if self.chance.one_in(40) {
            return ReadOutcome::Failed("disk".into());
        }
        let local = &self.locals[&request.tp];
        let mut bytes = 0;
        let from = local
            .batches
            .iter()
            .filter(|batch| batch.next_offset() > request.from);
        let some: Vec<_> = from
            .take_while(|batch| {
                bytes += batch.bytes().len();
                bytes <= request.bytes_max.min(4000)
            })
            .cloned()
            .collect();
        let packing = Packing {
            compression: Compression::None,
            source: None,
            mends: Arc::default(),
        };
        let mut merger = kafka_wire::Merger::new(Compression::None);
        ReadOutcome::Packed(pack(&some, request, &packing, &mut merger).unwrap())
    }

    fn heal(&mut self) {
        self.central.down.clear();
        self.link_is_cut = false;
        self.central.not_enough_replicas = false;
        self.central.elect(&mut self.chance);
    }

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
            let due = self.queue.keys().next().map(|(at, _)| *at);
            let wake = self.core.deadline_ms().map(|at| at.max(self.now + 1));
            let until = if repaired { END_AT } else { REPAIR_AT };
            let at = due
                .into_iter()
                .chain(wake)
                .min()
                .unwrap_or(until)
                .min(until.max(self.now));
            self.now = self.now.max(at);
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let event = entry.remove();
                self.handle(event);
                self.carry_out();
            }
            if due.is_none() && wake.is_none() && self.now == until {
                self.now += 1;
            }
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

/// A batch of records that carry their offset as key.
fn batch(first: i64, count: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for offset in first..first + count {
        builder.push(&Record {
            timestamp_ms: 1_700_000_000_000 + offset,
            key: Some(offset.to_string().into()),
            value: Some(vec![b'x'; 10 + (offset % 7) as usize * 5].into()),
            headers: Vec::new(),
        });
    }
    builder.build(first, 0)
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
