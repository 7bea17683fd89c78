//! What to do now: questions, connections, reads, requests, in this order.
//!
//! One pass over the state each time something has happened. High-priority links come first;
//! inside a link topics that were parked come first, then partitions in turn.

use std::collections::BTreeMap;

use edge_site::{TopicId, TopicPartition};

use super::{
    Forwarder, Producer,
    link::{InFlight, Link, LinkState},
    partition::{Reading, Sent},
    topic::{Phase, Topic},
    types::{Class, LinkId, Ms, Output, Part, ProduceRequest, ReadRequest},
};

/// Reads under way at a time: the disk is one.
const READS_MAX: usize = 3;
/// Stored bytes of one read: large, so that the disk delivers and merging pays.
const READ_BYTES_MIN: usize = 64 << 10;
const READ_BYTES_MAX: usize = 2 << 20;
/// How long a request waits for reads of other partitions that would travel with it.
const GATHER_MS: Ms = 20;
/// Longest pause that earns bytes to send.
const TOKEN_MS_MAX: Ms = 600_000;

/// Partitions with work, by their link, in the order of their turns.
type Lanes = BTreeMap<LinkId, Vec<TopicPartition>>;

impl Forwarder {
    /// One pass: fills `outputs` and the time of the next pass.
    pub(super) fn plan(&mut self, now: Ms) {
        self.plan_topics(now);
        self.plan_control(now);
        self.plan_letters(now);
        let lanes = self.lanes(now);
        self.plan_connects(&lanes, now);
        self.plan_lingering(&lanes, now);
        self.plan_requests(&lanes, now);
        self.plan_reads(&lanes, now);
    }

    /// Notes which topics have work, and resumes parked ones whose time has come.
    fn plan_topics(&mut self, now: Ms) {
        for topic in self.topics.values_mut() {
            topic.wanted = false;
        }
        for partition in self
            .partitions
            .values()
            .filter(|partition| partition.has_work())
        {
            if let Some(topic) = self.topics.get_mut(&partition.tp.topic) {
                topic.wanted = true;
            }
        }
        self.plan_parked(now);
        self.plan_resumed();
    }

    fn plan_parked(&mut self, now: Ms) {
        let mut wake = Vec::new();
        let mut resumed = false;
        for topic in self
            .topics
            .values_mut()
            .filter(|topic| topic.local.central.is_ok())
        {
            match topic.phase {
                Phase::Parked { retry_at } if retry_at <= now => {
                    topic.resume();
                    resumed = true;
                }
                Phase::Parked { retry_at } => wake.push(retry_at),
                _ => {}
            }
        }
        for at in wake {
            self.wake(at);
        }
        if resumed {
            self.ask_producer_soon(now);
        }
    }

    /// A refusal is over as well when nothing is left of what was refused: retention took it.
    fn plan_resumed(&mut self) {
        let idle = |id: TopicId, partition| {
            let tp = TopicPartition {
                topic: id,
                partition,
            };
            self.partitions.get(&tp).is_none_or(|p| !p.has_work())
        };
        let over = |(id, topic): (&TopicId, &Topic)| {
            let partition = topic.refusal.as_ref()?.partition?;
            (!topic.is_parked() && idle(*id, partition)).then_some(*id)
        };
        let over: Vec<_> = self.topics.iter().filter_map(over).collect();
        over.into_iter().for_each(|id| self.resumed(id));
    }

    fn plan_letters(&mut self, now: Ms) {
        let mut wake = Vec::new();
        for partition in self.partitions.values_mut() {
            let in_flight = partition.in_flight();
            let Some(letters) = &mut partition.letters else {
                continue;
            };
            if letters.asked.is_some() || in_flight > 0 {
                continue;
            }
            if letters.not_before > now {
                wake.push(letters.not_before);
                continue;
            }
            self.numbers += 1;
            letters.asked = Some(self.numbers);
            let letters = letters.letters.clone();
            self.outputs.push_back(Output::DeadLetter {
                tp: partition.tp,
                number: self.numbers,
                letters,
            });
        }
        for at in wake {
            self.wake(at);
        }
    }

    /// Sorts partitions with work into lanes; those without a leader make us ask for one.
    fn lanes(&mut self, now: Ms) -> Lanes {
        let mut lanes = Lanes::new();
        let mut first = Lanes::new();
        let mut leaderless = false;
        let mut wake = Vec::new();
        for partition in self
            .partitions
            .values()
            .filter(|partition| partition.has_work())
        {
            let Some(topic) = self.topics.get(&partition.tp.topic) else {
                continue;
            };
            if !topic.is_ready() {
                continue;
            }
            if partition.not_before > now {
                wake.push(partition.not_before);
            }
            // What is in flight keeps its link: order counts more than a new class or leader.
            let current = partition.held.iter().find_map(|held| match held.sent {
                Sent::InFlight { link, .. } => Some(link),
                _ => None,
            });
            let link = current.or_else(|| Self::link_of(topic.local.class, partition.leader));
            let Some(link) = link else {
                leaderless = true;
                continue;
            };
            let lane = if topic.refusal.is_some() {
                &mut first
            } else {
                &mut lanes
            };
            lane.entry(link).or_default().push(partition.tp);
        }
        for at in wake {
            self.wake(at);
        }
        if leaderless {
            self.want_leaders(now);
        }
        for (link, lane) in &mut lanes {
            let turn = self.turn % lane.len();
            lane.rotate_left(turn);
            if let Some(mut ahead) = first.remove(link) {
                ahead.append(lane);
                *lane = ahead;
            }
        }
        lanes.append(&mut first);
        lanes
    }

    /// Nobody is dialled while no address answers: the question about leaders probes for all.
    fn plan_connects(&mut self, lanes: &Lanes, now: Ms) {
        let nobody_answers = self.asking.nobody_answers();
        for (id, lane) in lanes {
            let due = lane.iter().any(|tp| {
                let partition = self.partitions.get(tp);
                partition.is_some_and(|p| p.due || !p.held.is_empty())
            });
            let link = self.links.entry(*id).or_insert_with(|| Link::new(now));
            let LinkState::Down { not_before } = link.state else {
                continue;
            };
            let Some(broker) = self
                .brokers
                .get(&id.node)
                .filter(|_| due && !nobody_answers)
            else {
                continue;
            };
            if not_before > now {
                self.wake(not_before);
                continue;
            }
            link.state = LinkState::Connecting;
            let (host, port) = (broker.host.clone(), broker.port);
            self.outputs.push_back(Output::Connect {
                link: *id,
                host,
                port,
            });
        }
    }

    /// Records that have just been committed wait for company; then all of a link go together.
    fn plan_lingering(&mut self, lanes: &Lanes, now: Ms) {
        for (id, lane) in lanes {
            let mut waiting_bytes = 0.0;
            for tp in lane {
                let Some(partition) = self.partitions.get(tp).filter(|p| !p.due) else {
                    continue;
                };
                waiting_bytes += partition.unread() as f64 * partition.estimate.bytes_per_record;
            }
            let linger = self.settings.linger(id.class);
            let enough = self.request_bytes_max() as f64;
            let Some(link) = self.links.get_mut(id) else {
                continue;
            };
            if waiting_bytes == 0.0 {
                link.lingering_since = None;
                continue;
            }
            let until = *link.lingering_since.get_or_insert(now) + linger;
            if until > now && waiting_bytes < enough {
                self.wake(until);
                continue;
            }
            link.lingering_since = None;
            for tp in lane {
                if let Some(partition) = self.partitions.get_mut(tp) {
                    partition.due |= partition.unread() > 0;
                }
            }
            self.dirty = true;
        }
    }

    fn plan_reads(&mut self, lanes: &Lanes, now: Ms) {
        let mut reading = self
            .partitions
            .values()
            .filter(|p| p.reading.is_some())
            .count();
        let mut held_total: usize = self.held_bytes();
        for (id, lane) in lanes {
            if !self
                .links
                .get(id)
                .is_some_and(|link| link.is_up() && link.drain_at <= now)
            {
                continue;
            }
            let held = |tp: &TopicPartition| self.partitions.get(tp).map_or(0, |p| p.held_bytes());
            let mut held_link: usize = lane.iter().map(held).sum();
            for tp in lane {
                let free = held_total < self.settings.held_bytes_max || held_link == 0;
                if reading >= READS_MAX || !free {
                    break;
                }
                if let Some(bytes) = self.read_partition(*tp, now) {
                    reading += 1;
                    held_total += bytes;
                    held_link += bytes;
                }
            }
        }
    }

    /// Asks for a read of one partition, if it wants one; its bytes.
    fn read_partition(&mut self, tp: TopicPartition, now: Ms) -> Option<usize> {
        let topic = self.topics.get(&tp.topic)?;
        let batch_bytes_max = topic.batch_bytes_max();
        let taken_bytes_max = topic.taken_bytes_max(now);
        let chunk_bytes_max = taken_bytes_max.min(self.chunk_bytes_max(tp));
        let number = self.next_number();
        let partition = self.partitions.get_mut(&tp).filter(|p| p.may_read(now))?;
        let bytes_max = partition.estimate.stored_for(chunk_bytes_max);
        let bytes_max = bytes_max.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        partition.reading = Some(Reading {
            number,
            bytes: bytes_max,
            stale: false,
        });
        self.outputs.push_back(Output::Read(ReadRequest {
            number,
            tp,
            from: partition.read_pos,
            bytes_max,
            chunk_bytes_max,
            batch_bytes_max,
            taken_bytes_max,
            chunk_records_max: partition.chunk_records_max,
            decode_before: partition.decode_before,
            skip: partition.skip.clone(),
        }));
        Some(bytes_max)
    }

    /// Size of one batch: a request, or less on a link that has lost answers.
    fn chunk_bytes_max(&self, tp: TopicPartition) -> usize {
        let partition = self.partitions.get(&tp);
        let class = self
            .topics
            .get(&tp.topic)
            .map_or(Class::Normal, |topic| topic.local.class);
        let link = partition.and_then(|p| Self::link_of(class, p.leader));
        let window = link
            .and_then(|id| self.links.get(&id))
            .map_or(usize::MAX, |l| l.window_bytes);
        self.request_bytes_max().min(window)
    }

    fn plan_requests(&mut self, lanes: &Lanes, now: Ms) {
        if lanes
            .keys()
            .any(|id| self.links.get(id).is_some_and(Link::is_up))
            && self.producer == Producer::Wanted
        {
            return;
        }
        for (id, lane) in lanes {
            while self.may_send(*id, now) {
                let (parts, full) = self.gather(*id, lane, now);
                if parts.is_empty() || (!full && self.worth_waiting(&parts, lane, now)) {
                    break;
                }
                self.send(*id, &parts);
            }
        }
    }

    fn may_send(&mut self, id: LinkId, now: Ms) -> bool {
        let Some(link) = self.links.get(&id).filter(|link| link.is_up()) else {
            return false;
        };
        let wait_until = link.drain_at.max(link.throttled_until);
        let room = link.has_room(self.settings.in_flight_max);
        if wait_until > now {
            self.wake(wait_until);
            return false;
        }
        if !room {
            return false;
        }
        match self.tokens_at(now) {
            0 => true,
            at => {
                self.wake(at);
                false
            }
        }
    }

    /// 0 if something may be sent now, else when.
    fn tokens_at(&mut self, now: Ms) -> Ms {
        let rate = self.settings.bytes_per_s_max as i64;
        if rate == 0 {
            return 0;
        }
        let elapsed = (now - self.tokens.at).min(TOKEN_MS_MAX) as i64;
        let earned = elapsed.saturating_mul(rate) / 1000;
        if earned > 0 {
            self.tokens.level = (self.tokens.level + earned).min(rate);
            self.tokens.at = now;
        }
        match self.tokens.level {
            level if level > 0 => 0,
            level => now + (-level * 1000 / rate) as Ms + 1,
        }
    }

    /// Chunks for one request, and whether it is full.
    fn gather(
        &self,
        id: LinkId,
        lane: &[TopicPartition],
        now: Ms,
    ) -> (Vec<(TopicPartition, usize)>, bool) {
        let in_flight_max = self.settings.in_flight_max;
        let (bytes_max, idle_ms) = (self.request_bytes_max(), self.settings.producer_idle_ms);
        let (mut parts, mut total, mut full) = (Vec::new(), 0, false);
        for tp in lane {
            let Some(partition) = self.partitions.get(tp) else {
                continue;
            };
            let sendable = partition.sendable(id, now, in_flight_max, idle_ms);
            let Some(index) = sendable else { continue };
            let bytes = partition.held[index].chunk.bytes();
            if total > 0 && total + bytes > bytes_max {
                full = true;
                continue;
            }
            total += bytes;
            parts.push((*tp, index));
        }
        (parts, full || total * 4 >= bytes_max * 3)
    }

    /// Whether reads of other partitions are about to bring more for the same request.
    fn worth_waiting(
        &mut self,
        parts: &[(TopicPartition, usize)],
        lane: &[TopicPartition],
        now: Ms,
    ) -> bool {
        let chosen = |tp: &TopicPartition| parts.iter().any(|(other, _)| other == tp);
        let coming = |tp: &&TopicPartition| {
            let partition = self.partitions.get(tp);
            !chosen(tp) && partition.is_some_and(|p| p.reading.is_some() || p.may_read(now))
        };
        if !lane.iter().any(|tp| coming(&tp)) {
            return false;
        }
        let since = parts
            .iter()
            .filter_map(|(tp, index)| Some(self.partitions.get(tp)?.held.get(*index)?.since));
        let until = since.min().unwrap_or(now) + GATHER_MS;
        if until > now {
            self.wake(until);
        }
        until > now
    }

    fn send(&mut self, id: LinkId, chosen: &[(TopicPartition, usize)]) {
        let number = self.next_number();
        let mut parts = Vec::with_capacity(chosen.len());
        for (tp, index) in chosen {
            parts.extend(self.part(*tp, *index, id, number));
        }
        let bytes = parts.iter().map(|part| part.batch.bytes().len()).sum();
        self.turn = self.turn.wrapping_add(1);
        self.tokens.level -= bytes as i64;
        self.counters.requests += 1;
        if let Some(link) = self.links.get_mut(&id) {
            let parts = parts.iter().map(|part| part.tp).collect();
            link.push(InFlight {
                number,
                bytes,
                parts,
            });
        }
        self.outputs.push_back(Output::Send(ProduceRequest {
            link: id,
            number,
            parts,
        }));
    }

    fn part(&mut self, tp: TopicPartition, index: usize, id: LinkId, number: u64) -> Option<Part> {
        let central_topic = self.topics.get(&tp.topic)?.central_name().into();
        let partition = self.partitions.get_mut(&tp)?;
        if let (None, Producer::Have(identity)) = (partition.identity, self.producer) {
            partition.adopt(identity);
        }
        let sequence = partition.mark_sent(index, id, number);
        let identity = partition.identity;
        Some(Part {
            tp,
            central_topic,
            identity,
            base_sequence: if identity.is_some() { sequence } else { -1 },
            batch: partition.held[index].chunk.batch.clone()?,
        })
    }
}
