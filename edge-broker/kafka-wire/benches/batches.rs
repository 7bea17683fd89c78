//! How fast batches are built, read and merged on one core: `cargo bench -p kafka-wire`.
//!
//! Payloads are 200 bytes of JSON as a gateway sees it, with a key and one header, and random
//! bytes of the same size. Each line is the best of several runs, in records per second of
//! processor time.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kafka_wire::protocol::{PartitionProduceData, ProduceRequest, TopicProduceData, request_frame};
use kafka_wire::{BatchBuilder, Bytes, Compression, Header, Merger, Producer, Record, RecordBatch};

const RECORDS: usize = 20_000;
const RUN: Duration = Duration::from_millis(300);
const RUNS: usize = 3;
const CAP: usize = 64 << 20;

fn main() {
    for (kind, records) in [("json", json()), ("random", random())] {
        println!("\n{kind}, {RECORDS} records of 200 B");
        builds(kind, &records);
        reads(kind, &records);
        merges(kind, &records);
    }
    sends(&json());
}

fn json() -> Vec<Record> {
    let mut rng = fastrand::Rng::with_seed(1);
    let value = |at: usize, rng: &mut fastrand::Rng| {
        let mut text = format!(
            "{{\"device\":\"press-{:04}\",\"seq\":{at},\"temperature\":{:.2},\"pressure\":{:.3},\
             \"rpm\":{},\"state\":\"running\",\"site\":\"plant-7/hall-3/line-2\",\
             \"firmware\":\"4.2.1\"",
            rng.u32(..50),
            20.0 + rng.f32() * 5.0,
            rng.f32(),
            rng.u32(900..1100)
        );
        while text.len() < 199 {
            text.push(' ');
        }
        text + "}"
    };
    (0..RECORDS)
        .map(|at| record(at, value(at, &mut rng).into()))
        .collect()
}

fn random() -> Vec<Record> {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut value = || std::iter::repeat_with(|| rng.u8(..)).take(200).collect();
    (0..RECORDS).map(|at| record(at, value())).collect()
}

fn record(at: usize, value: Bytes) -> Record {
    let topic = format!("plant-7/press-{:04}/telemetry", at % 50);
    Record {
        timestamp_ms: 1_790_000_000_000 + at as i64,
        key: Some(topic.into()),
        value: Some(value),
        headers: vec![Header {
            key: "mqtt.qos".into(),
            value: Some("1".into()),
        }],
    }
}

fn batches(records: &[Record], size: usize, codec: Compression) -> Vec<RecordBatch> {
    let mut builder = BatchBuilder::new(codec);
    let mut offset = 0;
    let build = |records: &[Record]| {
        records.iter().for_each(|record| builder.push(record));
        let batch = builder.build(offset, 0);
        offset = batch.next_offset();
        batch
    };
    records.chunks(size).map(build).collect()
}

fn builds(kind: &str, records: &[Record]) {
    for (size, codec) in [
        (1, Compression::None),
        (20, Compression::None),
        (1000, Compression::None),
        (20, Compression::Lz4),
        (1000, Compression::Lz4),
        (1000, Compression::Zstd),
        (1000, Compression::Snappy),
        (1000, Compression::Gzip),
    ] {
        let mut builder = BatchBuilder::new(codec);
        measure(&format!("{kind} build {size} {codec}"), || {
            for chunk in records.chunks(size) {
                chunk.iter().for_each(|record| builder.push(record));
                black_box(builder.build(7, 0));
            }
        });
    }
}

fn reads(kind: &str, records: &[Record]) {
    for (size, codec) in [
        (1, Compression::None),
        (1000, Compression::None),
        (20, Compression::Lz4),
        (1000, Compression::Lz4),
        (1000, Compression::Zstd),
    ] {
        let batches = batches(records, size, codec);
        measure(&format!("{kind} parse + crc {size} {codec}"), || {
            for batch in &batches {
                black_box(RecordBatch::parse(batch.bytes().clone()).unwrap());
            }
        });
        measure(&format!("{kind} records {size} {codec}"), || {
            for batch in &batches {
                batch
                    .records(CAP)
                    .unwrap()
                    .for_each(|record| drop(black_box(record)));
            }
        });
        measure(&format!("{kind} views {size} {codec}"), || {
            for batch in &batches {
                let plain = batch.decompress(CAP).unwrap();
                plain.views().for_each(|view| drop(black_box(view)));
            }
        });
    }
}

fn merges(kind: &str, records: &[Record]) {
    for (size, from, to) in [
        (1, Compression::None, Compression::None),
        (2, Compression::None, Compression::None),
        (1, Compression::None, Compression::Lz4),
        (1, Compression::None, Compression::Zstd),
        (20, Compression::Lz4, Compression::Zstd),
    ] {
        let batches = batches(records, size, from);
        let mut merger = Merger::new(to);
        let merge = |merger: &mut Merger| merger.merge(&batches, 1 << 20, CAP);
        let before: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
        let after: usize = merge(&mut merger)
            .iter()
            .map(|batch| batch.bytes().len())
            .sum();
        let name = format!("{kind} merge {size} {from} -> {to} ({before} -> {after} B)");
        measure(&name, || drop(black_box(merge(&mut merger))));
    }
}

fn sends(records: &[Record]) {
    println!("\nProduce frame with one batch of about 4 MB, stamped while it is copied");
    let records = Some(
        batches(records, RECORDS, Compression::None)[0]
            .bytes()
            .clone(),
    );
    let producer = Some(Producer {
        id: 1,
        epoch: 0,
        base_sequence: 5,
    });
    let partition_data = vec![PartitionProduceData {
        index: 0,
        records,
        producer,
    }];
    let topic = TopicProduceData {
        partition_data,
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        topic_data: vec![topic],
        ..ProduceRequest::default()
    };
    measure("produce frame", || {
        drop(black_box(request_frame(9, 1, None, &request).unwrap()))
    });
}

/// Runs `work`, which handles all records once, again and again; prints the best run.
fn measure(name: &str, mut work: impl FnMut()) {
    let best = (0..RUNS).map(|_| run(&mut work)).fold(0.0, f64::max);
    println!(
        "{name:<58} {:>9.2} M/s  {:>8.1} ns each",
        best / 1e6,
        1e9 / best
    );
}

/// Records per second of processor time over `RUN`.
fn run(work: &mut impl FnMut()) -> f64 {
    let (start, busy_before) = (Instant::now(), processor_time());
    let mut rounds = 0;
    while start.elapsed() < RUN {
        work();
        rounds += 1;
    }
    let busy = match (busy_before, processor_time()) {
        (Some(before), Some(after)) => after - before,
        _ => start.elapsed(),
    };
    (rounds * RECORDS) as f64 / busy.as_secs_f64()
}

/// What this thread has had of the processor, so that a busy machine does not count; Linux only.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ')
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}
