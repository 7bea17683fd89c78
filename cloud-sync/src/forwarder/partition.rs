//! One local partition on its way to central: what is read, what is under way, what came back.
//!
//! ```text
//!   forwarded ─────────┐ in flight ──┐ ready ──────┐ not read ─────┐ committed end
//!   [  in central      │ chunk chunk │ chunk chunk │               │
//!                      └─ held.front()             └─ read_pos
//! ```
//!
//! `held` is contiguous: each chunk begins where the one before ends. Answers move chunks back
//! to ready or off the front; after a refusal nothing more is sent until all that is in flight
//! has come back ([`Rewind`]), because what follows a hole is refused too and order counts.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use edge_site::TopicPartition;

use super::types::{Chunk, Identity, LinkId, LocalMarks, Ms};

/// Batches of one producer that Kafka remembers per partition to recognise a repetition.
const REMEMBERED_BATCHES: usize = 5;

/// State of one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub tp: TopicPartition,
    pub start: i64,
    pub committed_end: i64,
    pub forwarded: i64,
    pub read_pos: i64,
    pub reading: Option<Reading>,
    pub held: VecDeque<Held>,
    pub rewind: Option<Rewind>,
    /// The rewind begins under a new producer id as well, whatever else it does.
    renew: bool,
    pub identity: Option<Identity>,
    pub next_sequence: i32,
    pub leader: Option<i32>,
    pub leaderless_since: Option<Ms>,
    pub failures: u32,
    pub failing_since: Option<Ms>,
    pub not_before: Ms,
    /// Its records have waited long enough for company.
    pub due: bool,
    pub chunk_records_max: u32,
    pub skip: Arc<BTreeSet<i64>>,
    pub letters: Option<Letters>,
    /// Batches that begin before it are decoded here before they are sent: central failed at one.
    pub decode_before: i64,
    /// What begins here parks the topic; it is not looked at before all ahead of it is there.
    pub barrier: Option<i64>,
    pub estimate: Estimate,
    pub forwarded_records: u64,
    /// Passed without having been sent, and not told yet.
    pub lost_records: u64,
    /// When central last took something under the present sequence; none = one batch at a time,
    /// until it does: a leader that knows nothing of a producer takes any sequence number, so a
    /// second batch under way would get in where the first was refused.
    pub proven_at: Option<Ms>,
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Reading {
    pub number: u64,
    pub bytes: usize,
    /// Its result is of no more use.
    pub stale: bool,
}

/// A packed batch in memory.
#[derive(Debug)]
pub(crate) struct Held {
    pub chunk: Chunk,
    pub sent: Sent,
    /// First sequence number under the partition's identity, once it was sent.
    pub sequence: Option<i32>,
    /// Times its connection broke before the answer came.
    pub lost_answers: u32,
    /// It may be there already under its number: then it must stay as it is, because central
    /// knows a repetition by its first number and its count.
    pub perhaps_there: bool,
    /// Times central failed at it.
    pub failed: u32,
    pub since: Ms,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    No,
    InFlight { link: LinkId, request: u64 },
    Acked,
}

/// What happens once nothing is in flight any more; a later one includes the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rewind {
    /// Send the held chunks again as they are.
    Resend,
    /// Send them as they are under the next epoch, from sequence 0.
    Resequence,
    /// Send them as they are under a new producer id.
    NewProducer,
    /// Read them again: boundaries or contents change.
    Reread,
}

/// Records that go to `_dead_letter` before anything else of the partition moves.
#[derive(Debug)]
pub(crate) struct Letters {
    pub letters: Vec<(i64, String)>,
    /// The number they were handed out under; an answer to another is about others.
    pub asked: Option<u64>,
    pub since: Ms,
    pub not_before: Ms,
    pub failures: u32,
}

/// Learned sizes, to read about as much as one request takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    pub bytes_per_record: f64,
    /// Stored bytes per packed byte.
    pub packing: f64,
}

impl Partition {
    pub fn new(tp: TopicPartition, marks: LocalMarks) -> Self {
        let forwarded = marks.forwarded.unwrap_or(marks.start).max(marks.start);
        Self {
            tp,
            start: marks.start,
            committed_end: marks.committed_end,
            forwarded,
            read_pos: forwarded,
            reading: None,
            held: VecDeque::new(),
            rewind: None,
            renew: false,
            identity: None,
            next_sequence: 0,
            leader: None,
            leaderless_since: None,
            failures: 0,
            failing_since: None,
            not_before: 0,
            // A backlog found at the start has waited long enough.
            due: marks.committed_end > forwarded,
            chunk_records_max: u32::MAX,
            skip: Arc::default(),
            letters: None,
            decode_before: 0,
            barrier: None,
            estimate: Estimate {
                bytes_per_record: 200.0,
                packing: 1.0,
            },
            forwarded_records: 0,
            lost_records: 0,
            proven_at: None,
        }
    }

    /// Offsets committed here and not acknowledged there.
    pub fn waiting(&self) -> u64 {
        (self.committed_end - self.forwarded.max(self.start)).max(0) as u64
    }

    /// Offsets not read yet.
    pub fn unread(&self) -> u64 {
        (self.committed_end - self.read_pos).max(0) as u64
    }

    pub fn has_work(&self) -> bool {
        self.unread() > 0 || !self.held.is_empty()
    }

    pub fn held_bytes(&self) -> usize {
        let reading = self.reading.as_ref().map_or(0, |reading| reading.bytes);
        reading
            + self
                .held
                .iter()
                .map(|held| held.chunk.bytes())
                .sum::<usize>()
    }

    pub fn in_flight(&self) -> usize {
        self.held
            .iter()
            .filter(|held| matches!(held.sent, Sent::InFlight { .. }))
            .count()
    }

    /// Chunks that were packed and never left.
    pub fn ready(&self) -> usize {
        self.held
            .iter()
            .filter(|held| held.sent == Sent::No)
            .count()
    }

    /// Whether a read may be asked for now.
    pub fn may_read(&self, now: Ms) -> bool {
        self.unread() > 0
            && self.due
            && self.reading.is_none()
            && self.rewind.is_none()
            && self.letters.is_none()
            && self.not_before <= now
            && self.ready() < 2
            && (self.held.is_empty() || self.barrier != Some(self.read_pos))
            && self.held.len() < REMEMBERED_BATCHES + 3
    }

    /// The chunk to send next on `link`.
    ///
    /// `idle_ms`: after so long without an answer the leader may have forgotten the producer.
    pub fn sendable(
        &self,
        link: LinkId,
        now: Ms,
        in_flight_max: usize,
        idle_ms: Ms,
    ) -> Option<usize> {
        if self.rewind.is_some() || self.letters.is_some() || self.not_before > now {
            return None;
        }
        let proven = self.identity.is_some() && self.proven_at.is_some_and(|at| now - at < idle_ms);
        let in_flight_max = if proven {
            in_flight_max.min(REMEMBERED_BATCHES)
        } else {
            1
        };
        if self.in_flight() >= in_flight_max {
            return None;
        }
        let elsewhere = |sent: Sent| matches!(sent, Sent::InFlight { link: on, .. } if on != link);
        if self.held.iter().any(|held| elsewhere(held.sent)) {
            return None;
        }
        self.held
            .iter()
            .position(|held| held.sent == Sent::No && held.chunk.batch.is_some())
    }

    /// Takes a packed chunk.
    pub fn hold(&mut self, chunk: Chunk, now: Ms) {
        self.read_pos = chunk.next;
        self.held.push_back(Held {
            chunk,
            sent: Sent::No,
            sequence: None,
            lost_answers: 0,
            perhaps_there: false,
            failed: 0,
            since: now,
        });
    }

    /// Marks a chunk as sent; its first sequence number under `self.identity`.
    pub fn mark_sent(&mut self, index: usize, link: LinkId, request: u64) -> i32 {
        let next = &mut self.next_sequence;
        let held = &mut self.held[index];
        held.sent = Sent::InFlight { link, request };
        let records = held.chunk.records() as i32;
        *held.sequence.get_or_insert_with(|| {
            let first = *next;
            *next = sequence_after(first, records);
            first
        })
    }

    /// The chunk that went out with a request.
    pub fn in_request(&mut self, request: u64) -> Option<&mut Held> {
        self.held
            .iter_mut()
            .find(|held| matches!(held.sent, Sent::InFlight { request: r, .. } if r == request))
    }

    /// Notes what must happen once nothing is in flight.
    pub fn rewind(&mut self, rewind: Rewind) {
        self.proven_at = None;
        self.renew |= rewind == Rewind::NewProducer;
        self.rewind = self.rewind.max(Some(rewind));
    }

    /// Carries a rewind out if nothing is in flight; true if a new producer id is needed.
    pub fn settle(&mut self) -> bool {
        if self.in_flight() > 0 {
            return false;
        }
        let Some(rewind) = self.rewind.take() else {
            return false;
        };
        let renew = std::mem::take(&mut self.renew);
        if renew {
            self.forget_identity();
        }
        renew
            | match rewind {
                Rewind::Resend | Rewind::NewProducer => false,
                Rewind::Resequence => self.next_epoch(),
                Rewind::Reread => self.drop_held(),
            }
    }

    /// Lets go of what was packed and never sent: its link is down and memory is for others.
    pub fn drop_read_ahead(&mut self) {
        let unsent = |held: &Held| held.sent == Sent::No && held.sequence.is_none();
        while self.held.back().is_some_and(unsent) {
            if let Some(held) = self.held.pop_back() {
                self.read_pos = held.chunk.from;
                self.due = true;
            }
        }
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
            self.due = true;
        }
    }

    /// Lets go of all chunks; they are read again from the last acknowledged offset.
    fn drop_held(&mut self) -> bool {
        let perhaps_there = self.held.iter().any(|held| held.perhaps_there);
        if let Some(sequence) = self.held.front().and_then(|held| held.sequence) {
            self.next_sequence = sequence;
        }
        self.held.clear();
        self.read_pos = self.forwarded;
        self.due = true;
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
        }
        perhaps_there && self.next_epoch()
    }

    /// Starts a new sequence under the next epoch, which central takes without a question.
    fn next_epoch(&mut self) -> bool {
        self.renumber();
        match &mut self.identity {
            Some(identity) if identity.epoch < i16::MAX - 1 => {
                identity.epoch += 1;
                false
            }
            _ => {
                self.forget_identity();
                true
            }
        }
    }

    /// Begins a sequence. Nothing is in flight: without identity batches go one at a time.
    pub fn adopt(&mut self, identity: Identity) {
        self.renumber();
        self.proven_at = None;
        self.identity = Some(identity);
    }

    pub fn forget_identity(&mut self) {
        self.identity = None;
        self.renumber();
    }

    /// All that is held gets new numbers; under those nothing of it can be there.
    fn renumber(&mut self) {
        self.next_sequence = 0;
        for held in &mut self.held {
            held.sequence = None;
            held.perhaps_there = false;
        }
    }

    /// Takes acknowledged chunks off the front; the new progress if it moved.
    pub fn advance(&mut self) -> Option<i64> {
        let before = self.forwarded;
        while let Some(front) = self.held.front() {
            // What an empty chunk leaves out may still be on its way to `_dead_letter`, or is to
            // be read again.
            let settled = self.letters.is_none() && self.rewind.is_none();
            let empty = front.chunk.batch.is_none() && settled;
            if front.sent != Sent::Acked && !empty {
                break;
            }
            self.forwarded = front.chunk.next;
            self.forwarded_records += u64::from(front.chunk.records());
            self.lost_records += front.chunk.unreadable;
            self.held.pop_front();
        }
        if self.forwarded == before {
            return None;
        }
        if self
            .skip
            .first()
            .is_some_and(|first| *first < self.forwarded)
        {
            let kept = Arc::make_mut(&mut self.skip).split_off(&self.forwarded);
            self.skip = Arc::new(kept);
        }
        Some(self.forwarded)
    }

    /// Notes that central took something: what held it back is over.
    pub fn note_success(&mut self, now: Ms) {
        self.proven_at = Some(now);
        self.failures = 0;
        self.failing_since = None;
        self.not_before = 0;
        self.chunk_records_max = self.chunk_records_max.saturating_mul(2);
    }

    /// Notes a refusal for now; how long it has been refused.
    pub fn note_failure(&mut self, now: Ms, wait: Ms) -> Ms {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
        now - *self.failing_since.get_or_insert(now)
    }
}

impl Estimate {
    /// Learns from what a read brought.
    pub fn learn(&mut self, stored_bytes: usize, packed_bytes: usize, records: u64) {
        if records == 0 || packed_bytes == 0 {
            return;
        }
        self.bytes_per_record = mix(self.bytes_per_record, packed_bytes as f64 / records as f64);
        let packing = (stored_bytes as f64 / packed_bytes as f64).clamp(0.25, 16.0);
        self.packing = mix(self.packing, packing);
    }

    /// Stored bytes to read for about `packed_bytes`.
    pub fn stored_for(&self, packed_bytes: usize) -> usize {
        (packed_bytes as f64 * self.packing) as usize
    }
}

fn mix(old: f64, new: f64) -> f64 {
    old * 0.5 + new * 0.5
}

/// Kafka's sequence numbers wrap at 2³¹ − 1 to 0.
pub(crate) fn sequence_after(first: i32, records: i32) -> i32 {
    let next = (i64::from(first) + i64::from(records)) % (i64::from(i32::MAX) + 1);
    next as i32
}
