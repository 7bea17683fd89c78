//! A producer's conversation, frame by frame.

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use kafka_wire::protocol::{
    ApiVersionsRequest, CreatableTopic, CreateTopicsRequest, DescribeConfigsRequest,
    DescribeConfigsResource, ErrorCode, InitProducerIdRequest, MetadataRequest,
    MetadataRequestTopic, PartitionProduceData, ProduceRequest, Request, TopicProduceData,
    parse_response, request_frame,
};
use kafka_wire::{BatchBuilder, Compression, Record};

use super::{Cluster, string};

/// Sends a request of that version and reads the answer.
fn ask<R: Request>(cluster: &mut Cluster, version: i16, request: &R) -> R::Response {
    let answer = send(cluster, version, request).unwrap().unwrap();
    let (correlation_id, response) = parse_response::<R>(version, answer).unwrap();
    assert_eq!(correlation_id, 5);
    response
}

fn send<R: Request>(
    cluster: &mut Cluster,
    version: i16,
    request: &R,
) -> Result<Option<Bytes>, super::Hangup> {
    let mut frame = request_frame(version, 5, Some("test"), request)
        .unwrap()
        .freeze();
    frame.advance(4);
    let address = SocketAddr::from(([127, 0, 0, 1], 4_000));
    let answer = cluster.handle(frame, address, 0)?;
    Ok(answer.map(|bytes| bytes.freeze().slice(4..)))
}

fn create(cluster: &mut Cluster, name: &str, num_partitions: i32) -> i16 {
    let topic = CreatableTopic {
        name: string(name),
        num_partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        ..CreateTopicsRequest::default()
    };
    ask(cluster, 5, &request).topics[0].error_code
}

fn metadata(cluster: &mut Cluster, name: &str) -> (i16, usize) {
    let topic = MetadataRequestTopic {
        name: Some(string(name)),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..MetadataRequest::default()
    };
    let response = ask(cluster, 9, &request);
    assert_eq!(response.brokers[0].port, 4_000);
    (
        response.topics[0].error_code,
        response.topics[0].partitions.len(),
    )
}

fn produce(name: &str, acks: i16) -> ProduceRequest {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&Record::default());
    let data = PartitionProduceData {
        index: 0,
        records: Some(builder.build(0, -1).bytes().clone()),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: string(name),
        partition_data: vec![data],
        ..TopicProduceData::default()
    };
    ProduceRequest {
        acks,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

#[test]
fn a_topic_is_unknown_until_it_is_created() {
    let mut cluster = Cluster::default();
    assert_eq!(
        metadata(&mut cluster, "t"),
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, 0)
    );
    assert_eq!(create(&mut cluster, "t", 3), 0);
    assert_eq!(metadata(&mut cluster, "t"), (0, 3));
    assert_eq!(
        create(&mut cluster, "t", 3),
        ErrorCode::TOPIC_ALREADY_EXISTS.0
    );
    assert_eq!(
        create(&mut cluster, "a/b", 3),
        ErrorCode::INVALID_TOPIC_EXCEPTION.0
    );
}

#[test]
fn records_go_into_topics_that_exist() {
    let mut cluster = Cluster::default();
    let refused = ask(&mut cluster, 9, &produce("t", -1));
    let refused = &refused.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    create(&mut cluster, "t", 1);
    for offset in 0..3 {
        let taken = ask(&mut cluster, 9, &produce("t", -1));
        let taken = &taken.responses[0].partition_responses[0];
        assert_eq!((taken.error_code, taken.base_offset), (0, offset));
    }
    assert_eq!(cluster.refusals.len(), 1);
}

#[test]
fn a_producer_that_wants_no_answer_gets_none() {
    let mut cluster = Cluster::default();
    create(&mut cluster, "t", 1);
    assert!(send(&mut cluster, 9, &produce("t", 0)).unwrap().is_none());
    assert_eq!(cluster.topics["t"].partitions[0].records.len(), 1);
}

#[test]
fn producer_ids_differ_and_transactions_are_not_allowed() {
    let mut cluster = Cluster::default();
    let idempotent = InitProducerIdRequest::default();
    let first = ask(&mut cluster, 4, &idempotent).producer_id;
    assert_ne!(first, ask(&mut cluster, 4, &idempotent).producer_id);
    let transactional = InitProducerIdRequest {
        transactional_id: Some(string("x")),
        ..InitProducerIdRequest::default()
    };
    let error = ask(&mut cluster, 4, &transactional).error_code;
    assert_eq!(error, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0);
}

#[test]
fn a_topic_tells_its_largest_batch() {
    let mut cluster = Cluster::default();
    create(&mut cluster, "t", 1);
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: string("t"),
        configuration_keys: Some(vec![string("max.message.bytes")]),
        ..DescribeConfigsResource::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..DescribeConfigsRequest::default()
    };
    let response = ask(&mut cluster, 4, &request);
    let values: Vec<_> = response.results[0]
        .configs
        .iter()
        .map(|c| c.value.clone())
        .collect();
    assert_eq!(values, [Some(string("1048588"))]);
}

#[test]
fn versions_are_told_and_others_end_the_connection() {
    let mut cluster = Cluster::default();
    let told = ask(&mut cluster, 3, &ApiVersionsRequest::default());
    assert!(
        told.api_keys
            .iter()
            .any(|api| (api.api_key, api.max_version) == (0, 11))
    );
    assert!(send(&mut cluster, 12, &produce("t", -1)).is_err());
}
