//! Field by field against `kafka-protocol`, and what happens to a batch on its way into a frame.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::ProduceRequest as TheirRequest;
use kafka_protocol::protocol::Decodable;

use super::*;
use crate::protocol::primitives::ELEMENTS_MAX;
use crate::protocol::{parse_request_header, request_frame, split_frame};
use crate::{BatchBuilder, Compression, Record, RecordBatch};

fn batch() -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&Record {
        value: Some(Bytes::from_static(b"21.5")),
        ..Record::default()
    });
    builder.push(&Record {
        value: Some(Bytes::from_static(b"21.6")),
        ..Record::default()
    });
    builder.build(40_000, 12)
}

fn request(producer: Option<Producer>) -> ProduceRequest {
    let records = Some(batch().into_bytes());
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: KafkaString::from_static("sensors"),
            topic_id: KafkaUuid::from_parts(1, 2),
            partition_data: vec![PartitionProduceData {
                index: 3,
                records,
                producer,
            }],
        }],
    }
}

#[test]
fn the_other_library_finds_each_field_where_we_put_it() {
    for version in 3..=13 {
        let mut body = BytesMut::new();
        request(None).encode(&mut body, version).unwrap();
        let theirs = TheirRequest::decode(&mut body.freeze(), version).unwrap();
        assert_eq!((theirs.acks, theirs.timeout_ms), (-1, 30_000));
        let topic = &theirs.topic_data[0];
        if version >= 13 {
            assert_eq!(topic.topic_id.as_u64_pair(), (1, 2));
        } else {
            assert_eq!(topic.name.0.as_str(), "sensors");
        }
        assert_eq!(topic.partition_data[0].index, 3);
        assert_eq!(
            topic.partition_data[0].records.as_ref(),
            Some(batch().bytes())
        );
    }
}

#[test]
fn the_copy_in_the_frame_is_stamped_and_the_stored_batch_is_not() {
    let producer = Producer {
        id: 9,
        epoch: 2,
        base_sequence: 700,
    };
    let request = request(Some(producer));
    let mut frame = request_frame(9, 77, Some("gateway"), &request).unwrap();
    let mut frame = split_frame(&mut frame, 1 << 20).unwrap().unwrap();
    let header = parse_request_header(&mut frame).unwrap();
    assert_eq!(
        (header.api_key, header.api_version, header.correlation_id),
        (0, 9, 77)
    );
    let read = ProduceRequest::decode(&mut frame, 9).unwrap();
    let records = read.topic_data[0].partition_data[0]
        .records
        .clone()
        .unwrap();
    let sent = RecordBatch::parse(records).unwrap();
    assert_eq!(
        (sent.base_offset(), sent.header().partition_leader_epoch),
        (0, -1)
    );
    assert_eq!(sent.header().producer(), producer);
    assert_eq!(
        request.topic_data[0].partition_data[0].records,
        Some(batch().into_bytes())
    );
}

#[test]
fn the_frame_is_made_in_one_piece_of_the_right_size() {
    for version in 3..=13 {
        let request = request(Some(Producer::NONE));
        let frame = request_frame(version, 1, Some("gateway"), &request).unwrap();
        let spare = frame.capacity() - frame.len();
        assert!(
            spare < 16,
            "version {version}: grown while writing, or {spare} bytes too many"
        );
    }
}

#[test]
fn a_producer_on_bytes_that_are_no_batch_is_refused() {
    let mut request = request(Some(Producer::NONE));
    request.topic_data[0].partition_data[0].records = Some(Bytes::from_static(b"short"));
    let refused = request.encode(&mut BytesMut::new(), 9);
    assert!(
        matches!(refused, Err(ProtocolError::Malformed(_))),
        "{refused:?}"
    );
}

#[test]
fn a_frame_of_nothing_but_elements_is_refused() {
    // acks, timeout, a count, then topics of three bytes each: no name, no partition, no tag.
    let count = ELEMENTS_MAX + 1;
    let mut body = vec![0, 0, 1, 0, 0, 0, 1, 0x82, 0x80, 0x04];
    body.extend(std::iter::repeat_n([1, 1, 0], count).flatten());
    body.push(0);
    let refused = ProduceRequest::decode(&mut Bytes::from(body), 9);
    let Err(ProtocolError::Malformed(what)) = refused else {
        panic!("{refused:?}")
    };
    assert!(what.contains("65536"), "{what}");
}

#[test]
fn tagged_fields_we_do_not_know_are_passed_over() {
    let mut body = BytesMut::new();
    request(None).encode(&mut body, 9).unwrap();
    let end = body.len() - 1;
    body.truncate(end);
    body.extend_from_slice(&[2, 5, 3, b'a', b'b', b'c', 9, 0]);
    assert_eq!(
        ProduceRequest::decode(&mut body.freeze(), 9)
            .unwrap()
            .topic_data
            .len(),
        1
    );
}
