//! Hostile bytes allocate little and never panic: an allocator that counts watches every decoder.
//!
//! "Little" is a multiple of what was received, never of what was claimed. The bytes come from a
//! seed; a failure names it.
#![allow(unsafe_code, clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kafka_wire::protocol::{
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, FetchRequest, FetchResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse,
    ListOffsetsRequest, ListOffsetsResponse, Message, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, parse_request_header,
};
use kafka_wire::{BatchBuilder, Bytes, Compression, Record, RecordBatch};

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn grown(bytes: usize) {
    let live = LIVE.get().saturating_add(bytes);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes `work` had allocated at one time.
fn peak_bytes(work: impl FnOnce()) -> usize {
    LIVE.set(0);
    PEAK.set(0);
    work();
    PEAK.get()
}

/// A reader of one message in one version.
type Decode = fn(&mut Bytes, i16) -> bool;

fn decode<M: Message>(from: &mut Bytes, version: i16) -> bool {
    M::decode(from, version).is_ok()
}

const DECODERS: [(&str, Decode); 22] = [
    ("ApiVersionsRequest", decode::<ApiVersionsRequest>),
    ("ApiVersionsResponse", decode::<ApiVersionsResponse>),
    ("CreateTopicsRequest", decode::<CreateTopicsRequest>),
    ("CreateTopicsResponse", decode::<CreateTopicsResponse>),
    ("DescribeConfigsRequest", decode::<DescribeConfigsRequest>),
    ("DescribeConfigsResponse", decode::<DescribeConfigsResponse>),
    ("FetchRequest", decode::<FetchRequest>),
    ("FetchResponse", decode::<FetchResponse>),
    ("FindCoordinatorRequest", decode::<FindCoordinatorRequest>),
    ("FindCoordinatorResponse", decode::<FindCoordinatorResponse>),
    ("InitProducerIdRequest", decode::<InitProducerIdRequest>),
    ("InitProducerIdResponse", decode::<InitProducerIdResponse>),
    ("ListOffsetsRequest", decode::<ListOffsetsRequest>),
    ("ListOffsetsResponse", decode::<ListOffsetsResponse>),
    ("MetadataRequest", decode::<MetadataRequest>),
    ("MetadataResponse", decode::<MetadataResponse>),
    ("ProduceRequest", decode::<ProduceRequest>),
    ("ProduceResponse", decode::<ProduceResponse>),
    ("SaslAuthenticateRequest", decode::<SaslAuthenticateRequest>),
    (
        "SaslAuthenticateResponse",
        decode::<SaslAuthenticateResponse>,
    ),
    ("SaslHandshakeRequest", decode::<SaslHandshakeRequest>),
    ("SaslHandshakeResponse", decode::<SaslHandshakeResponse>),
];

/// Arrays reserve up to 1,024 elements before they are read, tags 40 bytes per byte left.
fn allowed_bytes(received: usize) -> usize {
    (2 << 20) + 128 * received
}

/// Bytes that look like lengths often enough to get deep into a decoder.
fn hostile_bytes(rng: &mut fastrand::Rng, bytes: usize) -> Bytes {
    let byte = |rng: &mut fastrand::Rng| match rng.u8(..10) {
        0..4 => 0,
        4..6 => rng.u8(..8),
        6 => 0xff,
        7 => 0x7f,
        _ => rng.u8(..),
    };
    (0..bytes).map(|_| byte(rng)).collect()
}

#[test]
fn hostile_bodies_allocate_by_what_was_received() {
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(..200);
        let body = hostile_bytes(&mut rng, size);
        let (name, decode) = DECODERS[rng.usize(..DECODERS.len())];
        let version = rng.i16(-1..20);
        let mut from = body.clone();
        let peak = peak_bytes(|| _ = decode(&mut from, version));
        let allowed = allowed_bytes(size);
        assert!(
            peak <= allowed,
            "seed {seed}, {name} {version}: {peak} bytes of {body:?}"
        );
    }
}

#[test]
fn the_largest_count_in_front_of_every_body_allocates_by_what_was_received() {
    let counts: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0, 0, 0x7f, 0xff, 0xff, 0xff],
    ];
    for (name, decode) in DECODERS {
        for version in 0..20 {
            for count in counts {
                for zeros in [0, 3, 100, 100_000] {
                    let body = [count, &vec![0; zeros][..]].concat();
                    let (size, mut from) = (body.len(), Bytes::from(body));
                    let peak = peak_bytes(|| _ = decode(&mut from, version));
                    assert!(
                        peak <= allowed_bytes(size),
                        "{name} {version} {size}: {peak}"
                    );
                }
            }
        }
    }
}

#[test]
fn hostile_headers_never_panic() {
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(..40);
        let mut header = hostile_bytes(&mut rng, size);
        let peak = peak_bytes(|| drop(parse_request_header(&mut header)));
        assert!(peak < 1 << 16, "seed {seed}: {peak}");
    }
}

#[test]
fn hostile_records_allocate_by_what_was_received_and_what_the_cap_allows() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&Record::default());
    let head = builder.build(0, 0).bytes()[..61].to_vec();
    let cap_bytes = 64 << 10;
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(..300);
        let payload = hostile_bytes(&mut rng, size);
        let mut bytes = [&head[..], &payload[..]].concat();
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = rng.u8(..5);
        bytes[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
        bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        let batch = RecordBatch::parse_stored(bytes.into()).unwrap();
        let peak = peak_bytes(|| {
            if let Ok(records) = batch.records(cap_bytes) {
                records.for_each(drop);
            }
        });
        // The codecs' own tables, then twice the cap while a vector grows.
        assert!(
            peak <= (512 << 10) + 2 * cap_bytes,
            "seed {seed}: {peak} bytes"
        );
    }
}

#[test]
fn a_bomb_is_refused_within_the_cap() {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = Some(Bytes::from(vec![0; 100 << 20]));
    builder.push(&Record {
        value,
        ..Record::default()
    });
    let plain = builder.build(0, 0);
    for codec in Compression::ALL.into_iter().skip(1) {
        let mut builder = BatchBuilder::new(codec);
        let (_, record) = plain.records(usize::MAX).unwrap().next().unwrap().unwrap();
        builder.push(&record);
        let bomb = builder.build(0, 0);
        assert!(bomb.bytes().len() < plain.bytes().len() / 20, "{codec}");
        let cap_bytes = 1 << 20;
        let mut refused = false;
        let peak = peak_bytes(|| refused = bomb.records(cap_bytes).is_err());
        assert!(refused, "{codec}");
        assert!(peak <= (512 << 10) + 2 * cap_bytes, "{codec}: {peak} bytes");
    }
}

/// Two bytes on the wire became 64 in memory, for each of a million headers.
#[test]
fn a_record_of_a_million_empty_headers_is_refused_before_it_takes_memory() {
    let header = kafka_wire::Header::default();
    let mut builder = BatchBuilder::new(Compression::Lz4);
    builder.push(&Record {
        headers: vec![header; 1_000_000],
        ..Record::default()
    });
    let batch = builder.build(0, 0);
    let peak = peak_bytes(|| {
        let mut records = batch.records(32 << 20).unwrap();
        assert!(records.next().is_some_and(|record| record.is_err()));
    });
    assert!(peak < 8 << 20, "{peak} bytes");
}
