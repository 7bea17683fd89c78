//! The simulated world: invented time, links with latency, local partitions, the core in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_site::{Compression, Record, RecordBatch, TopicId, TopicPartition};
use kafka_wire::BatchBuilder;

use super::{
    FAULTS_UNTIL, HELD_BYTES_MAX,
    central::{Central, CentralTopic, Chance},
};
use crate::{
    config::OnRejected,
    error::{ConnectError, Stage},
    forwarder::{
        Forwarder,
        types::{
            Class, Control, ControlAnswer, LinkId, LocalMarks, LocalTopic, Ms, Output, Part,
            PartAnswer, ProduceRequest, ReadOutcome, ReadRequest, Settings,
        },
    },
    packing::{Packing, pack},
};

/// Something under way.
pub(super) enum Event {
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
    /// Nobody listens there.
    Refused {
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
        letters: (u64, Vec<i64>),
    },
    Fault,
    Grow,
}

pub(super) struct Local {
    pub batches: Vec<RecordBatch>,
    pub end: i64,
    pub durable: i64,
}

pub(super) struct World {
    pub chance: Chance,
    pub now: Ms,
    pub queue: BTreeMap<(Ms, u64), Event>,
    pub queued: u64,
    pub core: Forwarder,
    pub incarnation: u64,
    pub settings: Settings,
    pub topics: Vec<LocalTopic>,
    pub locals: BTreeMap<TopicPartition, Local>,
    pub central: Central,
    /// Live connections and a number that tells one life from the next; with what is unanswered.
    pub links: BTreeMap<LinkId, u64>,
    pub lives: u64,
    /// Connections tried, and questions that found nobody.
    pub dials: u64,
    pub in_flight: BTreeMap<LinkId, BTreeSet<u64>>,
    pub busy_until: BTreeMap<LinkId, Ms>,
    pub link_is_cut: bool,
    /// A topic that is not forwarded just now.
    pub away: Option<TopicId>,
}

fn topic_id(n: u128) -> TopicId {
    TopicId::from_u128(n + 1)
}

pub(super) fn settings(chance: &mut Chance) -> Settings {
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
    /// With faults, refusals and settings as the seed wants them.
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let settings = settings(&mut chance);
        let mut world = Self::with(seed, chance, settings);
        world.later(0, Event::Grow);
        world.later(500, Event::Fault);
        world
    }

    pub(super) fn with(seed: u64, mut chance: Chance, settings: Settings) -> Self {
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
            dials: 0,
            in_flight: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            link_is_cut: false,
            away: None,
        };
        world.core.handle_topics(world.topics.clone(), 0);
        world
    }

    /// On to the next thing that happens, at most to `until`.
    pub(super) fn step(&mut self, until: Ms) {
        let due = self.queue.keys().next().map(|(at, _)| *at);
        let wake = self.core.deadline_ms().map(|at| at.max(self.now + 1));
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

    pub(super) fn later(&mut self, wait: Ms, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + wait, self.queued), event);
    }

    pub(super) fn latency(&mut self) -> Ms {
        1 + self.chance.below(120)
    }

    /// Appends a few small batches to every partition and tells the core.
    pub(super) fn grow(&mut self) {
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

    pub(super) fn tell_marks(&mut self) {
        for (tp, local) in &self.locals {
            let marks = LocalMarks {
                start: 0,
                committed_end: local.end,
                forwarded: Some(local.durable),
            };
            self.core.handle_marks(*tp, marks);
        }
    }

    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output(self.now) {
            let wait = self.latency();
            let incarnation = self.incarnation;
            match output {
                Output::Connect { link, .. } => {
                    self.dials += 1;
                    self.lives += 1;
                    let life = self.lives;
                    self.links.insert(link, life);
                    self.in_flight.insert(link, BTreeSet::new());
                    let refused = self.link_is_cut || self.central.down.contains(&link.node);
                    let event = match refused {
                        true => Event::Refused { link, life },
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
                Output::Lost(tp, records) => panic!("{tp:?}: {records} records are lost"),
                Output::Progress(tp, next) => self.progress(tp, next),
                Output::DeadLetter {
                    tp,
                    number,
                    letters,
                } => {
                    let offsets = letters.into_iter().map(|(offset, _)| offset);
                    let letters = (number, offsets.collect());
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

    pub(super) fn handle(&mut self, event: Event) {
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
            Event::Refused { link, life } if alive(&self.links, &link, &life) => {
                self.links.remove(&link);
                let error = ConnectError::new(Stage::Tcp, "b", "refused");
                self.core.handle_disconnected(link, Some(error), now);
            }
            Event::Control {
                incarnation,
                question,
            } if incarnation == self.incarnation => {
                let answer = if self.link_is_cut || self.now < FAULTS_UNTIL && self.chance.one_in(9)
                {
                    self.dials += 1;
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
                letters: (number, letters),
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
                let written = written.then_some(()).ok_or_else(|| "full".to_owned());
                self.core.handle_dead_lettered(tp, number, written, now);
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
        ReadOutcome::Packed(pack(&some, request, &packing, &mut merger))
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
