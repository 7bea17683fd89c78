//! Connections and answers: what a broker's word means for the partitions it is about.

use edge_site::{TopicId, TopicPartition};

use super::{
    Forwarder, Producer,
    link::{InFlight, Link, LinkState},
    outcome::{self, Outcome},
    partition::{Rewind, Sent},
    reach::Source,
    topic::Limits,
    tries::Tries,
    types::{Class, LinkId, Ms, Note, Output, PartAnswer},
};
use crate::error::{ConnectError, Stage};

/// Times a chunk stays without answer before it is cut smaller rather than repeated as it is,
/// which central would recognise: few where the link is too slow for it, more where it breaks.
const LATE_ANSWERS_MAX: u32 = 3;
const LOST_ANSWERS_MAX: u32 = 8;
/// Times central may fail at a batch before we look whether it can be decoded at all.
const FAILED_MAX: u32 = 2;

impl Forwarder {
    /// A connection is there and authenticated.
    pub fn handle_connected(&mut self, id: LinkId, now: Ms) {
        self.dirty = true;
        let backlog_bytes: f64 = self
            .partitions
            .values()
            .map(|p| p.unread() as f64 * p.estimate.bytes_per_record)
            .sum();
        let jitter = self.random_below(self.settings.drain_jitter_ms + 1);
        let enough = self.settings.request_bytes_max as f64;
        let Some(link) = self.links.get_mut(&id) else {
            return self.outputs.push_back(Output::Close(id));
        };
        link.state = LinkState::Up {
            in_flight: Vec::new(),
        };
        link.drain_at = now;
        let down_ms = link.down_since.take().map_or(0, |since| now - since);
        let long = down_ms >= self.settings.drain_jitter_ms || self.counters.requests == 0;
        if long && id.class == Class::Normal && backlog_bytes > enough {
            link.drain_at = now + jitter;
        }
        self.note_reached(Source::Link(id), now);
        self.ask_soon(now);
    }

    /// A connection could not be made, or is gone. `error` is none if an idle one was closed.
    pub fn handle_disconnected(&mut self, id: LinkId, error: Option<ConnectError>, now: Ms) {
        self.dirty = true;
        let early = error.as_ref().is_some_and(ConnectError::is_early);
        let mut tries = self.links.get(&id).map_or(Tries::default(), |l| l.tries);
        tries.failed(early);
        let wait = self.wait_after(tries, early);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let mut slow = false;
        let unanswered = match std::mem::replace(
            &mut link.state,
            LinkState::Down {
                not_before: now + wait,
            },
        ) {
            LinkState::Up { in_flight } => in_flight,
            _ => Vec::new(),
        };
        match error {
            Some(error) => {
                link.tries = tries;
                link.down_since.get_or_insert(now);
                slow = error.stage == Stage::Request;
                if slow && !unanswered.is_empty() {
                    link.shrink();
                }
                self.refresh_metadata(now + wait);
                self.note_unreached(Source::Link(id), error, now);
            }
            None if unanswered.is_empty() => link.state = LinkState::Down { not_before: now },
            None => link.tries = tries,
        }
        for request in &unanswered {
            self.lose_answers(request, slow);
        }
        if unanswered.iter().any(|request| self.is_given_up(request)) && !slow {
            self.links.get_mut(&id).into_iter().for_each(Link::shrink);
        }
        self.settle_lost(id, &unanswered);
    }

    /// The outcome of these is unknown: they stay as they are, to be sent again the same.
    fn lose_answers(&mut self, request: &InFlight, slow: bool) {
        let lost_max = if slow {
            LATE_ANSWERS_MAX
        } else {
            LOST_ANSWERS_MAX
        };
        for tp in &request.parts {
            let Some(partition) = self.partitions.get_mut(tp) else {
                continue;
            };
            let Some(held) = partition.in_request(request.number) else {
                continue;
            };
            held.sent = Sent::No;
            held.lost_answers += 1;
            held.perhaps_there = true;
            let rewind = if held.lost_answers >= lost_max {
                Rewind::Reread
            } else {
                Rewind::Resend
            };
            partition.rewind(rewind);
        }
    }

    /// Whether a chunk of the request is to be cut smaller.
    fn is_given_up(&self, request: &InFlight) -> bool {
        let rewind = |tp| {
            self.partitions
                .get(tp)
                .and_then(|partition| partition.rewind)
        };
        request
            .parts
            .iter()
            .any(|tp| rewind(tp) == Some(Rewind::Reread))
    }

    /// Carries rewinds out, and lets go of what was only read ahead: the link is down.
    fn settle_lost(&mut self, id: LinkId, unanswered: &[InFlight]) {
        for tp in unanswered.iter().flat_map(|request| &request.parts) {
            self.settle(*tp);
        }
        for partition in self
            .partitions
            .values_mut()
            .filter(|p| p.leader == Some(id.node))
        {
            let topic = self.topics.get(&partition.tp.topic);
            if topic.is_some_and(|topic| topic.local.class == id.class) {
                partition.drop_read_ahead();
            }
        }
    }

    pub(super) fn settle(&mut self, tp: TopicPartition) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let used = partition.identity;
        if partition.settle() && self.idempotent() {
            // Ask for a new id only if this one is not new already.
            let current = match self.producer {
                Producer::Have(identity) => Some(identity.producer_id),
                _ => None,
            };
            if used.map(|identity| identity.producer_id) == current {
                self.producer = Producer::Wanted;
            }
        }
        self.note_progress(tp);
    }

    /// The answers to one Produce request, in the order of its parts.
    pub fn handle_produce_response(
        &mut self,
        id: LinkId,
        number: u64,
        answers: &[PartAnswer],
        throttle_ms: Ms,
        now: Ms,
    ) {
        self.dirty = true;
        let window_max = self.settings.in_flight_max * self.settings.request_bytes_max;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(request) = link.answered(number, window_max) else {
            return;
        };
        if throttle_ms > 0 {
            link.throttled_until = now + throttle_ms;
        }
        self.note_reached(Source::Link(id), now);
        let silent = PartAnswer {
            error_code: outcome::NO_ANSWER,
            ..PartAnswer::default()
        };
        for (index, tp) in request.parts.iter().enumerate() {
            let answer = answers.get(index).unwrap_or(&silent);
            self.take_answer(*tp, number, answer, now);
            self.settle(*tp);
        }
    }

    fn take_answer(&mut self, tp: TopicPartition, number: u64, answer: &PartAnswer, now: Ms) {
        let Some(topic) = self.topics.get(&tp.topic) else {
            return;
        };
        let outcome = outcome::classify(answer, topic.central_name());
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let behind_a_refusal = partition.rewind.is_some();
        let Some(held) = partition.in_request(number) else {
            return;
        };
        held.sent = Sent::No;
        if outcome == Outcome::Appended {
            held.sent = Sent::Acked;
            if !behind_a_refusal {
                partition.note_success(now);
            }
            self.note_progress(tp);
            return self.unpark(tp);
        }
        held.perhaps_there |= outcome.is_perhaps_appended();
        held.failed += u32::from(outcome == Outcome::Failed);
        if behind_a_refusal && !matches!(outcome, Outcome::Park(_) | Outcome::NoIdempotence) {
            // Refused because of the hole before it; what matters is the first refusal.
            return;
        }
        self.take_refusal(tp, outcome, answer.error_code, now);
    }

    fn take_refusal(&mut self, tp: TopicPartition, outcome: Outcome, code: i16, now: Ms) {
        match outcome {
            Outcome::Appended => {}
            // Who cannot serve us may not be the leader for others any more.
            Outcome::Moved | Outcome::Retry | Outcome::Unknown => {
                self.fail_for_now(tp, Rewind::Resend, code, now);
                self.refresh_metadata(now);
            }
            Outcome::Failed => self.failed_there(tp, code, now),
            Outcome::Resequence => self.new_sequence(tp, Rewind::Resequence, now),
            Outcome::NewProducer => self.new_sequence(tp, Rewind::NewProducer, now),
            Outcome::NoIdempotence if self.idempotent() => self.go_without_idempotence(now),
            // It goes without already: a batch of before, or it is refused for something else.
            Outcome::NoIdempotence => self.fail_for_now(tp, Rewind::NewProducer, code, now),
            Outcome::TooLarge => self.too_large(tp, now),
            Outcome::Rejected(records) => self.rejected(tp, &records, code, now),
            Outcome::Park(reason) => self.park_for(tp, reason, now),
        }
    }

    /// Twice so: perhaps nobody can unpack it. Then it is decoded here first, and what cannot be is
    /// left out, or parks the topic with its offsets.
    fn failed_there(&mut self, tp: TopicPartition, code: i16, now: Ms) {
        let mut rewind = Rewind::Resend;
        if let Some(partition) = self.partitions.get_mut(&tp)
            && let Some(front) = partition.held.front()
            && front.failed >= FAILED_MAX
            && partition.decode_before < front.chunk.next
        {
            partition.decode_before = front.chunk.next;
            rewind = Rewind::Reread;
        }
        self.fail_for_now(tp, rewind, code, now);
    }

    fn fail_for_now(&mut self, tp: TopicPartition, rewind: Rewind, code: i16, now: Ms) {
        let failures = self.partitions.get(&tp).map_or(0, |p| p.failures);
        let wait = self.backoff(failures + 1);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let failing_ms = partition.note_failure(now, wait);
        partition.rewind(rewind);
        // What certainly is not there need not stay in memory while it waits.
        if partition.failures > 1 && !partition.held.iter().any(|held| held.perhaps_there) {
            partition.rewind(Rewind::Reread);
        }
        if failing_ms >= self.settings.park_after_ms {
            let name = self
                .topics
                .get(&tp.topic)
                .map_or("", |topic| topic.central_name());
            let reason = format!(
                "{}[{}] has been refused for {} s: {}",
                name,
                tp.partition,
                failing_ms / 1000,
                outcome::name(code)
            );
            self.park_for(tp, reason, now);
        }
    }

    fn new_sequence(&mut self, tp: TopicPartition, rewind: Rewind, now: Ms) {
        let reason = match rewind {
            Rewind::NewProducer => "producer id refused",
            _ => "sequence unknown to central",
        };
        let failures = self.partitions.get(&tp).map_or(0, |p| p.failures);
        let wait = if failures == 0 {
            0
        } else {
            self.backoff(failures)
        };
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        partition.note_failure(now, wait);
        partition.rewind(rewind);
        let topic = self
            .topics
            .get(&tp.topic)
            .map_or_else(String::new, |t| t.local.name.clone());
        let note = Note::Rewound {
            topic,
            partition: tp.partition,
            reason,
        };
        self.outputs.push_back(Output::Note(note));
    }

    /// Halves batches until single records are left; those are refused for themselves.
    fn too_large(&mut self, tp: TopicPartition, now: Ms) {
        let Some(topic) = self.topics.get_mut(&tp.topic) else {
            return;
        };
        topic.limits = Limits::Unknown;
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let Some(front) = partition.held.front() else {
            return;
        };
        let bytes = front.chunk.bytes();
        if front.chunk.records() > 1 {
            topic.note_too_large(bytes, now);
            return partition.rewind(Rewind::Reread);
        }
        let offset = front.chunk.offset_of(0).unwrap_or(front.chunk.from);
        let text = format!("central refuses a record of {bytes} bytes as too large");
        self.refuse_records(tp, vec![(offset, text)], true, now);
    }

    fn rejected(&mut self, tp: TopicPartition, records: &[(u32, String)], code: i16, now: Ms) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let Some(front) = partition.held.front() else {
            return;
        };
        let named = records.iter().filter_map(|(index, text)| {
            Some((
                front.chunk.offset_of(*index)?,
                format!("{}: {text}", outcome::name(code)),
            ))
        });
        let mut letters: Vec<(i64, String)> = named.collect();
        if letters.is_empty() && front.chunk.records() > 1 {
            // It does not say which: cut in halves until it is one.
            partition.chunk_records_max = front.chunk.records() / 2;
            return partition.rewind(Rewind::Reread);
        }
        if letters.is_empty() {
            let offset = front.chunk.offset_of(0).unwrap_or(front.chunk.from);
            letters.push((offset, outcome::name(code)));
        }
        self.refuse_records(tp, letters, true, now);
    }

    /// Central takes records of a partition: its topic is not refused any more, unless that was
    /// about another one.
    fn unpark(&mut self, tp: TopicPartition) {
        let Some(topic) = self.topics.get_mut(&tp.topic) else {
            return;
        };
        let about = topic.refusal.as_ref().and_then(|refusal| refusal.partition);
        if about.is_none_or(|partition| partition == tp.partition) {
            self.resumed(tp.topic);
        }
    }

    /// What refused a topic is over.
    pub(super) fn resumed(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(&id) else {
            return;
        };
        if !topic.is_parked() && topic.refusal.take().is_some() {
            let topic = topic.local.name.clone();
            self.outputs
                .push_back(Output::Note(Note::Resumed { topic }));
        }
    }
}
