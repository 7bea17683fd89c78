//! The disk's side of the core: persists and their failures, checkpoints, retention, a full disk.

use edge_log::{Checkpoint, Durable, LostRange, Maintained, PersistError, Recovery, Usage};

use super::{Flying, LAZY_MS, Output, PendingControl, PersistJob, Persisting, SiteCore};
use crate::age::Moment;
use crate::append::Now;
use crate::compaction;
use crate::control::Control;
use crate::holes::{self, Span};
use crate::ledger::LossCause;
use crate::link::LinkUse;
use crate::retention::{Plan, Situation, plan};
use std::sync::Arc;

use edge_log::TopicPartition;

pub(super) const STORE_FULL_FIX: &str = "lower retention, let central catch up, or raise \
                                         storage.bytes_max while the filesystem has room";

pub(super) const FILESYSTEM_FULL_FIX: &str =
    "free space on the filesystem (df -h), lower retention, or set storage.bytes_max to what fits";

const QUARANTINED_FIX: &str = "see what was lost in status; copy quarantine/ away for a look, then \
                               delete it; check the card";

/// So many ranges stand in an alarm; the ledger has them all.
const SPANS_SHOWN: usize = 4;

/// A full disk is asked again this often.
const FULL_RETRY_MS: u64 = 1000;

impl Persisting {
    pub(super) fn retry_after_ms(&self) -> u64 {
        1000 << self.failures.saturating_sub(1).min(6)
    }
}

impl<T> SiteCore<T> {
    /// Hands the next write out, if none is out and there is something to write.
    pub(super) fn start_persist(&mut self, now: Now) {
        if self.persisting.flying.is_some() || self.halted.is_some() {
            return;
        }
        let queued = &self.persisting.queued;
        let lazy = queued
            .lazy_since_ms
            .is_some_and(|since| now.mono_ms >= since + LAZY_MS);
        if queued.entries.is_empty() && !queued.must_sync && !lazy && !self.stopping {
            return;
        }
        if queued.entries.is_empty() && queued.hard_state.is_none() {
            return;
        }
        let queued = std::mem::take(&mut self.persisting.queued);
        self.persisting.number += 1;
        let job = Arc::new(PersistJob {
            number: self.persisting.number,
            entries: queued.entries,
            hard_state: queued.hard_state,
            must_sync_hard_state: queued.must_sync,
        });
        self.persisting.flying = Some(Flying {
            job: job.clone(),
            ready_number: queued.ready_number,
            messages: queued.messages,
            bytes: queued.bytes,
        });
        self.out.push_back(Output::Persist(job));
    }

    /// What needs no write and waits for none is done at once; a new commit index can wait.
    pub(super) fn settle_without_disk(&mut self) {
        let queued = &mut self.persisting.queued;
        let writes = !queued.entries.is_empty() || queued.must_sync;
        if self.persisting.flying.is_some() || writes || queued.ready_number == 0 {
            return;
        }
        let number = std::mem::take(&mut queued.ready_number);
        let messages = std::mem::take(&mut queued.messages);
        if let Some(raw) = &mut self.raw {
            raw.on_persist_ready(number);
        }
        self.send_persisted(messages);
    }

    fn send_persisted(&mut self, mut messages: Vec<super::Message>) {
        use raft::eraftpb::MessageType;
        messages.retain(|message| message.get_msg_type() != MessageType::MsgPropose);
        if !messages.is_empty() {
            self.out.push_back(Output::Send(messages));
        }
    }

    /// The outcome of a [`PersistJob`]. After a failure the same job comes again by itself.
    pub fn handle_persisted(
        &mut self,
        now: Now,
        number: u64,
        outcome: Result<Durable, PersistError>,
    ) {
        let Some(flying) = self.persisting.flying.take_if(|f| f.job.number == number) else {
            return;
        };
        match outcome {
            Ok(durable) => self.persisted(now, flying, durable),
            Err(error) => {
                self.persisting.flying = Some(flying);
                self.persist_failed(now, error);
            }
        }
        self.advance(now);
    }

    fn persisted(&mut self, now: Now, flying: Flying, durable: Durable) {
        self.persisting.failures = 0;
        self.clear("storage.poisoned");
        // The disk counts everything since it was opened, maintenance too.
        let written = durable
            .device_bytes
            .saturating_sub(self.counters.device_bytes);
        self.counters.device_bytes += written;
        self.note_room(now, durable.append_bytes_left);
        if let Some(last) = flying.job.entries.last() {
            self.durable_index = last.index;
            self.counters.commits += 1;
            self.disk.bytes_since_report += written.max(flying.bytes as u64);
            self.wear.spend(now.mono_ms, flying.bytes, written);
            self.want_report();
        } else {
            self.durable_index = self.durable_index.max(durable.last_index);
            self.wear.charge(now.mono_ms, written);
        }
        if let Some(raw) = &mut self.raw {
            raw.on_persist_ready(flying.ready_number);
        }
        self.send_persisted(flying.messages);
    }

    /// Between two reports a fast writer could fill the disk.
    fn want_report(&mut self) {
        let slice_bytes = self.config.site.store.slice_bytes;
        if self.disk.bytes_since_report > slice_bytes / 2 {
            self.ask_for_report();
        }
    }

    fn persist_failed(&mut self, now: Now, error: PersistError) {
        let after_ms = match error {
            PersistError::Full { cause } => {
                self.disk.filesystem_full = true;
                let text = format!("the filesystem is full: {cause}");
                self.raise(now, "storage.full", text, FILESYSTEM_FULL_FIX);
                self.ask_for_report();
                FULL_RETRY_MS
            }
            PersistError::Poisoned {
                retry_after_ms,
                cause,
            } => {
                self.persisting.failures += 1;
                let fix = "check the card and its power supply; replace the card if it goes on";
                let text = format!("the disk fails to write, tried again by itself: {cause}");
                self.raise(now, "storage.poisoned", text, fix);
                retry_after_ms
            }
        };
        self.persisting.retry_at_ms = Some(now.mono_ms + after_ms);
        if let Some(refused) = self.refusal() {
            self.refuse_pending(now, &refused);
        }
    }

    pub(super) fn retry_persist(&mut self, now: Now) {
        if self
            .persisting
            .retry_at_ms
            .is_none_or(|at| now.mono_ms < at)
        {
            return;
        }
        self.persisting.retry_at_ms = None;
        if let Some(flying) = &self.persisting.flying {
            self.out.push_back(Output::Persist(flying.job.clone()));
        }
    }

    /// The store's figures: retention and the order of a full disk follow from them.
    pub fn handle_disk_report(&mut self, now: Now, usage: Usage) {
        self.note_room(now, usage.append_bytes_left);
        self.disk.usage = usage;
        self.disk.report_wanted = false;
        self.disk.bytes_since_report = 0;
        self.checkpoints.cooled = true;
        self.disk.filesystem_full = self.disk.usage.filesystem_full;
        let planned = plan(&Situation {
            state: &self.state,
            usage: &self.disk.usage,
            now: self.moment(now),
            when_full: self.config.site.when_full,
            forwarding: self.config.site.forwarding,
            wanted_bytes: self.config.site.store.wanted_bytes(),
        });
        self.disk.full = planned.refuse;
        self.look_for_holes(now);
        self.judge_room(now, &planned);
        self.storage_alarms(now);
        self.propose_moves(now, &planned);
        self.tell_compaction(now);
        if let Some(refused) = self.refusal() {
            self.refuse_pending(now, &refused);
        }
        self.follow_window();
        self.advance(now);
    }

    fn moment(&self, now: Now) -> Moment {
        Moment {
            store_id: self.store_id,
            boot_id: self.config.boot_id,
            boot_ms: now.mono_ms,
        }
    }

    /// How old the oldest record is, by the running time that retention counts: a clock that was
    /// wrong when it was stamped does not make it older.
    pub fn oldest_age_ms(&self, now: Now) -> Option<u64> {
        let mut slices = self.disk.usage.slices.iter();
        let oldest = slices.find(|slice| !slice.partitions.is_empty())?;
        Some(self.state.ages.age_ms(oldest.first_index, self.moment(now)))
    }

    /// Tells the store what it may compact, and up to where.
    fn tell_compaction(&mut self, now: Now) {
        let forwarding = self.config.site.forwarding;
        let to = compaction::plan(&self.state, self.site_clock.peek(now), forwarding);
        if self.disk.compaction != to {
            self.disk.compaction.clone_from(&to);
            self.out.push_back(Output::Compaction(to));
        }
    }

    fn follow_window(&mut self) {
        let firsts = self.disk.usage.slices.iter().map(|slice| slice.first_index);
        // Before index 1 nothing has a term; elsewhere the first entry only gives its term.
        let first = firsts.filter(|&first| first > 0).min();
        let first = first.map(|first| if first == 1 { 1 } else { first + 1 });
        if let (Some(raw), Some(first), false) = (&mut self.raw, first, self.alone) {
            raw.mut_store()
                .set_first(first.min(self.state.applied_index));
        }
    }

    fn propose_moves(&mut self, now: Now, planned: &Plan) {
        if planned.moves.is_empty() || self.disk.moves_proposed || !self.leads {
            return;
        }
        self.disk.moves_proposed = true;
        let mut causes: Vec<Option<LossCause>> = planned.moves.values().map(|m| m.1).collect();
        causes.sort_unstable();
        causes.dedup();
        for loss in causes {
            let of_cause = planned.moves.iter().filter(|(_, m)| m.1 == loss);
            let starts: Vec<_> = of_cause.map(|(&tp, &(start, _))| (tp, start)).collect();
            let control = Control::StartsMoved { starts, loss };
            if planned.urgent {
                self.controls.push_back(PendingControl::silent(control));
            } else {
                self.soft.controls.push(control);
                self.soft.since_ms.get_or_insert(now.mono_ms);
            }
        }
    }

    fn storage_alarms(&mut self, now: Now) {
        self.alarm_full(now);
        let usage = &self.disk.usage;
        if usage.bytes_max > 0 && usage.bytes_used >= usage.bytes_max / 5 * 4 {
            let percent = usage.bytes_used * 100 / usage.bytes_max;
            let days = self.days_left(now);
            let text = format!("{percent} % of storage.bytes_max used{days}");
            let fix = "raise storage.bytes_max, lower retention, or let central catch up";
            self.raise(now, "storage.filling", text, fix);
        } else {
            self.clear("storage.filling");
        }
        self.damage_alarm(now);
    }

    /// Stands while damaged files are aside, and until the next start after a loss.
    fn damage_alarm(&mut self, now: Now) {
        let aside = self.disk.usage.quarantined;
        let aside = (aside > 0).then(|| format!("damaged files put aside: {aside}"));
        let parts: Vec<String> = self.disk.lost.iter().cloned().chain(aside).collect();
        match parts.is_empty() {
            true => self.clear("storage.quarantined"),
            false => self.raise(
                now,
                "storage.quarantined",
                parts.join("; "),
                QUARANTINED_FIX,
            ),
        }
    }

    /// Once after a start: records that the state names and no slice holds are lost, be it that
    /// somebody removed a slice. What is still being rescued is waited for.
    fn look_for_holes(&mut self, now: Now) {
        let rescuing = self.disk.usage.slices.iter().any(|slice| slice.rescuing);
        if rescuing || !self.leads {
            return;
        }
        let Some(ends) = self.disk.ends_at_start.take() else {
            return;
        };
        let missing = holes::missing(&self.state, &ends, &self.disk.usage.slices);
        if !missing.is_empty() {
            let text = self.words_of(&missing);
            self.lose(now, text, missing);
        }
    }

    /// Takes what is lost into the ledger and raises the alarm.
    fn lose(&mut self, now: Now, text: String, lost: Vec<Span>) {
        if !lost.is_empty() {
            self.soft.controls.push(Control::Lost { lost });
            self.soft.since_ms.get_or_insert(now.mono_ms);
        }
        self.disk.lost = Some(text);
        self.damage_alarm(now);
    }

    fn words_of(&self, lost: &[Span]) -> String {
        let name = |tp: &TopicPartition| match self.state.topics.get(&tp.topic) {
            Some(topic) => format!("{}[{}]", topic.name, tp.partition),
            None => "a deleted topic".to_owned(),
        };
        let span = |(tp, from, to): &Span| format!("{} {from} to {}", name(tp), to - 1);
        let shown: Vec<String> = lost.iter().take(SPANS_SHOWN).map(span).collect();
        let more = match lost.len().saturating_sub(SPANS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more ranges"),
        };
        format!("the disk lost records: {}{more}", shown.join(", "))
    }

    /// Two things that are full, and two remedies.
    fn alarm_full(&mut self, now: Now) {
        if self.disk.filesystem_full {
            let text = format!(
                "the filesystem is full: {} MB free, {} MB are left to other programs",
                megabytes(self.disk.usage.free_bytes),
                megabytes(self.config.site.store.free_bytes_min)
            );
            self.raise(now, "storage.full", text, FILESYSTEM_FULL_FIX);
        } else if self.disk.is_stuck() || self.disk.full {
            let text = format!(
                "the store is full: {} of {} MB used, {} MB free on the filesystem",
                megabytes(self.disk.usage.bytes_used),
                megabytes(self.disk.usage.bytes_max),
                megabytes(self.disk.usage.free_bytes)
            );
            self.raise(now, "storage.full", text, STORE_FULL_FIX);
        } else {
            self.clear("storage.full");
        }
    }

    fn days_left(&mut self, now: Now) -> String {
        let used = self.disk.usage.bytes_used;
        let (first_used, since_ms) = *self.disk.first_report.get_or_insert((used, now.mono_ms));
        let elapsed_ms = now.mono_ms.saturating_sub(since_ms) as f64;
        let grown = used.saturating_sub(first_used) as f64;
        let left = self.disk.usage.bytes_max.saturating_sub(used) as f64;
        if elapsed_ms < 60_000.0 || grown < 1.0 {
            return String::new();
        }
        format!(
            ", full in {:.1} days at this rate",
            left / (grown / elapsed_ms) / 86_400_000.0
        )
    }

    /// A checkpoint, when replaying the log since the last one would take longer than it is worth.
    pub(super) fn save_checkpoint(&mut self, force: bool) {
        let checkpoints = &self.checkpoints;
        let due_bytes = self
            .config
            .site
            .store
            .slice_bytes
            .max(8 * checkpoints.bytes);
        let due = checkpoints.log_bytes > due_bytes && checkpoints.cooled;
        let fresh = self.state.applied_index > checkpoints.index;
        let durable = self.state.applied_index <= self.durable_index;
        if checkpoints.saving || !fresh || !durable || !(due || force) || self.halted.is_some() {
            return;
        }
        let data = self.state.encode();
        self.checkpoints.saving = true;
        self.checkpoints.log_bytes_at_save = self.checkpoints.log_bytes;
        self.checkpoints.saving_bytes = data.len() as u64;
        self.out.push_back(Output::SaveCheckpoint(Checkpoint {
            index: self.state.applied_index,
            term: self.state.applied_term,
            data,
        }));
    }

    /// The outcome of [`Output::SaveCheckpoint`]; a failed one is tried again after a while.
    pub fn handle_checkpoint_saved(
        &mut self,
        now: Now,
        index: u64,
        outcome: &Result<(), PersistError>,
    ) {
        let checkpoints = &mut self.checkpoints;
        if !std::mem::take(&mut checkpoints.saving) {
            return;
        }
        match outcome {
            Ok(()) => {
                checkpoints.index = index;
                checkpoints.bytes = checkpoints.saving_bytes;
                checkpoints.log_bytes -= checkpoints.log_bytes_at_save;
                checkpoints.cooled = true;
            }
            // The next report (a second later) lets it try again.
            Err(_) => checkpoints.cooled = false,
        }
        self.advance(now);
    }

    /// What maintenance found out.
    pub fn handle_maintained(&mut self, now: Now, maintained: &Maintained) {
        for lost in &maintained.lost {
            let (text, spans) = (self.words_of_loss(lost), records_of(lost).collect());
            self.lose(now, text, spans);
        }
        self.advance(now);
    }

    /// What opening found out; the records lost go into the ledger with the new incarnation.
    pub(super) fn report_damage(&mut self, now: Now, recovery: &Recovery) {
        for lost in &recovery.lost {
            let (text, spans) = (self.words_of_loss(lost), records_of(lost).collect());
            match recovery.previous_store_id {
                Some(_) => {
                    self.lost.extend::<Vec<Span>>(spans);
                    self.lose(now, text, Vec::new());
                }
                None => self.lose(now, text, spans),
            }
        }
    }

    fn words_of_loss(&self, lost: &LostRange) -> String {
        let spans: Vec<Span> = records_of(lost).collect();
        match spans.is_empty() {
            true => format!(
                "the disk lost log entries {} to {}: {}",
                lost.first_index, lost.last_index, lost.cause
            ),
            false => self.words_of(&spans),
        }
    }

    /// How far central has partitions; rides with the next frame.
    pub fn handle_progress(&mut self, now: Now, progress: Vec<(TopicPartition, i64)>) {
        for (tp, offset) in progress {
            let known = self.soft.progress.entry(tp).or_insert(offset);
            *known = offset.max(*known);
            self.soft.since_ms.get_or_insert(now.mono_ms);
        }
    }

    /// Bytes that went over the link to central; rides with the next frame.
    pub fn handle_link(&mut self, now: Now, used: LinkUse) {
        let known = self.soft.link.entry(used.month).or_insert(LinkUse {
            sent_bytes: 0,
            received_bytes: 0,
            ..used
        });
        known.sent_bytes += used.sent_bytes;
        known.received_bytes += used.received_bytes;
        self.soft.since_ms.get_or_insert(now.mono_ms);
    }

    /// Records shed before they got an offset; rides with the next frame.
    pub fn handle_shed(
        &mut self,
        now: Now,
        cause: LossCause,
        topic: Option<edge_log::TopicId>,
        count: u64,
    ) {
        *self.soft.shed.entry((cause, topic)).or_default() += count;
        self.soft.since_ms.get_or_insert(now.mono_ms);
    }
}

/// As the program shows sizes: powers of ten.
fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// (partition, first offset, offset after the last one).
fn records_of(lost: &LostRange) -> impl Iterator<Item = Span> + '_ {
    lost.partitions
        .iter()
        .map(|&(tp, first, last)| (tp, first, last + 1))
}
