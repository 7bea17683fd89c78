//! What a read brought: chunks to hold, records that are refused for themselves, and the mark that
//! moves once both are settled.

use std::sync::Arc;

use edge_site::TopicPartition;

use super::{
    Forwarder,
    partition::{Letters, Rewind},
    topic::{Limits, Topic},
    types::{Chunk, Ms, Note, Output, Packed, ReadOutcome, Unreadable},
};
use crate::config::OnRejected;

/// How old a learned `max.message.bytes` may be when records are refused because of it.
const LIMITS_FRESH_MS: Ms = 60_000;
/// How long records of a clock that nobody set wait for the right time once they could go: a time
/// service needs the same uplink, and tries it less often than we do.
const CLOCK_WAIT_MS: Ms = 120_000;
/// How often it is looked whether the time is known.
const CLOCK_LOOK_MS: Ms = 1_000;

impl Forwarder {
    /// What a read brought.
    pub fn handle_read(&mut self, tp: TopicPartition, number: u64, read: ReadOutcome, now: Ms) {
        self.dirty = true;
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let Some(reading) = partition
            .reading
            .take_if(|reading| reading.number == number)
        else {
            return;
        };
        if reading.stale {
            return;
        }
        match read {
            ReadOutcome::Packed(packed) => self.take_packed(tp, packed, now),
            ReadOutcome::OutOfRange { start, end } => self.skip_to(tp, start, end, now),
            ReadOutcome::Gone => self.let_go(|other| *other == tp),
            ReadOutcome::Failed(reason) => {
                self.outputs
                    .push_back(Output::Note(Note::Unreadable { tp, reason }));
                let wait = self.backoff(1);
                if let Some(partition) = self.partitions.get_mut(&tp) {
                    partition.not_before = now + wait;
                }
            }
        }
    }

    fn take_packed(&mut self, tp: TopicPartition, mut packed: Packed, now: Ms) {
        let limits = self
            .topics
            .get(&tp.topic)
            .map_or(Limits::Unknown, |topic| topic.limits);
        let stale = !matches!(limits, Limits::Known { at, .. } if now - at <= LIMITS_FRESH_MS);
        if !packed.oversized.is_empty() && stale {
            if let Some(topic) = self.topics.get_mut(&tp.topic) {
                topic.limits = Limits::Unknown;
            }
            return;
        }
        if packed.waits_for_clock && self.waits_for_clock(tp, now) {
            return;
        }
        let limit = self.topics.get(&tp.topic).map_or(0, Topic::batch_bytes_max);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if partition.rewind.is_some() {
            return; // it is read again once nothing is in flight
        }
        if self.parks_for(tp, &mut packed, limit, now) {
            return;
        }
        self.tell_unreadable(tp, &mut packed);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let before = partition.read_pos;
        let packed_bytes = packed.chunks.iter().map(Chunk::bytes).sum();
        partition
            .estimate
            .learn(packed.stored_bytes, packed_bytes, packed.records);
        for chunk in packed.chunks {
            debug_assert_eq!(chunk.from, partition.read_pos, "chunks are contiguous");
            partition.hold(chunk, now);
        }
        if partition.read_pos == before && partition.barrier != Some(before) {
            partition.not_before = now + self.settings.retry_ms_min;
        }
        partition.due = partition.unread() > 0;
        let letters = packed.oversized.into_iter();
        let letters = letters.map(|(offset, bytes)| (offset, oversized_reason(bytes, limit)));
        // Before progress is looked at: what is left out of the chunks is nowhere yet.
        self.refuse_records(tp, letters.collect(), false, now);
        self.note_progress(tp);
    }

    /// Where the operator wants it, what cannot be sent parks its topic: true. What is ahead of it
    /// goes first.
    fn parks_for(
        &mut self,
        tp: TopicPartition,
        packed: &mut Packed,
        limit: usize,
        now: Ms,
    ) -> bool {
        if self.settings.on_rejected != OnRejected::Park {
            return false;
        }
        let oversized = packed.oversized.first().map(|(offset, bytes)| {
            let why = oversized_reason(*bytes, limit);
            (*offset, format!("record {}@{offset}: {why}", tp.partition))
        });
        let unreadable = packed.unreadable.first();
        let unreadable = unreadable.map(|range| (range.from, unreadable_reason(tp, range)));
        let first = oversized.into_iter().chain(unreadable).min();
        let (Some((offset, reason)), Some(partition)) = (first, self.partitions.get_mut(&tp))
        else {
            return false;
        };
        packed.oversized.clear();
        packed.unreadable.clear();
        packed.chunks.retain(|chunk| chunk.next <= offset);
        if packed.chunks.is_empty() && partition.held.is_empty() {
            self.park_for(tp, reason, now);
            return true;
        }
        partition.barrier = Some(offset);
        false
    }

    /// Records that nobody can read are passed, and count as lost.
    fn tell_unreadable(&mut self, tp: TopicPartition, packed: &mut Packed) {
        let topic = self.topics.get(&tp.topic).map(|t| t.local.name.clone());
        for range in std::mem::take(&mut packed.unreadable) {
            self.outputs.push_back(Output::Note(Note::Undecodable {
                topic: topic.clone().unwrap_or_default(),
                partition: tp.partition,
                range,
            }));
        }
    }

    /// Whether wrong stamps are worth waiting for the right time: once, for a while.
    fn waits_for_clock(&mut self, tp: TopicPartition, now: Ms) -> bool {
        if self.clock_awaited_since.is_none() {
            let seconds = CLOCK_WAIT_MS / 1000;
            self.outputs
                .push_back(Output::Note(Note::AwaitsClock { seconds }));
        }
        let since = *self.clock_awaited_since.get_or_insert(now);
        let waits = now - since < CLOCK_WAIT_MS;
        if let Some(partition) = self.partitions.get_mut(&tp).filter(|_| waits) {
            partition.not_before = now + CLOCK_LOOK_MS;
        }
        waits
    }

    /// Records before `start` are gone: the site's ledger has them, we go on behind.
    fn skip_to(&mut self, tp: TopicPartition, start: i64, end: i64, now: Ms) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if start > partition.read_pos {
            let chunk = Chunk {
                from: partition.read_pos,
                next: start,
                runs: vec![],
                batch: None,
                unreadable: 0,
            };
            partition.hold(chunk, now);
            partition.committed_end = end.max(start);
            self.note_progress(tp);
        } else {
            partition.not_before = now + self.settings.retry_ms_min;
        }
    }

    /// Emits progress if acknowledged chunks came off the front.
    pub(super) fn note_progress(&mut self, tp: TopicPartition) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let records = partition.forwarded_records;
        if let Some(next_offset) = partition.advance() {
            self.counters.records += partition.forwarded_records - records;
            let lost = std::mem::take(&mut partition.lost_records);
            if lost > 0 {
                self.outputs.push_back(Output::Lost(tp, lost));
            }
            self.outputs.push_back(Output::Progress(tp, next_offset));
        }
    }

    /// Records that central refuses for themselves: to `_dead_letter`, or their topic parks.
    pub(super) fn refuse_records(
        &mut self,
        tp: TopicPartition,
        letters: Vec<(i64, String)>,
        held_anew: bool,
        now: Ms,
    ) {
        let Some((offset, reason)) = letters.first().cloned() else {
            return;
        };
        let Some(topic) = self.topics.get(&tp.topic) else {
            return;
        };
        let name = topic.local.name.clone();
        self.outputs.push_back(Output::Note(Note::Rejected {
            topic: name,
            partition: tp.partition,
            offset,
            reason: reason.clone(),
        }));
        if self.settings.on_rejected == OnRejected::Park {
            let where_ = format!("record {}@{offset}: {reason}", tp.partition);
            return self.park_for(tp, where_, now);
        }
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if held_anew {
            partition.rewind(Rewind::Reread);
        }
        let waiting = partition.letters.get_or_insert(Letters {
            letters: Vec::new(),
            asked: None,
            since: now,
            not_before: now,
            failures: 0,
        });
        waiting.letters.extend(letters);
    }

    /// The dead letters of a partition are durable, or could not be written.
    pub fn handle_dead_lettered(
        &mut self,
        tp: TopicPartition,
        number: u64,
        written: Result<(), String>,
        now: Ms,
    ) {
        self.dirty = true;
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let answered = |letters: &mut Letters| letters.asked == Some(number);
        let Some(letters) = partition.letters.take_if(answered) else {
            return;
        };
        if let Err(reason) = written {
            return self.letters_wait(tp, letters, &reason, now);
        }
        let offsets = letters.letters.iter().map(|(offset, _)| *offset);
        self.counters.dead_lettered += letters.letters.len() as u64;
        Arc::make_mut(&mut partition.skip).extend(offsets);
        self.note_progress(tp);
    }

    /// Tries again later; where it does not help, the topic says so in `status` and by its alarm.
    fn letters_wait(&mut self, tp: TopicPartition, letters: Letters, reason: &str, now: Ms) {
        let failures = letters.failures + 1;
        let since = letters.since;
        let not_before = now + self.backoff(failures);
        let topic = self.topics.get(&tp.topic).map(|t| t.local.name.clone());
        self.outputs.push_back(Output::Note(Note::LettersWait {
            topic: topic.unwrap_or_default(),
            partition: tp.partition,
            reason: reason.to_owned(),
        }));
        if let Some(partition) = self.partitions.get_mut(&tp) {
            partition.letters = Some(Letters {
                asked: None,
                failures,
                not_before,
                ..letters
            });
        }
        if now - since >= self.settings.park_after_ms {
            let reason = format!(
                "partition {}: records that central refuses cannot be written to _dead_letter: \
                 {reason}",
                tp.partition
            );
            self.park_for(tp, reason, now);
        }
    }
}

fn oversized_reason(bytes: usize, limit: usize) -> String {
    format!("record of {bytes} bytes exceeds central's max.message.bytes: {limit}")
}

fn unreadable_reason(tp: TopicPartition, range: &Unreadable) -> String {
    format!(
        "partition {}: records {} to {} cannot be decoded: {}; with central.on_rejected = \
         \"dead-letter\" they count as lost and the others go on",
        tp.partition,
        range.from,
        range.next - 1,
        range.reason
    )
}
