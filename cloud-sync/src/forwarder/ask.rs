//! Questions to the cluster: who leads, may we produce, create these, how large may batches be.
//!
//! One question at a time, over whichever broker answers. Follows from the state of the topics;
//! answers change it.

use edge_site::TopicId;

use super::{
    Forwarder, Producer,
    link::{Link, LinkState},
    outcome,
    partition::Rewind,
    partitions_of,
    reach::Source,
    topic::{BATCH_BYTES_DEFAULT, Limits, Phase},
    tries::Tries,
    types::{
        Class, Control, ControlAnswer, CreateAnswer, Identity, LinkId, Metadata, Ms, Note, Output,
        TopicMetadata,
    },
};
use crate::error::{ConnectError, Stage};

/// Longest wait between questions about leaders that are not known yet.
const REFRESH_MS_MAX: Ms = 5_000;

/// Tries for a producer id that may fail before it is told: a coordinator that moves takes seconds.
const PRODUCER_FAILURES_TOLD: u32 = 4;
/// Answers in a row that left a leader open before another broker is asked: this one may be cut off
/// from the cluster.
const UNRESOLVED_MAX: u32 = 3;
/// How long the cluster's word that we may not be an idempotent producer is taken for granted.
const REFUSED_PRODUCER_MS: Ms = 900_000;

/// State of the questions.
#[derive(Debug)]
pub(crate) struct Asking {
    outstanding: Option<Control>,
    tries: Tries,
    not_before: Ms,
    /// Ask for leaders, not before that time; at the very start to see that central is there.
    metadata_at: Option<Ms>,
    /// Answers in a row that left a leader open.
    unresolved: u32,
    producer_not_before: Ms,
    producer_failures: u32,
}

impl Asking {
    pub fn new() -> Self {
        Self {
            outstanding: None,
            tries: Tries::default(),
            not_before: 0,
            metadata_at: Some(0),
            unresolved: 0,
            producer_not_before: 0,
            producer_failures: 0,
        }
    }

    pub fn next_try(&self) -> Option<Ms> {
        self.tries.any().then_some(self.not_before)
    }

    /// No address gave a connection: whoever leads need not be tried.
    pub fn nobody_answers(&self) -> bool {
        self.tries.only_early()
    }
}

impl Forwarder {
    /// Asks for leaders soon.
    pub(super) fn refresh_metadata(&mut self, now: Ms) {
        let wait = match self.asking.unresolved {
            0 => 0,
            n => self.backoff(n).min(REFRESH_MS_MAX),
        };
        let at = self.asking.metadata_at.get_or_insert(now + wait);
        *at = (*at).min(now + wait);
        self.dirty = true;
    }

    /// Asks for leaders unless that is under way.
    pub(super) fn want_leaders(&mut self, now: Ms) {
        let asked = matches!(self.asking.outstanding, Some(Control::Metadata { .. }));
        if !asked && self.asking.metadata_at.is_none() {
            self.refresh_metadata(now);
        }
    }

    /// Puts the next question, if there is one and none is open.
    pub(super) fn plan_control(&mut self, now: Ms) {
        if self.asking.outstanding.is_some() {
            return;
        }
        if self.asking.not_before > now {
            if self.has_question() {
                self.wake(self.asking.not_before);
            }
            return;
        }
        if let Some(question) = self.next_question(now) {
            self.asking.outstanding = Some(question.clone());
            self.outputs.push_back(Output::Control(question));
        }
    }

    fn has_question(&self) -> bool {
        self.asking.metadata_at.is_some()
            || self.wanted().any(|(_, topic)| !topic.is_ready())
            || (self.producer == Producer::Wanted && self.wanted().next().is_some())
    }

    fn next_question(&mut self, now: Ms) -> Option<Control> {
        let unknown = self
            .wanted()
            .any(|(_, topic)| topic.phase == Phase::Unknown);
        if unknown && self.asking.metadata_at.is_none() {
            self.refresh_metadata(now);
        }
        match self.asking.metadata_at {
            Some(at) if at <= now => {
                self.asking.metadata_at = None;
                let topics = self
                    .wanted()
                    .map(|(_, topic)| topic.central_name().to_owned());
                return Some(Control::Metadata {
                    topics: topics.collect(),
                    elsewhere: self.asking.unresolved >= UNRESOLVED_MAX,
                });
            }
            Some(at) => self.wake(at),
            None => {}
        }
        let have = matches!(self.producer, Producer::Have(_));
        if !have && self.wanted().next().is_some() {
            if self.asking.producer_not_before <= now {
                return Some(Control::InitProducerId);
            }
            self.wake(self.asking.producer_not_before);
        }
        self.topics_to_create(now)
            .or_else(|| self.topics_to_describe())
    }

    fn topics_to_create(&mut self, now: Ms) -> Option<Control> {
        let mut topics = Vec::new();
        let mut later = None;
        for (_, topic) in self.wanted() {
            match topic.phase {
                Phase::Missing { not_before, .. } if not_before <= now => {
                    topics.push((topic.central_name().to_owned(), topic.local.partitions));
                }
                Phase::Missing { not_before, .. } => {
                    later = Some(later.map_or(not_before, |at: Ms| at.min(not_before)));
                }
                _ => {}
            }
        }
        if let Some(at) = later {
            self.wake(at);
        }
        (!topics.is_empty()).then_some(Control::CreateTopics { topics })
    }

    fn topics_to_describe(&self) -> Option<Control> {
        let topics = self
            .wanted()
            .filter(|(_, topic)| topic.phase == Phase::Known && topic.limits == Limits::Unknown);
        let topics: Vec<_> = topics
            .map(|(_, topic)| topic.central_name().to_owned())
            .collect();
        (!topics.is_empty()).then_some(Control::DescribeConfigs { topics })
    }

    /// Topics with something to send that are not parked.
    fn wanted(&self) -> impl Iterator<Item = (&TopicId, &super::Topic)> {
        self.topics
            .iter()
            .filter(|(_, topic)| topic.wanted && !topic.is_parked())
    }

    /// An answer to the open question.
    pub fn handle_control_answer(&mut self, answer: ControlAnswer, now: Ms) {
        self.dirty = true;
        let question = self.asking.outstanding.take();
        let nobody_answered = self.asking.nobody_answers();
        if let ControlAnswer::Failed(error) = answer {
            return self.control_failed(question.as_ref(), error, now);
        }
        self.asking.tries = Tries::default();
        self.asking.not_before = 0;
        self.note_reached(Source::Control, now);
        if nobody_answered {
            self.links.values_mut().for_each(Link::try_now);
        }
        match answer {
            ControlAnswer::Metadata(metadata) => self.take_metadata(metadata, now),
            ControlAnswer::ProducerId(producer) => self.take_producer(producer, now),
            ControlAnswer::Created(created) => self.take_created(created, now),
            ControlAnswer::Configs(configs) => self.take_configs(configs, now),
            ControlAnswer::Failed(_) => {}
        }
    }

    /// A broker has just answered: what waits because nobody did need not wait longer.
    pub(super) fn ask_soon(&mut self, now: Ms) {
        if self.asking.nobody_answers() {
            self.asking.not_before = now;
            self.asking.metadata_at = self.asking.metadata_at.map(|at| at.min(now));
        }
    }

    fn control_failed(&mut self, question: Option<&Control>, error: ConnectError, now: Ms) {
        self.asking.tries.failed(error.is_early());
        let wait = self.wait_after(self.asking.tries, error.is_early());
        self.asking.not_before = now + wait;
        // While nobody answers this question is also the probe for everything that waits.
        if error.is_early() || matches!(question, Some(Control::Metadata { .. })) {
            self.asking.metadata_at = Some(now + wait);
        }
        self.note_unreached(Source::Control, error, now);
    }

    pub(super) fn note_unreached(&mut self, source: Source, error: ConnectError, now: Ms) {
        if self.reach.note_failure(source, error.clone(), now) {
            self.outputs
                .push_back(Output::Note(Note::Unreachable(error)));
        }
    }

    pub(super) fn note_reached(&mut self, source: Source, now: Ms) {
        if let Some(after_ms) = self.reach.note_success(source, now) {
            let waiting_records = self.waiting_records();
            self.outputs.push_back(Output::Note(Note::Reachable {
                after_ms,
                waiting_records,
            }));
        }
    }

    fn take_metadata(&mut self, metadata: Metadata, now: Ms) {
        self.brokers = metadata
            .brokers
            .into_iter()
            .map(|broker| (broker.node, broker))
            .collect();
        let mut open = false;
        for answer in metadata.topics {
            open |= self.take_topic_metadata(&answer, now);
        }
        self.asking.unresolved = if open { self.asking.unresolved + 1 } else { 0 };
        if open {
            self.refresh_metadata(now);
        }
        self.drop_useless_links(now);
        self.forgive_idle_links(now);
    }

    /// Takes one topic's leaders; true if some are still open.
    fn take_topic_metadata(&mut self, answer: &TopicMetadata, now: Ms) -> bool {
        let found = self
            .topics
            .iter()
            .find(|(_, topic)| topic.central_name() == answer.name);
        let Some((id, topic)) = found.map(|(id, topic)| (*id, topic)) else {
            return false;
        };
        if topic.is_parked() {
            return false;
        }
        match answer.error_code {
            outcome::NONE => self.take_leaders(id, answer, now),
            outcome::UNKNOWN_TOPIC_OR_PARTITION => self.topic_is_missing(id, now),
            outcome::TOPIC_AUTHORIZATION_FAILED | outcome::INVALID_TOPIC_EXCEPTION => {
                let reason = outcome::refusal(answer.error_code, None, &answer.name);
                self.park(id, reason, now);
                false
            }
            _ => true,
        }
    }

    fn topic_is_missing(&mut self, id: TopicId, now: Ms) -> bool {
        let create = self.settings.create_topics;
        let Some(topic) = self.topics.get_mut(&id) else {
            return false;
        };
        if create {
            if let Phase::Missing { failures, .. } = topic.phase {
                return failures > 0;
            }
            topic.phase = Phase::Missing {
                not_before: now,
                failures: 0,
            };
        } else {
            let name = topic.central_name();
            let reason = format!(
                "central has no topic {name}: create it there, or set central.create_topics = true"
            );
            self.park(id, reason, now);
        }
        false
    }

    fn take_leaders(&mut self, id: TopicId, answer: &TopicMetadata, now: Ms) -> bool {
        let Some(topic) = self.topics.get_mut(&id) else {
            return false;
        };
        let (local, central) = (topic.local.partitions as usize, answer.leaders.len());
        if central < local {
            let reason = format!(
                "{} has {central} partitions, {local} are needed: add some there",
                answer.name
            );
            self.park(id, reason, now);
            return false;
        }
        topic.phase = Phase::Known;
        let mut leaderless_ms = None;
        for partition in partitions_of(&mut self.partitions, id) {
            let leader = answer
                .leaders
                .iter()
                .find(|(n, _)| *n == partition.tp.partition);
            partition.leader = leader.and_then(|(_, leader)| *leader);
            if partition.leader.is_some() {
                partition.leaderless_since = None;
            } else {
                let since = *partition.leaderless_since.get_or_insert(now);
                leaderless_ms = leaderless_ms.max(Some((now - since, partition.tp.partition)));
            }
        }
        match leaderless_ms {
            Some((ms, n)) if ms >= self.settings.park_after_ms => {
                let reason = format!("partition {n} of {} has no leader", answer.name);
                self.park_topic(id, Some(n), reason, now);
                false
            }
            other => other.is_some(),
        }
    }

    /// Forgets links to brokers that lead nothing any more.
    fn drop_useless_links(&mut self, now: Ms) {
        let useless: Vec<LinkId> = self
            .links
            .keys()
            .filter(|link| {
                let leads = |p: &super::Partition| p.leader == Some(link.node);
                !self.brokers.contains_key(&link.node) || !self.partitions.values().any(leads)
            })
            .copied()
            .collect();
        for id in useless {
            let idle = self
                .links
                .get(&id)
                .is_some_and(|link| link.in_flight().is_empty());
            if !idle {
                continue;
            }
            if let Some(link) = self.links.remove(&id)
                && !matches!(link.state, LinkState::Down { .. })
            {
                self.outputs.push_back(Output::Close(id));
            }
            self.reach.forget(Source::Link(id), now);
        }
    }

    /// A connection that broke and is not needed now says nothing against a cluster that answers.
    fn forgive_idle_links(&mut self, now: Ms) {
        let needed = |id: &LinkId| {
            let mut partitions = self.partitions.values();
            partitions.any(|p| p.leader == Some(id.node) && p.has_work())
        };
        let idle = |(id, link): (&LinkId, &Link)| {
            let down = matches!(link.state, LinkState::Down { .. });
            (down && link.tries.any() && !needed(id)).then_some(*id)
        };
        let idle: Vec<LinkId> = self.links.iter().filter_map(idle).collect();
        for id in idle {
            self.note_reached(Source::Link(id), now);
        }
    }

    fn take_producer(&mut self, producer: Result<Identity, i16>, now: Ms) {
        match producer {
            Ok(identity) => {
                self.producer = Producer::Have(identity);
                self.outputs
                    .push_back(Output::Note(Note::NewProducer { identity }));
            }
            Err(code) if outcome::forbids_idempotence(code) => self.go_without_idempotence(now),
            Err(code) => return self.producer_failed(code, now),
        }
        self.asking.producer_failures = 0;
        self.note_reached(Source::Producer, now);
    }

    /// Nothing is sent meanwhile: after some tries it is said.
    fn producer_failed(&mut self, code: i16, now: Ms) {
        self.asking.producer_failures += 1;
        let failures = self.asking.producer_failures;
        self.asking.producer_not_before = now + self.backoff(failures);
        if failures >= PRODUCER_FAILURES_TOLD && self.producer == Producer::Wanted {
            let why = format!("no producer id: {}", outcome::name(code));
            let error = ConnectError::new(Stage::Refused, "central", why);
            self.note_unreached(Source::Producer, error, now);
        }
    }

    /// The cluster refuses idempotent producers: say so, go on with less, and ask again later.
    pub(super) fn go_without_idempotence(&mut self, now: Ms) {
        self.asking.producer_not_before = now + REFUSED_PRODUCER_MS;
        if self.producer == Producer::Refused {
            return;
        }
        self.producer = Producer::Refused;
        self.outputs.push_back(Output::Note(Note::NoIdempotence));
        for partition in self.partitions.values_mut() {
            partition.rewind(Rewind::NewProducer);
            partition.settle();
        }
    }

    /// Somebody may have repaired what the cluster refused.
    pub(super) fn ask_producer_soon(&mut self, now: Ms) {
        if self.producer == Producer::Refused {
            self.asking.producer_not_before = now;
        }
    }

    fn take_created(&mut self, created: Vec<CreateAnswer>, now: Ms) {
        for answer in created {
            let found = self
                .topics
                .iter()
                .find(|(_, t)| t.central_name() == answer.name);
            let Some(id) = found.map(|(id, _)| *id) else {
                continue;
            };
            match answer.error_code {
                outcome::NONE => {
                    self.outputs.push_back(Output::Note(Note::Created {
                        central_topic: answer.name.clone(),
                    }));
                    self.ask_again(id);
                }
                // Not all brokers know of it yet: the one that is asked does not.
                outcome::TOPIC_ALREADY_EXISTS => self.creation_failed(id, now),
                code => {
                    let said = answer.error_message.as_deref();
                    match outcome::creation_refused(code, said, &answer.name) {
                        Some(reason) => self.park(id, reason, now),
                        None => self.creation_failed(id, now),
                    }
                }
            }
        }
        self.refresh_metadata(now);
    }

    fn ask_again(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(&id)
            && !topic.is_parked()
        {
            topic.phase = Phase::Unknown;
        }
    }

    fn creation_failed(&mut self, id: TopicId, now: Ms) {
        let Some(Phase::Missing { failures, .. }) = self.topics.get(&id).map(|t| t.phase) else {
            return;
        };
        let wait = self.backoff(failures + 1);
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.phase = Phase::Missing {
                not_before: now + wait,
                failures: failures + 1,
            };
        }
    }

    fn take_configs(&mut self, configs: Vec<(String, Option<usize>)>, now: Ms) {
        for (name, limit) in configs {
            let found = self
                .topics
                .values_mut()
                .find(|topic| topic.central_name() == name);
            if let Some(topic) = found {
                let batch_bytes_max = limit.unwrap_or(BATCH_BYTES_DEFAULT);
                topic.limits = Limits::Known {
                    batch_bytes_max,
                    at: now,
                };
            }
        }
    }

    /// The link of a partition: its leader's, in its topic's class.
    pub(super) fn link_of(class: Class, leader: Option<i32>) -> Option<LinkId> {
        leader.map(|node| LinkId { class, node })
    }
}
