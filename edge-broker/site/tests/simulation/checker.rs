//! What was promised, checked against what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Reader, Store};
use edge_site::TopicPartition;
use edge_site::core::SiteCore;
use edge_site::{CommittedFrame, Marks};
use kafka_wire::RecordBatch;

use crate::node::RETENTION_MS;
use crate::work::{End, Work, id_of, record};

/// Where each record, by request and place in it, is found.
type Found = BTreeMap<(u64, usize), Vec<(TopicPartition, i64)>>;

/// Everything that was ever shown as committed.
#[derive(Default)]
pub struct Checker {
    /// Partition and base offset to batch bytes: an offset never shows two values.
    shown: HashMap<(TopicPartition, i64), Bytes>,
    /// Raft index to term, for committed frames.
    frames: HashMap<u64, u64>,
    /// Term to the node that led it.
    leaders: HashMap<u64, usize>,
    /// Highest marks ever seen: start, committed end.
    marks: HashMap<(usize, TopicPartition), Marks>,
    /// Elections seen.
    pub elections: u64,
    /// Of each partition the highest start that was asked for.
    trimmed: HashMap<TopicPartition, i64>,
    /// Of each partition the highest progress that was told.
    forwarded: HashMap<TopicPartition, i64>,
    /// The only partition whose records expire within a run.
    expiring: Option<TopicPartition>,
    /// Some disk had little room: what central has may go before its time.
    pub room_was_short: bool,
    /// Requests that were acked and of which records went by retention.
    pub expired: BTreeSet<u64>,
}

impl Checker {
    /// A frame was shown as committed by some node.
    pub fn committed(&mut self, frame: &CommittedFrame) {
        let term = *self.frames.entry(frame.index).or_insert(frame.term);
        assert_eq!(term, frame.term, "index {} committed twice", frame.index);
        for (tp, batch) in &frame.batches {
            let shown = self.shown.entry((*tp, batch.base_offset()));
            let shown = shown.or_insert_with(|| batch.bytes().clone());
            assert_eq!(
                shown,
                batch.bytes(),
                "{tp:?} offset {} changed",
                batch.base_offset()
            );
        }
    }

    /// A node leads.
    pub fn leads(&mut self, node: usize, term: u64) {
        let known = self.leaders.entry(term).or_insert_with(|| {
            self.elections += 1;
            node
        });
        assert_eq!(*known, node, "two leaders in term {term}");
    }

    /// A node shows these marks.
    pub fn marks(&mut self, node: usize, tp: TopicPartition, marks: Marks, work: &Work) {
        let first = Marks {
            start: 0,
            committed_end: 0,
            end: 0,
            forwarded: marks.forwarded.map(|_| 0),
        };
        let known = *self.marks.entry((node, tp)).or_insert(first);
        assert!(marks.start >= known.start, "start of {tp:?} went back");
        if marks.start > known.start {
            self.went(tp, known.start..marks.start, work);
        }
        assert!(
            marks.committed_end >= known.committed_end,
            "end of {tp:?} went back"
        );
        assert!(
            marks.forwarded >= known.forwarded,
            "forwarded of {tp:?} went back"
        );
        self.marks.insert((node, tp), marks);
    }

    /// Somebody does not need records below this any more.
    pub fn trim(&mut self, tp: TopicPartition, start: i64) {
        let known = self.trimmed.entry(tp).or_default();
        *known = start.max(*known);
    }

    /// Central has everything below this.
    pub fn progress(&mut self, tp: TopicPartition, offset: i64) {
        let known = self.forwarded.entry(tp).or_default();
        *known = offset.max(*known);
    }

    /// This partition's records expire.
    pub fn expires(&mut self, tp: TopicPartition) {
        self.expiring = Some(tp);
    }

    /// Acked records are only gone if somebody asked for it, if they are older than their topic
    /// allows, or if room was short and central has them. What clocks show does not matter.
    fn went(&mut self, tp: TopicPartition, offsets: Range<i64>, work: &Work) {
        let not_needed = self.trimmed.get(&tp).copied().unwrap_or(0);
        let forwarded = self.forwarded.get(&tp).copied().unwrap_or(0);
        let given = if self.room_was_short { forwarded } else { 0 };
        for (id, at_ms, offset) in work.acked_in(tp) {
            if !offsets.contains(&offset) || offset < not_needed.max(given) {
                continue;
            }
            let age_ms = work.now_ms - at_ms;
            assert!(
                self.expiring == Some(tp) && age_ms >= RETENTION_MS,
                "acked record {id} at {tp:?} {offset} went at the age of {age_ms} ms"
            );
            self.expired.insert(id);
        }
    }

    /// A node of several came back: what it knew of commits may be older than what it showed.
    pub fn restarted(&mut self, node: usize) {
        self.marks.retain(|(other, _), _| *other != node);
    }

    /// Reads everything a node has below its committed ends, and compares with what was promised.
    /// Returns how many acked records compaction took.
    pub fn check_node(&self, core: &SiteCore<u64>, store: &Store<MemDisk>, work: &Work) -> u64 {
        let lost = core.alarms().find(|a| a.message.contains("the disk lost"));
        assert!(lost.is_none(), "nothing was lost: {lost:?}");
        let mut compacted = 0;
        let newest = |found: &Found| {
            let records = found
                .iter()
                .flat_map(|(&(id, _), at)| at.iter().map(move |at| (id, at)));
            let mut newest: BTreeMap<(TopicPartition, Option<Bytes>), i64> = BTreeMap::new();
            for (id, &(tp, offset)) in records {
                let at = newest.entry((tp, record(id, 0, 0).key)).or_insert(offset);
                *at = offset.max(*at);
            }
            newest
        };
        let found = self.read_all(core, &store.reader());
        let newest = newest(&found);
        for (&id, asked) in &work.asked {
            for (place, tp) in asked.partitions.iter().enumerate() {
                let Some(marks) = core.marks(*tp) else {
                    continue;
                };
                let at = found.get(&(id, place)).map_or(&[][..], Vec::as_slice);
                assert!(
                    at.len() <= 1,
                    "record {id}:{place} is there {} times: {at:?}",
                    at.len()
                );
                match &asked.end {
                    End::Acked(offsets) if offsets[place] < marks.start => {}
                    End::Acked(offsets) if at.is_empty() && compacts(core, *tp) => {
                        let (offset, key) = (offsets[place], record(id, 0, 0).key);
                        let newer = newest
                            .get(&(*tp, key))
                            .is_some_and(|newest| *newest > offset);
                        assert!(
                            newer,
                            "acked record {id}:{place} of {tp:?} at {offset} is gone"
                        );
                        let forwarded = marks.forwarded.unwrap_or(i64::MAX);
                        assert!(
                            offset < forwarded,
                            "record {id}:{place} is gone before central"
                        );
                        compacted += 1;
                    }
                    End::Acked(offsets) => {
                        let expected = (*tp, offsets[place]);
                        assert_eq!(at, [expected], "acked record {id}:{place}, {marks:?}");
                    }
                    End::Refused(refused) => {
                        assert!(
                            at.is_empty(),
                            "refused ({refused}) record {id}:{place}: {at:?}"
                        );
                    }
                    End::Open | End::Unknown => {}
                }
            }
        }
        compacted
    }

    fn read_all(&self, core: &SiteCore<u64>, reader: &Reader<MemDisk>) -> Found {
        let mut found = Found::new();
        for topic in core.topics().iter() {
            for partition in 0..topic.partitions {
                let tp = topic.partition(partition);
                let marks = core.marks(tp).unwrap();
                let compacts = compacts(core, tp);
                let mut next = marks.start;
                while next < marks.committed_end {
                    let batches = reader.read(tp, next, 50_000).unwrap();
                    assert!(
                        !batches.is_empty(),
                        "{tp:?} ends at {next}, marks {marks:?}"
                    );
                    for batch in batches
                        .iter()
                        .filter(|b| b.base_offset() < marks.committed_end)
                    {
                        let gap = batch.base_offset() > next;
                        assert!(!gap || compacts, "{tp:?} has a gap at {next}");
                        if let Some(shown) = self.shown.get(&(tp, batch.base_offset())) {
                            let same = shown == batch.bytes() || compacts && is_part(batch, shown);
                            assert!(same, "{tp:?} {next} is not as shown");
                        }
                        for record in batch.records(1 << 24).unwrap() {
                            let (offset, record) = record.unwrap();
                            if offset >= marks.start {
                                found.entry(id_of(&record)).or_default().push((tp, offset));
                            }
                        }
                        next = batch.next_offset();
                    }
                }
                assert_eq!(next.max(marks.start), marks.committed_end.max(marks.start));
            }
        }
        found
    }
}

fn compacts(core: &SiteCore<u64>, tp: TopicPartition) -> bool {
    let topics = core.topics();
    let topic = topics.by_id(tp.topic);
    topic.is_some_and(|topic| topic.config.cleanup_policy.compacts())
}

/// A batch with some of the records of another, and the same place in its partition.
fn is_part(batch: &RecordBatch, of: &Bytes) -> bool {
    let of = RecordBatch::parse_stored(of.clone()).unwrap();
    let records = |batch: &RecordBatch| -> Vec<_> {
        let records = batch.records(1 << 24).unwrap();
        records.map(Result::unwrap).collect()
    };
    let whole = records(&of);
    batch.next_offset() == of.next_offset()
        && records(batch).iter().all(|record| whole.contains(record))
}
