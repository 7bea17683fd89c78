//! Refusing: what is not let in or does not get into a frame, who is told, what is counted.
//!
//! ```text
//! handle_append ─▶ judge ──────▶ refused: all of it, or records that stand apart
//! propose ───────▶ leave_out ──▶ the same again: a topic may have gone meanwhile
//! ```
//! Who waits for a ticket is told. Who was told already that it is taken (level `memory`), and who
//! does not listen (QoS 0), cannot be: then the ledger is.

use edge_log::{TopicId, TopicPartition};

use super::forming::record_bytes;
use super::room::NO_ROOM;
use super::{FRAME_BYTES_MAX, Output, SiteCore, Waiting};
use crate::append::{AckLevel, AppendRequest, Appended, Now, RefusedRecord};
use crate::config::WhenFull;
use crate::error::{FREE_BYTES_MIN, Refused};
use crate::ledger::LossCause;
use crate::topics::Topic;

/// Records by topic; neighbours mostly are of one.
#[derive(Default)]
pub(super) struct Counts(Vec<(TopicId, u64)>);

impl Counts {
    fn add(&mut self, topic: TopicId, count: u64) {
        match self.0.last_mut() {
            Some((last, counted)) if *last == topic => *counted += count,
            _ => self.0.push((topic, count)),
        }
    }

    /// Every record of a request.
    pub(super) fn add_all(&mut self, request: &AppendRequest) {
        let items = request.items.iter();
        items.for_each(|(tp, _)| self.add(tp.topic, 1));
        for (tp, batch) in &request.batches {
            self.add(tp.topic, u64::from(batch.record_count()));
        }
    }
}

/// What a ticket is spent with, once its frame is committed.
pub(super) fn appended(mut offsets: Vec<i64>, refused: Vec<RefusedRecord>) -> Appended {
    // In order, so each finds its place among those that come before it.
    refused
        .iter()
        .for_each(|one| offsets.insert(one.item.min(offsets.len()), -1));
    Appended {
        level: AckLevel::Disk,
        offsets,
        refused,
    }
}

/// Nobody follows its ticket.
fn is_unheard(request: &AppendRequest) -> bool {
    request.relaxed && request.level == AckLevel::Memory
}

/// Why records are lost that were never taken.
fn cause_at_the_door(refused: &Refused) -> LossCause {
    match refused {
        Refused::TooLarge { .. } => LossCause::TooLarge,
        Refused::UnknownTopic => LossCause::TopicDeleted,
        Refused::Full { .. } | Refused::Poisoned { .. } | Refused::ReadOnly => {
            LossCause::StorageFull
        }
        Refused::NotLeader | Refused::Unknown | Refused::Stopping => LossCause::QosZeroOverload,
    }
}

impl<T> SiteCore<T> {
    /// Whether a request may come in; notes which of its records may not, where they stand apart.
    pub(super) fn judge(&self, waiting: &mut Waiting<T>) -> Result<(), Refused> {
        let request = &waiting.request;
        if let Some(refused) = self.why_not(request, waiting.bytes) {
            return Err(refused);
        }
        let batches = request.batches.iter();
        let batches = batches.map(|(tp, batch)| (tp, batch.bytes().len()));
        let items = request.items.iter();
        let items = items.map(|(tp, record)| (tp, record_bytes(record)));
        let mut last = None;
        for (item, (tp, bytes)) in items.chain(batches).enumerate() {
            // Neighbours mostly go to one topic: it is looked up once.
            let topic = match last {
                Some((known, topic)) if known == tp.topic => topic,
                _ => self.table.by_id(tp.topic).map(|topic| &**topic),
            };
            last = Some((tp.topic, topic));
            if let Some(why) = self.why_not_there(topic, *tp, bytes) {
                if !request.apart {
                    return Err(why);
                }
                let partition = *tp;
                waiting.refused.push(RefusedRecord {
                    item,
                    partition,
                    why,
                });
            }
        }
        all_or_some(waiting)
    }

    fn why_not(&self, request: &AppendRequest, bytes: usize) -> Option<Refused> {
        if self.stopping {
            return Some(Refused::Stopping);
        }
        // Alone, leadership is only a matter of milliseconds: the request waits for it.
        if !self.leads && !self.alone {
            return Some(Refused::NotLeader);
        }
        if let Some(refused) = self.refusal() {
            return Some(refused);
        }
        let parts = request.items.len() + request.batches.len();
        if bytes > FRAME_BYTES_MAX && parts > 1 {
            return Some(Refused::TooLarge {
                bytes,
                bytes_max: FRAME_BYTES_MAX,
            });
        }
        None
    }

    fn why_not_there(
        &self,
        topic: Option<&Topic>,
        tp: TopicPartition,
        bytes: usize,
    ) -> Option<Refused> {
        let topic = match topic {
            Some(topic) if tp.partition < topic.partitions => topic,
            _ => return Some(Refused::UnknownTopic),
        };
        if self.deleting.contains(&tp.topic) {
            return Some(Refused::UnknownTopic);
        }
        let bytes_max = topic.config.max_message_bytes as usize;
        if bytes > bytes_max {
            return Some(Refused::TooLarge { bytes, bytes_max });
        }
        let refuses = topic.config.when_full(self.config.site.when_full) == WhenFull::Refuse;
        if self.disk.full && refuses && !topic.is_internal() {
            return Some(NO_ROOM);
        }
        None
    }

    /// What would be refused whatever the topic.
    pub(super) fn refusal(&self) -> Option<Refused> {
        if self.halted.is_some() {
            return Some(Refused::ReadOnly);
        }
        if self.persisting.failures >= 2 {
            return Some(Refused::Poisoned {
                retry_after_ms: self.persisting.retry_after_ms(),
            });
        }
        if self.disk.filesystem_full {
            return Some(Refused::Full {
                limit: FREE_BYTES_MIN,
            });
        }
        if self.disk.is_stuck() {
            return Some(NO_ROOM);
        }
        None
    }

    /// Takes the records out that will not be in the frame: the topic of some may have gone since
    /// they were let in.
    pub(super) fn leave_out(&mut self, now: Now, waiting: &mut Waiting<T>) -> Result<(), Refused> {
        let gone = |tp: &TopicPartition| {
            self.state.partition(*tp).is_none() || self.deleting.contains(&tp.topic)
        };
        let request = &waiting.request;
        let mut partitions = (request.items.iter().map(|(tp, _)| tp))
            .chain(request.batches.iter().map(|(tp, _)| tp));
        let any_gone = partitions.any(gone);
        if any_gone && !request.apart {
            return Err(Refused::UnknownTopic);
        }
        if !any_gone && waiting.refused.is_empty() {
            return Ok(());
        }
        let items = request.items.iter().enumerate();
        let gone = items.filter(|(_, (tp, _))| any_gone && gone(tp));
        let gone = gone.map(|(item, (tp, _))| RefusedRecord {
            item,
            partition: *tp,
            why: Refused::UnknownTopic,
        });
        let gone: Vec<_> = gone.collect();
        self.note_gone(now, waiting, gone);
        all_or_some(waiting)?;
        let mut refused = waiting.refused.iter().map(|one| one.item).peekable();
        let mut item = 0;
        waiting.request.items.retain(|_| {
            item += 1;
            refused.next_if_eq(&(item - 1)).is_none()
        });
        Ok(())
    }

    fn note_gone(&mut self, now: Now, waiting: &mut Waiting<T>, gone: Vec<RefusedRecord>) {
        for one in gone {
            let place = waiting
                .refused
                .binary_search_by_key(&one.item, |one| one.item);
            let Err(place) = place else { continue };
            if waiting.ticket.is_none() {
                self.handle_shed(now, LossCause::TopicDeleted, Some(one.partition.topic), 1);
            }
            waiting.refused.insert(place, one);
        }
    }

    /// Refuses a request that was not let in.
    pub(super) fn refuse(&mut self, now: Now, waiting: Waiting<T>, refused: Refused) {
        let Waiting {
            ticket,
            request,
            bytes,
            ..
        } = waiting;
        if is_unheard(&request) {
            let mut all = Counts::default();
            all.add_all(&request);
            self.count_lost(now, cause_at_the_door(&refused), all);
        }
        if let Some(ticket) = ticket {
            let outcome = Err(refused);
            self.out.push_back(Output::Spent { ticket, outcome });
        }
        self.out.push_back(Output::Released { bytes, count: 1 });
    }

    /// Counts records that were refused by themselves and whose ticket nobody follows.
    pub(super) fn count_refused(&mut self, now: Now, waiting: &Waiting<T>) {
        if is_unheard(&waiting.request) {
            for one in &waiting.refused {
                let topic = Some(one.partition.topic);
                self.handle_shed(now, cause_at_the_door(&one.why), topic, 1);
            }
        }
    }

    pub(super) fn count_lost(&mut self, now: Now, cause: LossCause, counts: Counts) {
        for (topic, count) in counts.0 {
            self.handle_shed(now, cause, Some(topic), count);
        }
    }

    /// Refuses what waits but is in no frame yet.
    pub(super) fn refuse_pending(&mut self, now: Now, refused: &Refused) {
        while let Some(waiting) = self.pending.pop() {
            let bytes = waiting.bytes;
            self.refuse_waiting(now, waiting, refused);
            self.out.push_back(Output::Released { bytes, count: 1 });
        }
        self.pending.refresh();
    }

    /// Whoever was told already that it is taken cannot be told: then the ledger is.
    pub(super) fn refuse_waiting(&mut self, now: Now, waiting: Waiting<T>, refused: &Refused) {
        if let Some(ticket) = waiting.ticket {
            let outcome = Err(refused.clone());
            return self.out.push_back(Output::Spent { ticket, outcome });
        }
        let cause = match refused {
            Refused::Full { .. } => LossCause::StorageFull,
            Refused::UnknownTopic => LossCause::TopicDeleted,
            Refused::Poisoned { .. } | Refused::ReadOnly => LossCause::DiskLoss,
            _ => LossCause::QueueLimit,
        };
        let mut left = Counts::default();
        let refused = &waiting.refused;
        for (item, (tp, _)) in waiting.request.items.iter().enumerate() {
            if refused.binary_search_by_key(&item, |one| one.item).is_err() {
                left.add(tp.topic, 1);
            }
        }
        for (tp, batch) in &waiting.request.batches {
            left.add(tp.topic, u64::from(batch.record_count()));
        }
        self.count_lost(now, cause, left);
    }
}

/// With no record left, a request is refused as a whole.
fn all_or_some<T>(waiting: &Waiting<T>) -> Result<(), Refused> {
    let request = &waiting.request;
    match waiting.refused.first() {
        Some(first) if waiting.refused.len() == request.items.len() + request.batches.len() => {
            Err(first.why.clone())
        }
        _ => Ok(()),
    }
}
