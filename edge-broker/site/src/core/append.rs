//! Appends: when a frame is formed, what it holds, which offsets it gets. Who is not let in is
//! `refusing`'s business.
//!
//! Offsets are given at proposal, from speculative ends that only the leader keeps:
//!
//! ```text
//! applied end 30 │ frame 7: 30..34 │ frame 8: 34..35 │ speculative end 35
//! ```

use edge_log::{FRAME_LEVEL, Frame, FrameBuilder, FrameHeader, TopicPartition};
use kafka_wire::RecordBatch;

use super::forming::Forming;
use super::refusing::{Counts, appended};
use super::{FRAME_BYTES_MAX, Inflight, Output, Pending, PendingControl, SiteCore, Waiting};
use crate::append::{AckLevel, AppendRequest, Appended, Now};
use crate::control::Control;
use crate::error::{Refused, TopicError};
use crate::ledger::LossCause;

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Pending {
            queue: Default::default(),
            bytes: 0,
            strict_since_ms: None,
            relaxed_since_ms: None,
        }
    }
}

impl<T> Pending<T> {
    fn push(&mut self, waiting: Waiting<T>) {
        let since = if waiting.request.relaxed {
            &mut self.relaxed_since_ms
        } else {
            &mut self.strict_since_ms
        };
        since.get_or_insert(waiting.since_ms);
        self.bytes += waiting.bytes;
        self.queue.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting<T>> {
        let waiting = self.queue.pop_front()?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// After some left: who waits longest now.
    pub(super) fn refresh(&mut self) {
        let first = |relaxed| {
            self.queue
                .iter()
                .find(|w| w.request.relaxed == relaxed)
                .map(|w| w.since_ms)
        };
        (self.strict_since_ms, self.relaxed_since_ms) = match self.queue.is_empty() {
            true => (None, None),
            false => (first(false), first(true)),
        };
    }
}

impl<T> SiteCore<T> {
    /// Takes records. The ticket is spent when they reached their level, or are refused.
    pub fn handle_append(&mut self, now: Now, ticket: T, request: AppendRequest) {
        let bytes = request.bytes();
        let mut waiting = Waiting {
            ticket: Some(ticket),
            request,
            bytes,
            since_ms: now.mono_ms,
            refused: Vec::new(),
        };
        if let Err(refused) = self.judge(&mut waiting) {
            return self.refuse(now, waiting, refused);
        }
        self.count_refused(now, &waiting);
        if waiting.request.level == AckLevel::Memory
            && let Some(ticket) = waiting.ticket.take()
        {
            let appended = Appended {
                level: AckLevel::Memory,
                offsets: Vec::new(),
                refused: waiting.refused.clone(),
            };
            self.out.push_back(Output::Spent {
                ticket,
                outcome: Ok(appended),
            });
        }
        self.pending.push(waiting);
    }

    /// When the next frame is due; `None` = nothing waits, or what waits cannot go now.
    pub(super) fn commit_at_ms(&mut self, now: Now) -> Option<u64> {
        if !self.leads || self.halted.is_some() || !self.has_room_in_flight() {
            return None;
        }
        let room = !self.disk.no_room();
        if room && self.pending.bytes >= self.config.site.commit_bytes_max {
            return Some(now.mono_ms);
        }
        // While a sync runs, what arrives joins the next frame for nothing.
        if self.persisting.flying.is_some() || !self.persisting.queued.entries.is_empty() {
            return None;
        }
        let records = room && !self.pending.queue.is_empty();
        let waits = records || self.soft.since_ms.is_some();
        if !self.controls.is_empty() || (self.stopping && waits) {
            return Some(now.mono_ms);
        }
        let site = &self.config.site;
        let relaxed_ms = site.commit_interval_ms_relaxed;
        let relaxed = self.pending.relaxed_since_ms.filter(|_| room);
        let relaxed = relaxed.map(|since| since + relaxed_ms);
        let soft = self.soft.since_ms.map(|since| since + relaxed_ms.max(1000));
        let interval_ms = site.commit_interval_ms_max;
        let strict = self.pending.strict_since_ms.filter(|_| room);
        let strict = strict.map(|since| {
            self.wear
                .ready_at_ms(now.mono_ms, self.pending.bytes)
                .min(since + interval_ms)
        });
        [relaxed, soft, strict].into_iter().flatten().min()
    }

    fn has_room_in_flight(&self) -> bool {
        let bytes_max = self.config.site.raft_memory_bytes_max / 2;
        self.inflight.is_empty() || self.inflight_bytes + FRAME_BYTES_MAX <= bytes_max
    }

    /// Forms and proposes frames as long as one is due.
    pub(super) fn form_frames(&mut self, now: Now) {
        while self.commit_at_ms(now).is_some_and(|at| at <= now.mono_ms) {
            if !self.propose(now) {
                return;
            }
        }
    }

    /// One frame from what waits. False if raft did not take it.
    fn propose(&mut self, now: Now) -> bool {
        let mut controls = self.controls.drain(..).collect::<Vec<_>>();
        controls.extend(self.say_clock(now));
        controls.extend(self.soft_controls());
        let builders = std::mem::take(&mut self.builders);
        let compression = self.config.site.compression;
        let mut forming = Forming::new(builders, self.term() as i32, compression);
        let room = !self.disk.no_room();
        let (mut tickets, mut untold) = (Vec::new(), Counts::default());
        let (mut queue_bytes, mut queue_count) = (0, 0);
        while let Some(next) = self.pending.queue.front().filter(|_| room) {
            if queue_count > 0 && queue_bytes + next.bytes > FRAME_BYTES_MAX {
                break;
            }
            let Some(mut waiting) = self.pending.pop() else {
                break;
            };
            queue_bytes += waiting.bytes;
            queue_count += 1;
            if let Err(refused) = self.leave_out(now, &mut waiting) {
                self.refuse_waiting(now, waiting, &refused);
                continue;
            }
            if waiting.ticket.is_none() {
                untold.add_all(&waiting.request);
            }
            let offsets = forming.take(waiting.request, |tp| self.spot(tp));
            if let Some(ticket) = waiting.ticket {
                tickets.push((ticket, appended(offsets, waiting.refused)));
            }
        }
        self.pending.refresh();
        forming.close_all();
        let batches = std::mem::take(&mut forming.batches);
        let new_ends = std::mem::take(&mut forming.ends);
        let payload_bytes = self.payload_of_people(&forming);
        self.builders = forming.builders;
        if batches.is_empty() && controls.is_empty() {
            self.out.push_back(Output::Released {
                bytes: queue_bytes,
                count: queue_count,
            });
            return true;
        }
        let data = self.encode(now, &controls, &batches);
        let frame_bytes = data.len();
        let Some((index, term)) = self.propose_to_raft(data) else {
            self.take_back(now, controls);
            self.fail(tickets, Vec::new(), &Refused::NotLeader);
            // Whoever was told already that it is taken cannot be told.
            self.count_lost(now, LossCause::QueueLimit, untold);
            self.out.push_back(Output::Released {
                bytes: queue_bytes,
                count: queue_count,
            });
            return false;
        };
        let topics = controls.into_iter().flat_map(waiters_of).collect();
        self.next_intake += batches.len() as u64;
        self.touched.extend(new_ends.keys());
        self.ends.extend(new_ends);
        self.counters.records += batches
            .iter()
            .map(|(_, b)| u64::from(b.record_count()))
            .sum::<u64>();
        self.counters.payload_bytes += payload_bytes;
        self.inflight_bytes += frame_bytes;
        let frame = Inflight {
            frame_bytes,
            queue_bytes,
            queue_count,
            tickets,
            topics,
        };
        self.inflight.insert((index, term), frame);
        true
    }

    /// What the gateway notes for itself (`_retained`) is a cost of the payload, not payload.
    fn payload_of_people(&self, forming: &Forming) -> u64 {
        let bytes = forming.payload_bytes.iter();
        let of_people = bytes.filter(|(tp, _)| {
            let topic = self.table.by_id(tp.topic);
            topic.is_none_or(|topic| !topic.is_internal())
        });
        of_people.map(|(_, bytes)| bytes).sum()
    }

    /// Control entries that raft did not take: who waits for one is told, what nobody waits for
    /// rides with the next frame.
    fn take_back(&mut self, now: Now, controls: Vec<PendingControl<T>>) {
        for pending in controls {
            match pending.control {
                Control::TopicCreated { id, .. } => self.creating.retain(|_, other| *other != id),
                Control::TopicDeleted { id, .. } => self.deleting.retain(|other| *other != id),
                control if pending.waiters.is_empty() => {
                    self.soft.controls.push(control);
                    self.soft.since_ms.get_or_insert(now.mono_ms);
                }
                _ => {}
            }
            for ticket in pending.waiters {
                let outcome = Err(TopicError::Refused(Refused::NotLeader));
                self.out.push_back(Output::TopicDone { ticket, outcome });
            }
        }
    }

    /// Next offset of a partition and the size a batch of it may have.
    fn spot(&self, tp: TopicPartition) -> (i64, usize) {
        let applied = self.state.partition(tp).map_or(0, |marks| marks.end);
        let end = self.ends.get(&tp).copied().unwrap_or(applied).max(applied);
        let bytes_max = self
            .table
            .by_id(tp.topic)
            .map_or(0, |t| t.config.max_message_bytes);
        (end, bytes_max as usize)
    }

    pub(super) fn encode(
        &mut self,
        now: Now,
        controls: &[PendingControl<T>],
        batches: &[(TopicPartition, RecordBatch)],
    ) -> bytes::Bytes {
        let header = FrameHeader {
            level: FRAME_LEVEL,
            proposer_term: self.term(),
            store_id: self.store_id,
            first_intake: self.next_intake,
            site_time_ms: self.site_clock.advance(now),
            boot_id: self.config.boot_id,
            boot_ms: now.mono_ms,
        };
        let bytes = batches
            .iter()
            .map(|(_, batch)| batch.bytes().len() + 32)
            .sum::<usize>();
        let mut frame = FrameBuilder::with_capacity(&header, bytes + 64);
        for control in controls {
            frame.push_control(&control.control.encode());
        }
        for (tp, batch) in batches {
            frame.push_batch(*tp, batch.bytes());
        }
        frame.finish()
    }

    fn soft_controls(&mut self) -> Vec<PendingControl<T>> {
        let mut controls = Vec::new();
        if self.soft.since_ms.take().is_none() {
            return Vec::new();
        }
        controls.append(&mut self.soft.controls);
        let progress: Vec<_> = std::mem::take(&mut self.soft.progress)
            .into_iter()
            .collect();
        if !progress.is_empty() {
            controls.push(Control::Forwarded { progress });
        }
        for ((cause, topic), count) in std::mem::take(&mut self.soft.shed) {
            controls.push(Control::Shed {
                cause,
                topic,
                count,
            });
        }
        let link = std::mem::take(&mut self.soft.link).into_values();
        controls.extend(link.map(|used| Control::Link { used }));
        controls.into_iter().map(PendingControl::silent).collect()
    }

    /// Intake sequences of this store go on after every one that was ever written here.
    pub(super) fn note_intake(&mut self, data: &bytes::Bytes) {
        let Ok(header) = FrameHeader::decode(data) else {
            return;
        };
        if header.store_id == self.store_id
            && let Ok(frame) = Frame::decode(data.clone())
        {
            let next = header.first_intake + frame.items().count() as u64;
            self.next_intake = self.next_intake.max(next);
        }
    }
}

impl<T> PendingControl<T> {
    pub(super) fn silent(control: Control) -> Self {
        PendingControl {
            control,
            waiters: Vec::new(),
        }
    }
}

fn waiters_of<T>(pending: PendingControl<T>) -> Vec<(T, edge_log::TopicId)> {
    let id = match &pending.control {
        Control::TopicCreated { id, .. }
        | Control::TopicAltered { id, .. }
        | Control::TopicDeleted { id, .. } => *id,
        Control::StartsMoved { starts, .. } => starts
            .first()
            .map_or_else(Default::default, |(tp, _)| tp.topic),
        _ => Default::default(),
    };
    pending
        .waiters
        .into_iter()
        .map(|waiter| (waiter, id))
        .collect()
}
