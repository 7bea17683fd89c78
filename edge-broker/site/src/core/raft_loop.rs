//! Raft's side of the core: proposing, what goes to disk and to peers, applying what is committed.
//!
//! Every `Ready` is taken at once: its entries go into the window (raft may read them from there)
//! and into the queue of the next `Persist`; messages that must not be sent before they are durable
//! wait with it.

use edge_log::{Frame, HardState, Item};
use kafka_wire::RecordBatch;
use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Config, RawNode, StateRole, Storage};

use super::{Inflight, Message, Opened, Output, SiteCore, Voided};
use crate::append::{AckLevel, Appended, CommittedFrame, Now};
use crate::control::Control;
use crate::error::{Refused, TopicError};
use crate::holes;
use crate::state::{Applied, ApplyError};
use crate::window::{Fetch, Window, to_log, to_raft};

/// Elections start after this many ticks without a leader, at random up to twice as many.
const ELECTION_TICKS: usize = 10;

/// A leader shows itself every so many ticks.
const HEARTBEAT_TICKS: usize = 3;

impl<T> SiteCore<T> {
    /// Begins to take part; alone, the gateway leads at once.
    pub fn start(&mut self, now: Now) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        self.next_intake = self.next_intake.max(self.intake_seen());
        self.table = std::sync::Arc::new(super::topic::table(&self.state));
        self.out.push_back(Output::Topics(self.table.clone()));
        self.clock.mends_changed = true;
        self.report_damage(now, &opened.recovery);
        // With others a follower may lack what a checkpoint stands for.
        self.disk.ends_at_start = self.alone.then(|| holes::ends(&self.state));
        if self.halted.is_some() {
            // No starts: a state that is not complete would call other topics' records dead.
            return;
        }
        self.out.push_back(Output::Starts(self.state.starts()));
        let window = self.window(&opened);
        let config = self.raft_config();
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        match RawNode::new(&config, window, &logger) {
            Ok(raw) => self.raw = Some(raw),
            Err(error) => return self.halt(ApplyError::Raft(error.to_string()), now),
        }
        self.pin();
        self.prove_tail();
        if let Some(raw) = &mut self.raw
            && self.alone
        {
            // Nobody else can win; an error only says that we lead already.
            let _ = raw.campaign();
        }
        self.advance(now);
    }

    /// What was found behind the last sure write is proven by a write first: until then nothing is
    /// answered, because an answer says that it is on this disk.
    fn prove_tail(&mut self) {
        let Some(raw) = &self.raw else { return };
        if raw.store().last() > self.durable_index {
            self.persisting.queued.hard_state = Some(raw.store().hard_state());
            self.persisting.queued.must_sync = true;
        }
    }

    fn intake_seen(&self) -> u64 {
        self.state.intake.get(&self.store_id).copied().unwrap_or(0)
    }

    fn window(&self, opened: &Opened) -> Window {
        let recovery = &opened.recovery;
        let applied = self.state.applied_index;
        let last = recovery.last_index.max(applied);
        let mut hard_state: HardState = recovery.hard_state;
        let last_term = recovery.terms.last().map_or(0, |&(_, term)| term);
        hard_state.term = hard_state.term.max(last_term).max(self.state.applied_term);
        // Raft panics on a commit beyond the log or behind what was applied: ours is never so.
        hard_state.commit = hard_state.commit.clamp(applied, last.max(applied));
        let voters = match (self.alone, self.state.voters.is_empty()) {
            (true, _) => vec![self.store_id],
            (false, true) => self.config.voters.clone(),
            (false, false) => self.state.voters.clone(),
        };
        let bytes_max = self.config.site.raft_memory_bytes_max;
        let mut terms = recovery.terms.clone();
        // The term of `first - 1` must be known, so the first entry on disk is not handed out.
        let mut first = if recovery.first_index <= 1 {
            1
        } else {
            recovery.first_index + 1
        };
        if self.alone || first > applied + 1 {
            first = applied + 1;
            let known = self.state.applied_term.max(1);
            terms.retain(|&(index, _)| index > applied);
            if applied > 0 {
                terms.insert(0, (applied, known));
            }
        }
        let mut window = Window::new(hard_state, voters, first, applied, terms, bytes_max);
        let tail: Vec<_> = opened.tail.iter().cloned().map(to_raft).collect();
        window.append(&tail);
        window
    }

    fn raft_config(&self) -> Config {
        let bytes_max = self.config.site.raft_memory_bytes_max as u64;
        let frame = super::FRAME_BYTES_MAX as u64;
        Config {
            id: self.store_id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: self.state.applied_index,
            max_size_per_msg: frame,
            max_inflight_msgs: (bytes_max / frame).max(4) as usize,
            check_quorum: true,
            pre_vote: true,
            // Proposals are bounded before they reach raft; it must not drop what we let in.
            max_uncommitted_size: bytes_max.max(frame) * 4,
            max_committed_size_per_ready: (bytes_max / 4).max(frame),
            ..Config::default()
        }
    }

    /// A message of another gateway.
    pub fn handle_message(&mut self, now: Now, mut message: Message) {
        if self.halted.is_some() || !self.is_safe(&mut message) {
            return;
        }
        if let Some(raw) = &mut self.raw {
            // Refused messages are raft's normal business: a peer not known, a stale answer.
            let _ = raw.step(message);
        }
        self.pin();
        self.advance(now);
    }

    /// Keeps away what the raft crate would answer with a panic or by forwarding.
    fn is_safe(&self, message: &mut Message) -> bool {
        let Some(raw) = &self.raw else { return false };
        let log = &raw.raft.raft_log;
        match message.get_msg_type() {
            MessageType::MsgPropose => false,
            MessageType::MsgHeartbeat => {
                // A follower that lost its tail is told a commit beyond its log.
                message.commit = message.commit.min(log.last_index());
                true
            }
            MessageType::MsgAppend => {
                let conflicts = |e: &eraftpb::Entry| {
                    e.index <= log.committed && log.term(e.index).is_ok_and(|term| term != e.term)
                };
                !message.entries.iter().any(conflicts)
            }
            _ => true,
        }
    }

    /// Entries for [`Output::Fetch`]; empty if they cannot be read.
    pub fn handle_fetched(&mut self, now: Now, entries: Vec<edge_log::Entry>) {
        let contexts = std::mem::take(&mut self.fetching);
        let Some(raw) = &mut self.raw else { return };
        // What cannot be read now is asked for again with the next heartbeat, not in a busy loop.
        if !entries.is_empty() {
            raw.mut_store()
                .set_fetched(entries.into_iter().map(to_raft).collect());
            for context in contexts {
                raw.on_entries_fetched(context);
            }
            raw.mut_store().set_fetched(Vec::new());
        }
        self.advance(now);
    }

    /// Hands one frame to raft: its index and term, or `None` if raft did not take it.
    pub(super) fn propose_to_raft(&mut self, data: bytes::Bytes) -> Option<(u64, u64)> {
        let raw = self.raw.as_mut()?;
        let before = raw.raft.raft_log.last_index();
        let entry = eraftpb::Entry {
            data,
            ..Default::default()
        };
        let mut message = Message {
            from: self.store_id,
            ..Default::default()
        };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(vec![entry].into());
        raw.raft.step(message).ok()?;
        let index = raw.raft.raft_log.last_index();
        (index == before + 1).then_some((index, raw.raft.term))
    }

    /// Everything that follows from what changed: frames, messages, writes, applies.
    pub(super) fn advance(&mut self, now: Now) {
        loop {
            self.pump(now);
            let before = self.inflight.len();
            self.form_frames(now);
            if self.inflight.len() == before {
                break;
            }
        }
        self.start_persist(now);
        self.want_fetches();
        self.save_checkpoint(false);
        if !self.touched.is_empty() {
            let mut touched = std::mem::take(&mut self.touched);
            touched.sort_unstable();
            touched.dedup();
            self.out.push_back(Output::Touched(touched));
        }
    }

    fn pump(&mut self, now: Now) {
        while let Some(raw) = &mut self.raw
            && self.halted.is_none()
        {
            if !raw.has_ready() {
                return;
            }
            let mut ready = raw.ready();
            let role = ready.ss().map(|soft| soft.raft_state);
            let messages = ready.take_messages();
            let entries = ready.take_entries();
            let hard_state = ready.hs().cloned();
            let after_persist = ready.take_persisted_messages();
            let committed = ready.take_committed_entries();
            let number = ready.number();
            if !entries.is_empty() {
                let voided = voided(raw.store(), self.store_id, &entries);
                self.out.extend(voided.into_iter().map(Output::Voided));
                raw.mut_store().append(&entries);
            }
            raw.advance_append_async(ready);
            self.send(messages);
            self.queue(now, number, &entries, hard_state, after_persist);
            if let Some(role) = role {
                self.change_role(now, role);
            }
            for entry in committed {
                self.apply(now, &entry);
            }
            if let Some(raw) = &mut self.raw {
                let settled = self.state.applied_index.min(self.durable_index);
                raw.advance_apply_to(self.state.applied_index);
                raw.mut_store().evict(settled, !self.alone);
            }
            self.settle_without_disk();
            self.pin();
        }
    }

    fn send(&mut self, mut messages: Vec<Message>) {
        // Raft forwards proposals of a deposed leader: one offset would be committed twice.
        messages.retain(|message| message.get_msg_type() != MessageType::MsgPropose);
        if !messages.is_empty() {
            self.out.push_back(Output::Send(messages));
        }
    }

    fn queue(
        &mut self,
        now: Now,
        number: u64,
        entries: &[eraftpb::Entry],
        hard_state: Option<eraftpb::HardState>,
        messages: Vec<Message>,
    ) {
        let queued = &mut self.persisting.queued;
        if let Some(first) = entries.first() {
            queued.entries.retain(|entry| entry.index < first.index);
            queued.entries.extend(entries.iter().map(to_log));
            queued.bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        }
        if let (Some(hs), Some(raw)) = (hard_state, &mut self.raw) {
            let new = HardState {
                term: hs.term,
                vote: hs.vote,
                commit: hs.commit,
            };
            let old = raw.store().hard_state();
            queued.must_sync |= (old.term, old.vote) != (new.term, new.vote);
            queued.hard_state = Some(new);
            queued.lazy_since_ms.get_or_insert(now.mono_ms);
            raw.mut_store().set_hard_state(new);
        }
        queued.messages.extend(messages);
        queued.ready_number = number;
    }

    fn change_role(&mut self, now: Now, role: StateRole) {
        if role == StateRole::Leader {
            return;
        }
        self.leads = false;
        self.ends.clear();
        self.refuse_pending(now, &Refused::NotLeader);
        let controls = std::mem::take(&mut self.controls);
        for ticket in controls.into_iter().flat_map(|control| control.waiters) {
            let outcome = Err(TopicError::Refused(Refused::NotLeader));
            self.out.push_back(Output::TopicDone { ticket, outcome });
        }
        self.creating.clear();
        self.deleting.clear();
        self.disk.moves_proposed = false;
    }

    fn apply(&mut self, now: Now, entry: &eraftpb::Entry) {
        if self.halted.is_some() {
            return;
        }
        let data = match entry.get_entry_type() {
            EntryType::EntryNormal => entry.data.clone(),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                return self.halt(ApplyError::Members, now);
            }
        };
        let applied = match self.state.apply(entry.index, entry.term, &data) {
            Ok(applied) => applied,
            Err(error) => return self.halt(error, now),
        };
        self.checkpoints.log_bytes += data.len() as u64;
        self.publish(&applied);
        self.settle(entry, &applied);
        if !applied.batches.is_empty() {
            self.out.push_back(Output::Committed(CommittedFrame {
                index: entry.index,
                term: entry.term,
                site_time_ms: applied.site_time_ms,
                batches: applied.batches,
            }));
        }
        self.lead_if_ready();
    }

    fn publish(&mut self, applied: &Applied) {
        self.touched
            .extend(applied.batches.iter().map(|(tp, _)| *tp));
        self.touched.extend(&applied.touched);
        self.clock.mends_changed |= applied.mends_changed;
        if applied.topics_changed {
            self.table = std::sync::Arc::new(super::topic::table(&self.state));
            self.deleting
                .retain(|id| self.state.topics.contains_key(id));
            self.creating
                .retain(|_, id| !self.state.topics.contains_key(id));
            self.out.push_back(Output::Topics(self.table.clone()));
        }
        for (id, _) in &applied.not_created {
            self.creating.retain(|_, other| other != id);
        }
        if applied.starts_changed {
            self.disk.moves_proposed = false;
            self.out.push_back(Output::Starts(self.state.starts()));
        }
    }

    /// Spends the tickets of the frame that is committed now, or of one that was overtaken.
    fn settle(&mut self, entry: &eraftpb::Entry, applied: &Applied) {
        while let Some((&at, _)) = self.inflight.first_key_value()
            && at.0 <= entry.index
        {
            let Some(frame) = self.inflight.remove(&at) else {
                return;
            };
            self.inflight_bytes -= frame.frame_bytes;
            let count = frame.queue_count;
            self.out.push_back(Output::Released {
                bytes: frame.queue_bytes,
                count,
            });
            if at != (entry.index, entry.term) || applied.foreign_term {
                self.fail(frame.tickets, frame.topics, &Refused::NotLeader);
            } else if applied.dropped.is_empty() {
                self.succeed(frame, applied);
            } else {
                self.fail(frame.tickets, frame.topics, &Refused::Unknown);
            }
        }
    }

    fn succeed(&mut self, frame: Inflight<T>, applied: &Applied) {
        let level = if self.alone {
            AckLevel::Disk
        } else {
            AckLevel::Site
        };
        for (ticket, appended) in frame.tickets {
            let outcome = Ok(Appended { level, ..appended });
            self.out.push_back(Output::Spent { ticket, outcome });
        }
        for (ticket, id) in frame.topics {
            let outcome = self.outcome_of(id, applied);
            self.out.push_back(Output::TopicDone { ticket, outcome });
        }
    }

    pub(super) fn fail(
        &mut self,
        tickets: Vec<(T, Appended)>,
        topics: Vec<(T, edge_log::TopicId)>,
        refused: &Refused,
    ) {
        for (ticket, _) in tickets {
            self.out.push_back(Output::Spent {
                ticket,
                outcome: Err(refused.clone()),
            });
        }
        for (ticket, _) in topics {
            let outcome = Err(TopicError::Refused(refused.clone()));
            self.out.push_back(Output::TopicDone { ticket, outcome });
        }
    }

    /// Rule 1: appends are taken only once an entry of the leader's own term is applied.
    fn lead_if_ready(&mut self) {
        let Some(raw) = &self.raw else { return };
        let leader = raw.raft.state == StateRole::Leader;
        if self.leads || !leader || self.state.applied_term != raw.raft.term {
            return;
        }
        if self.alone && self.state.incarnation != self.store_id {
            // The jump comes before any append; applying it leads back here.
            if !self.announced {
                self.announce();
            }
            return;
        }
        self.leads = true;
        self.ends.clear();
    }

    fn announce(&mut self) {
        self.announced = true;
        let lost = std::mem::take(&mut self.lost);
        let control = Control::Incarnation {
            store_id: self.store_id,
            lost,
        };
        let now = Now {
            mono_ms: self.site_clock.mono_ms,
            wall_ms: self.site_clock.site_ms,
        };
        let controls = [super::PendingControl::silent(control)];
        let data = self.encode(now, &controls, &[]);
        self.propose_to_raft(data);
    }

    /// Apply stops here: nothing is skipped, nothing more is taken, what is there can be read.
    pub(super) fn halt(&mut self, error: ApplyError, now: Now) {
        self.raise(now, "storage.readonly", error.to_string(), error.fix());
        self.halted = Some(error);
        self.leads = false;
        self.refuse_pending(now, &Refused::ReadOnly);
        for frame in std::mem::take(&mut self.inflight).into_values() {
            self.out.push_back(Output::Released {
                bytes: frame.queue_bytes,
                count: frame.queue_count,
            });
            self.fail(frame.tickets, frame.topics, &Refused::Unknown);
        }
        self.inflight_bytes = 0;
    }

    fn want_fetches(&mut self) {
        let Some(raw) = &self.raw else { return };
        for (fetch, context) in raw.store().take_wanted() {
            self.fetching.push(context);
            let fetch: Fetch = fetch;
            self.out.push_back(Output::Fetch(fetch));
        }
    }
}

/// Batches of ours in entries that are about to be overwritten.
fn voided(window: &Window, store_id: u64, entries: &[eraftpb::Entry]) -> Vec<Voided> {
    let mut out = Vec::new();
    let Some(first) = entries.first() else {
        return out;
    };
    for index in first.index..=window.last_index().unwrap_or(0) {
        let Some(old) = window.get(index) else {
            continue;
        };
        let same = entries
            .iter()
            .any(|new| (new.index, new.term) == (old.index, old.term));
        let Ok(frame) = Frame::decode(old.data.clone()) else {
            continue;
        };
        let header = frame.header();
        if same || header.store_id != store_id {
            continue;
        }
        let batches = frame.items().filter_map(|item| match item {
            Item::Batch { partition, batch } => Some((partition, batch)),
            Item::Control(_) => None,
        });
        for (intake, (partition, batch)) in (header.first_intake..).zip(batches) {
            if let Ok(batch) = RecordBatch::parse_stored(batch) {
                out.push(Voided {
                    store_id,
                    intake,
                    partition,
                    batch,
                });
            }
        }
    }
    out
}
