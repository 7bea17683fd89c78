//! Frames come back as they went in, and nothing else is taken for one.
#![allow(clippy::unwrap_used)]

use super::*;

fn header() -> FrameHeader {
    FrameHeader {
        level: FRAME_LEVEL,
        proposer_term: 3,
        store_id: 4,
        first_intake: 5,
        site_time_ms: -6,
        boot_id: 7,
        boot_ms: 8,
    }
}

fn sample() -> (Vec<Item>, Bytes) {
    let partition = TopicPartition {
        topic: crate::TopicId::from_u128(9),
        partition: 2,
    };
    let items = vec![
        Item::Batch {
            partition,
            batch: Bytes::from_static(b"records"),
        },
        Item::Control(Bytes::from_static(b"")),
        Item::Batch {
            partition,
            batch: Bytes::from_static(b"more"),
        },
    ];
    let mut builder = FrameBuilder::new(&header());
    for item in &items {
        match item {
            Item::Batch { partition, batch } => builder.push_batch(*partition, batch),
            Item::Control(control) => builder.push_control(control),
        }
    }
    (items, builder.finish())
}

#[test]
fn a_frame_comes_back_as_it_went_in() {
    let (items, data) = sample();
    let frame = Frame::decode(data).unwrap();
    assert_eq!(frame.header(), header());
    assert_eq!(frame.items().collect::<Vec<_>>(), items);
}

#[test]
fn no_prefix_of_a_frame_adds_an_item() {
    let (items, data) = sample();
    for len in 0..data.len() {
        if let Ok(frame) = Frame::decode(data.slice(..len)) {
            let found: Vec<_> = frame.items().collect();
            assert!(
                found.len() < items.len() && items.starts_with(&found),
                "{len}"
            );
        }
    }
}

#[test]
fn unknown_levels_and_items_are_named() {
    let (_, data) = sample();
    let mut newer = data.to_vec();
    newer[0] = 2;
    assert_eq!(
        Frame::decode(newer.into()).unwrap_err(),
        FrameError::Level(2)
    );
    let mut unknown = data.to_vec();
    unknown[FRAME_HEADER_BYTES] = 77;
    assert_eq!(
        Frame::decode(unknown.into()).unwrap_err(),
        FrameError::Item(77)
    );
}
