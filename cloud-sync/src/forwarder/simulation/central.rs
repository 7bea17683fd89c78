//! A model of central: leaders, producer state by Kafka's rules, refusals, and a judge.
//!
//! It checks every append: first occurrences of a partition come in order, without holes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_site::TopicPartition;

use crate::forwarder::{
    outcome,
    types::{Broker, Ms, TopicMetadata},
    types::{Control, ControlAnswer, CreateAnswer, Identity, Metadata, Part, PartAnswer},
};

/// A seeded source of chance.
pub(super) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A topic at central.
pub(super) struct CentralTopic {
    pub exists: bool,
    pub may_create: bool,
    pub may_write: bool,
    pub batch_bytes_max: usize,
    /// Local offsets that are refused for themselves, in every partition.
    pub poison: BTreeSet<i64>,
    pub partitions: Vec<CentralPartition>,
}

/// One partition's log as local offsets, and what is remembered of producers.
#[derive(Default)]
pub(super) struct CentralPartition {
    pub leader: Option<i32>,
    pub log: Vec<i64>,
    pub seen: BTreeSet<i64>,
    pub letters: BTreeSet<i64>,
    producers: BTreeMap<i64, ProducerState>,
    newest: Ms,
}

struct ProducerState {
    epoch: i16,
    last: VecDeque<(i32, i32)>,
}

/// The whole cluster.
pub(super) struct Central {
    pub topics: BTreeMap<String, CentralTopic>,
    pub brokers: Vec<i32>,
    pub down: BTreeSet<i32>,
    pub refuses_idempotence: bool,
    /// Old brokers know no sequence of a producer they have forgotten.
    pub strict_about_unknown: bool,
    pub not_enough_replicas: bool,
    /// Leaders append, replicate and are deposed before they answer.
    pub deposes: bool,
    next_producer: i64,
}

impl Central {
    pub fn new(brokers: i32) -> Self {
        Self {
            topics: BTreeMap::new(),
            brokers: (1..=brokers).collect(),
            down: BTreeSet::new(),
            refuses_idempotence: false,
            strict_about_unknown: false,
            not_enough_replicas: false,
            deposes: false,
            next_producer: 1000,
        }
    }

    /// Moves leaders away from brokers that are down, and now and then for no reason.
    pub fn elect(&mut self, chance: &mut Chance) {
        let up: Vec<i32> = self
            .brokers
            .iter()
            .copied()
            .filter(|node| !self.down.contains(node))
            .collect();
        for topic in self.topics.values_mut() {
            for partition in &mut topic.partitions {
                let lost = partition
                    .leader
                    .is_none_or(|leader| self.down.contains(&leader));
                if lost || chance.one_in(8) {
                    let pick = chance.below(up.len() as u64) as usize;
                    partition.leader = up.get(pick).copied();
                }
            }
        }
    }

    /// Forgets the producers of a partition that has been quiet; a strict broker at any time.
    pub fn expire_producers(&mut self, topic: &str, partition: u32, now: Ms) {
        let strict = self.strict_about_unknown;
        let topic = self.topics.get_mut(topic);
        let found = topic.and_then(|topic| topic.partitions.get_mut(partition as usize));
        if let Some(partition) = found
            && (strict || now - partition.newest > 1500)
        {
            partition.producers.clear();
        }
    }

    pub fn answer(&mut self, question: &Control, chance: &mut Chance) -> ControlAnswer {
        match question {
            Control::Metadata { topics, .. } => ControlAnswer::Metadata(self.metadata(topics)),
            Control::InitProducerId if self.refuses_idempotence => {
                ControlAnswer::ProducerId(Err(outcome::CLUSTER_AUTHORIZATION_FAILED))
            }
            Control::InitProducerId => {
                self.next_producer += 1;
                let producer_id = self.next_producer;
                ControlAnswer::ProducerId(Ok(Identity {
                    producer_id,
                    epoch: 0,
                }))
            }
            Control::CreateTopics { topics } => {
                let created = topics
                    .iter()
                    .map(|(name, n)| self.create(name, *n))
                    .collect();
                self.elect(chance);
                ControlAnswer::Created(created)
            }
            Control::DescribeConfigs { topics } => {
                let limit = |name: &String| self.topics.get(name).map(|t| t.batch_bytes_max);
                let known = topics.iter().map(|name| (name.clone(), limit(name)));
                ControlAnswer::Configs(known.collect())
            }
        }
    }

    fn create(&mut self, name: &str, partitions: u32) -> CreateAnswer {
        let error_code = match self.topics.get_mut(name) {
            Some(topic) if topic.exists => outcome::TOPIC_ALREADY_EXISTS,
            Some(topic) if topic.may_create => {
                topic.exists = true;
                topic
                    .partitions
                    .resize_with(partitions as usize, CentralPartition::default);
                outcome::NONE
            }
            _ => outcome::TOPIC_AUTHORIZATION_FAILED,
        };
        CreateAnswer {
            name: name.to_owned(),
            error_code,
            error_message: None,
        }
    }

    fn metadata(&self, topics: &[String]) -> Metadata {
        let brokers = self.brokers.iter().map(|node| Broker {
            node: *node,
            host: format!("b{node}"),
            port: 9092,
        });
        let topics = topics.iter().map(|name| {
            let known = self.topics.get(name).filter(|topic| topic.exists);
            let (error_code, leaders) = match known {
                None => (outcome::UNKNOWN_TOPIC_OR_PARTITION, Vec::new()),
                Some(topic) => {
                    let leaders = topic.partitions.iter().enumerate();
                    (
                        outcome::NONE,
                        leaders.map(|(n, p)| (n as u32, p.leader)).collect(),
                    )
                }
            };
            TopicMetadata {
                name: name.clone(),
                error_code,
                leaders,
            }
        });
        Metadata {
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }

    /// Takes one Produce request at `node`.
    pub fn produce(&mut self, node: i32, parts: &[Part], now: Ms) -> Vec<PartAnswer> {
        let mut seen = BTreeSet::new();
        parts
            .iter()
            .map(|part| {
                assert!(seen.insert(part.tp), "one batch per partition in a request");
                self.append(node, part, now)
            })
            .collect()
    }

    fn append(&mut self, node: i32, part: &Part, now: Ms) -> PartAnswer {
        let code = |error_code| PartAnswer {
            error_code,
            ..PartAnswer::default()
        };
        let offsets = offsets_of(part);
        let (strict, short) = (self.strict_about_unknown, self.not_enough_replicas);
        let appended = if self.deposes { 6 } else { outcome::NONE };
        let found = self
            .topics
            .get_mut(&*part.central_topic)
            .filter(|topic| topic.exists);
        let Some(topic) = found else {
            return code(outcome::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if !topic.may_write {
            return code(outcome::TOPIC_AUTHORIZATION_FAILED);
        }
        let limit = topic.batch_bytes_max;
        let poisoned = offsets
            .iter()
            .enumerate()
            .filter(|(_, at)| topic.poison.contains(at));
        let poisoned: Vec<_> = poisoned.map(|(i, _)| (i as i32, None)).collect();
        let partition = &mut topic.partitions[part.tp.partition as usize];
        if partition.leader != Some(node) {
            return code(6);
        }
        if part.batch.bytes().len() > limit {
            return code(10);
        }
        if !poisoned.is_empty() {
            return PartAnswer {
                error_code: 87,
                record_errors: poisoned,
                error_message: None,
            };
        }
        if short {
            return code(19);
        }
        if let Some(identity) = part.identity {
            match partition.sequence(identity, part.base_sequence, offsets.len() as i32, strict) {
                Verdict::Fresh => {}
                Verdict::Repeated => return code(outcome::NONE),
                Verdict::Refused(error) => return code(error),
            }
        }
        partition.newest = now;
        partition.store(part.tp, &offsets);
        code(appended)
    }
}

enum Verdict {
    Fresh,
    Repeated,
    Refused(i16),
}

impl CentralPartition {
    /// Kafka's rules for sequence numbers, with the last five batches remembered.
    fn sequence(&mut self, who: Identity, first: i32, count: i32, strict: bool) -> Verdict {
        let last = first + count - 1;
        let Some(state) = self.producers.get_mut(&who.producer_id) else {
            if strict && first != 0 {
                return Verdict::Refused(59);
            }
            let state = ProducerState {
                epoch: who.epoch,
                last: VecDeque::from([(first, last)]),
            };
            self.producers.insert(who.producer_id, state);
            return Verdict::Fresh;
        };
        if who.epoch < state.epoch {
            return Verdict::Refused(47);
        }
        if who.epoch > state.epoch {
            if first != 0 {
                return Verdict::Refused(45);
            }
            *state = ProducerState {
                epoch: who.epoch,
                last: VecDeque::new(),
            };
        } else if state.last.contains(&(first, last)) {
            return Verdict::Repeated;
        } else if state
            .last
            .back()
            .is_some_and(|(_, before)| before + 1 != first)
        {
            return Verdict::Refused(45);
        }
        state.last.push_back((first, last));
        if state.last.len() > 5 {
            state.last.pop_front();
        }
        Verdict::Fresh
    }

    /// The judge: no first occurrence may leave a hole before it.
    fn store(&mut self, tp: TopicPartition, offsets: &[i64]) {
        for offset in offsets {
            if self.seen.insert(*offset) {
                let hole = (0..*offset)
                    .rev()
                    .take_while(|at| *at >= 0)
                    .find(|at| !self.seen.contains(at) && !self.letters.contains(at));
                assert_eq!(hole, None, "{tp:?}: {offset} came before {hole:?}");
            }
            self.log.push(*offset);
        }
    }

    /// Whether everything before `next` is here or was put aside.
    pub fn covers(&self, next: i64) -> bool {
        (0..next).all(|at| self.seen.contains(&at) || self.letters.contains(&at))
    }
}

/// Records carry their local offset as their key.
pub(super) fn offsets_of(part: &Part) -> Vec<i64> {
    let records = part.batch.records(1 << 20).unwrap();
    records
        .map(|item| {
            let (_, record) = item.unwrap();
            String::from_utf8(record.key.unwrap().to_vec())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}
