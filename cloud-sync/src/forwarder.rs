//! The forwarder: which records go to which broker when, and what follows from each answer.
//!
//! A pure core. Calls named `handle_*` tell it what happened, [`Forwarder::poll_output`] gives
//! what is to be done next, `now` is an argument; it has no clock, socket, file or task, and its
//! random waits come from a seed. [`crate::driver`] is the shell around it, the simulation in
//! `simulation.rs` another one.
//!
//! ```text
//!  handle_topics, handle_marks ──▶ ┌─────────┐ ──▶ Read ─────▶ packing ──▶ handle_read
//!  handle_control_answer ────────▶ │ topics  │ ──▶ Control ──▶ any broker
//!  handle_connected/disconnected ▶ │ parti-  │ ──▶ Connect, Send ──▶ leader's connection
//!  handle_produce_response ──────▶ │ tions   │ ──▶ Progress ──▶ site
//!  handle_dead_lettered ─────────▶ │ links   │ ──▶ DeadLetter ─▶ site
//!                                  └─────────┘
//! ```
//!
//! Three things are kept apart, so that none holds up another: a **topic** that is refused is
//! parked, a **partition** that fails for now waits alone, a **link** that is down holds only
//! what its broker leads.

mod answers;
mod ask;
mod intake;
mod link;
pub(crate) mod outcome;
mod partition;
mod plan;
mod reach;
mod report;
mod topic;
mod tries;
pub(crate) mod types;

use std::collections::{BTreeMap, VecDeque};

use edge_site::{TopicId, TopicPartition};

use self::{
    ask::Asking,
    link::Link,
    partition::{Partition, Rewind},
    reach::Reach,
    topic::{Phase, Topic},
    types::{Broker, Identity, LinkId, LocalMarks, LocalTopic, Ms, Note, Output, Settings},
};

/// See the head of the file.
pub(crate) struct Forwarder {
    settings: Settings,
    topics: BTreeMap<TopicId, Topic>,
    partitions: BTreeMap<TopicPartition, Partition>,
    links: BTreeMap<LinkId, Link>,
    brokers: BTreeMap<i32, Broker>,
    producer: Producer,
    asking: Asking,
    reach: Reach,
    tokens: Tokens,
    random: u64,
    outputs: VecDeque<Output>,
    /// Something happened since the last plan.
    dirty: bool,
    wake_at: Option<Ms>,
    numbers: u64,
    /// Where the next request begins to look, so that no partition is always last.
    turn: usize,
    stopped: bool,
    /// Since when records could go but for their stamps.
    clock_awaited_since: Option<Ms>,
    pub(crate) counters: Counters,
}

/// The idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Producer {
    Wanted,
    Have(Identity),
    /// The cluster refuses: batches go without, one at a time per partition.
    Refused,
}

/// The budget of `bytes_per_s_max`.
#[derive(Debug, Default)]
struct Tokens {
    level: i64,
    at: Ms,
}

/// Totals since start.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counters {
    pub records: u64,
    pub requests: u64,
    pub dead_lettered: u64,
}

impl Forwarder {
    /// An idle forwarder; `seed` decides its random waits.
    pub fn new(settings: Settings, seed: u64, now: Ms) -> Self {
        Self {
            settings,
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            links: BTreeMap::new(),
            brokers: BTreeMap::new(),
            producer: Producer::Wanted,
            asking: Asking::new(),
            reach: Reach::new(now),
            tokens: Tokens::default(),
            random: seed | 1,
            outputs: VecDeque::new(),
            dirty: true,
            wake_at: None,
            numbers: 0,
            turn: 0,
            stopped: false,
            clock_awaited_since: None,
            counters: Counters::default(),
        }
    }

    /// The topics to forward now; what is missing here is forwarded no longer.
    pub fn handle_topics(&mut self, topics: Vec<LocalTopic>, now: Ms) {
        self.dirty = true;
        let kept: BTreeMap<TopicId, LocalTopic> =
            topics.into_iter().map(|topic| (topic.id, topic)).collect();
        self.topics.retain(|id, _| kept.contains_key(id));
        self.let_go(|tp| !kept.contains_key(&tp.topic));
        for (id, local) in kept {
            let known = self
                .topics
                .get(&id)
                .is_some_and(|topic| topic.local == local);
            if known {
                continue;
            }
            let refused = local.central.as_ref().err().cloned();
            match self.topics.get_mut(&id) {
                Some(topic) => topic.local = local,
                None => drop(self.topics.insert(id, Topic::new(local))),
            }
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.resume();
            }
            if let Some(reason) = refused {
                self.park(id, reason, now);
            }
        }
    }

    /// Forgets partitions.
    ///
    /// Who comes back to the same central partition begins a sequence at 0. Under the same
    /// producer id central would take that for a repetition and drop it: records that are nowhere
    /// would count as sent. So nobody begins with an id that somebody who left has used.
    fn let_go(&mut self, goes: impl Fn(&TopicPartition) -> bool) {
        let mut leaving = self.partitions.values().filter(|p| goes(&p.tp));
        if self.idempotent() && leaving.any(|p| p.identity.is_some()) {
            self.producer = Producer::Wanted;
        }
        self.partitions.retain(|tp, _| !goes(tp));
    }

    /// Marks of a local partition; new ones begin at their durable progress.
    pub fn handle_marks(&mut self, tp: TopicPartition, marks: LocalMarks) {
        if !self.topics.contains_key(&tp.topic) {
            return;
        }
        let dirty = &mut self.dirty;
        let partition = self.partitions.entry(tp).or_insert_with(|| {
            *dirty = true;
            Partition::new(tp, marks)
        });
        if partition.committed_end != marks.committed_end || partition.start != marks.start {
            partition.committed_end = marks.committed_end;
            partition.start = marks.start;
            self.dirty = true;
        }
    }

    /// Tries a parked topic at once; false if no forwarded topic has that local name.
    pub fn handle_retry(&mut self, name: &str, now: Ms) -> bool {
        self.dirty = true;
        let Some(topic) = self
            .topics
            .values_mut()
            .find(|topic| topic.local.name == name)
        else {
            return false;
        };
        if topic.is_parked() && topic.local.central.is_ok() {
            topic.phase = Phase::Parked { retry_at: now };
        }
        self.ask_producer_soon(now);
        true
    }

    /// Parks the topic of a partition, for what is the matter with that one alone.
    fn park_for(&mut self, tp: TopicPartition, reason: String, now: Ms) {
        self.park_topic(tp.topic, Some(tp.partition), reason, now);
    }

    /// Parks a topic: nothing of it is sent until its time comes.
    fn park(&mut self, id: TopicId, reason: String, now: Ms) {
        self.park_topic(id, None, reason, now);
    }

    fn park_topic(&mut self, id: TopicId, partition: Option<u32>, reason: String, now: Ms) {
        let Some(topic) = self.topics.get_mut(&id) else {
            return;
        };
        if topic.is_parked() {
            return;
        }
        let retry_in_ms = topic.park(partition, reason.clone(), now);
        let name = topic.local.name.clone();
        self.outputs.push_back(Output::Note(Note::Parked {
            topic: name,
            reason,
            retry_in_ms,
        }));
        let mut list = Vec::new();
        for partition in partitions_of(&mut self.partitions, id) {
            partition.letters = None;
            partition.failing_since = None;
            partition.rewind(Rewind::Reread);
            list.push(partition.tp);
        }
        for tp in list {
            self.settle(tp);
        }
    }

    /// Sends nothing more; what is under way may still be answered.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// What to do next; none = nothing until something happens or [`Self::deadline_ms`].
    pub fn poll_output(&mut self, now: Ms) -> Option<Output> {
        if self.outputs.is_empty()
            && !self.stopped
            && (self.dirty || self.wake_at.is_some_and(|at| at <= now))
        {
            self.dirty = false;
            self.wake_at = None;
            self.plan(now);
        }
        self.outputs.pop_front()
    }

    /// When to poll again although nothing happened.
    pub fn deadline_ms(&self) -> Option<Ms> {
        match self.outputs.is_empty() {
            false => Some(0),
            true if self.stopped => None,
            true if self.dirty => Some(0),
            true => self.wake_at,
        }
    }

    fn wake(&mut self, at: Ms) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// A wait before try number `failures` + 1: doubling, with jitter.
    fn backoff(&mut self, failures: u32) -> Ms {
        self.backoff_within(failures, self.settings.retry_ms_max)
    }

    fn backoff_within(&mut self, failures: u32, most: Ms) -> Ms {
        let exponent = failures.saturating_sub(1).min(16);
        let wait = (self.settings.retry_ms_min << exponent).min(most);
        wait / 2 + self.random_below(wait / 2 + 1)
    }

    /// xorshift64: repeatable from the seed.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn idempotent(&self) -> bool {
        self.producer != Producer::Refused
    }

    /// Bytes of a request: smaller on a link that is held to few bytes a second.
    fn request_bytes_max(&self) -> usize {
        match self.settings.bytes_per_s_max {
            0 => self.settings.request_bytes_max,
            rate => self
                .settings
                .request_bytes_max
                .min((rate as usize).max(16 << 10)),
        }
    }
}

/// The partitions of one topic.
fn partitions_of(
    partitions: &mut BTreeMap<TopicPartition, Partition>,
    topic: TopicId,
) -> impl Iterator<Item = &mut Partition> {
    let first = TopicPartition {
        topic,
        partition: 0,
    };
    let last = TopicPartition {
        topic,
        partition: u32::MAX,
    };
    partitions
        .range_mut(first..=last)
        .map(|(_, partition)| partition)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
