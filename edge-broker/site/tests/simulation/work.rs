//! What clients ask for, and how it ended. Every record has an id of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_site::{
    AckLevel, AppendRequest, Appended, Compression, Header, Record, Refused, TopicPartition,
};
use kafka_wire::BatchBuilder;

/// How a request ended, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Open,
    /// There, at these offsets.
    Acked(Vec<i64>),
    /// Not there, for sure.
    Refused(Refused),
    /// There once or not at all.
    Unknown,
}

/// One request: the partition of each of its records, in order.
#[derive(Clone, Debug)]
pub struct Asked {
    pub partitions: Vec<TopicPartition>,
    pub end: End,
    /// The world's time.
    pub at_ms: u64,
    /// Which node took it.
    pub node: usize,
}

/// All requests of a run.
#[derive(Default)]
pub struct Work {
    pub asked: BTreeMap<u64, Asked>,
    /// The world's time: milliseconds that really passed.
    pub now_ms: u64,
    next: u64,
}

/// The id of a record: request and place in it.
pub fn record(request: u64, place: usize, filler: usize) -> Record {
    let text = format!("{request}:{place}:{}", "x".repeat(filler));
    // Clients stamp what they like.
    let timestamp_ms = match request % 10 {
        0 => 0,
        1 => 9_000_000_000_000,
        _ => 1_800_000_000_000 + request as i64,
    };
    Record {
        timestamp_ms,
        key: Some(Bytes::from(format!("k{}", request % 7))),
        value: Some(Bytes::from(text)),
        headers: vec![Header {
            key: Bytes::from_static(b"h"),
            value: None,
        }],
    }
}

/// Reads the id back.
pub fn id_of(record: &Record) -> (u64, usize) {
    let value = record.value.clone().unwrap();
    let text = std::str::from_utf8(&value).unwrap();
    let mut parts = text.split(':');
    (
        parts.next().unwrap().parse().unwrap(),
        parts.next().unwrap().parse().unwrap(),
    )
}

impl Work {
    /// A new request of some records to some of the partitions.
    pub fn ask(
        &mut self,
        rng: &mut fastrand::Rng,
        node: usize,
        partitions: &[TopicPartition],
    ) -> (u64, AppendRequest) {
        self.next += 1;
        let id = self.next;
        let count = if rng.u8(..4) == 0 {
            rng.usize(1..20)
        } else {
            1
        };
        let as_batches = rng.u8(..5) == 0;
        let level = if rng.u8(..10) == 0 {
            AckLevel::Memory
        } else {
            AckLevel::Disk
        };
        let filler = if rng.u8(..8) == 0 {
            rng.usize(..3000)
        } else {
            rng.usize(..60)
        };
        let mut of_record = Vec::new();
        let mut request = AppendRequest::records(Vec::new(), level);
        request.relaxed = rng.u8(..10) == 0;
        for place in 0..count {
            let tp = partitions[rng.usize(..partitions.len())];
            of_record.push(tp);
            let record = record(id, place, filler);
            if as_batches {
                let mut builder = BatchBuilder::new(Compression::None);
                builder.push(&record);
                request.batches.push((tp, builder.build(0, 0)));
            } else {
                request.items.push((tp, record));
            }
        }
        let asked = Asked {
            partitions: of_record,
            end: End::Open,
            at_ms: self.now_ms,
            node,
        };
        self.asked.insert(id, asked);
        (id, request)
    }

    /// A ticket was spent.
    pub fn spent(&mut self, id: u64, outcome: Result<Appended, Refused>) {
        let asked = self.asked.get_mut(&id).unwrap();
        assert_eq!(asked.end, End::Open, "request {id} ended twice");
        asked.end = match outcome {
            // In memory only: it may be lost with the process.
            Ok(appended) if appended.level == AckLevel::Memory => End::Unknown,
            Ok(appended) => {
                assert_eq!(appended.offsets.len(), asked.partitions.len());
                End::Acked(appended.offsets)
            }
            Err(Refused::Unknown) => End::Unknown,
            Err(refused) => End::Refused(refused),
        };
    }

    /// A node died: nobody knows about what it had taken.
    pub fn node_died(&mut self, node: usize) {
        let open = self
            .asked
            .values_mut()
            .filter(|a| a.node == node && a.end == End::Open);
        open.for_each(|asked| asked.end = End::Unknown);
    }

    /// Acked records of a partition: request, when it was asked for, offset.
    pub fn acked_in(&self, tp: TopicPartition) -> impl Iterator<Item = (u64, u64, i64)> + '_ {
        self.asked.iter().flat_map(move |(&id, asked)| {
            let offsets = match &asked.end {
                End::Acked(offsets) => offsets.as_slice(),
                _ => &[],
            };
            let places = asked.partitions.iter().zip(offsets);
            let there = places.filter(move |(at, _)| **at == tp);
            there.map(move |(_, &offset)| (id, asked.at_ms, offset))
        })
    }

    /// Requests without an outcome.
    pub fn open(&self) -> usize {
        self.asked
            .values()
            .filter(|asked| asked.end == End::Open)
            .count()
    }
}
