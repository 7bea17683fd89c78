//! The stand-in's topics and its answers, request by request.
//!
//! Pure: a frame and the wall clock in, a frame out. Speaks what a producer needs (ApiVersions,
//! Metadata, InitProducerId, CreateTopics, DescribeConfigs, Produce); any other request closes the
//! connection, as Kafka does with a version it does not know.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kafka_wire::protocol::{
    ApiKey, ApiVersion, ApiVersionsRequest, ApiVersionsResponse, CreatableTopic,
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, ErrorCode, InitProducerIdRequest, InitProducerIdResponse, KafkaString,
    KafkaUuid, Message, MetadataRequest, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, ProtocolError, Request,
    RequestHeader, TopicProduceResponse, parse_request_header, response_frame,
};

use super::partition::{Appended, MESSAGE_BYTES_MAX, Partition};

/// Requests it takes: key, lowest and highest version.
const APIS: [(ApiKey, i16, i16); 6] = [
    (ApiKey::Produce, 0, 11), // below 3 only announced, as Kafka does for old clients
    (ApiKey::Metadata, 0, 12),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
];
const PRODUCE_VERSION_MIN: i16 = 3;
const NODE_ID: i32 = 1;
const TOPICS_MAX: usize = 1_000;
const PARTITIONS_MAX: i32 = 64;

/// Everything the stand-in holds.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// Records refused, with the reason, newest last.
    pub refusals: Vec<(ErrorCode, String)>,
    producers: i64,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    id: KafkaUuid,
    /// By number.
    pub partitions: Vec<Partition>,
}

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub struct Hangup(pub String);

impl From<ProtocolError> for Hangup {
    fn from(error: ProtocolError) -> Hangup {
        Hangup(error.to_string())
    }
}

type Answer = Result<Option<BytesMut>, Hangup>;

impl Cluster {
    /// Answers one request that came to `address`; none where the request wants no answer.
    pub fn handle(&mut self, mut frame: Bytes, address: SocketAddr, now_ms: i64) -> Answer {
        let header = parse_request_header(&mut frame)?;
        let unknown = || {
            Hangup(format!(
                "request {} of version {}",
                header.api_key, header.api_version
            ))
        };
        let api = APIS
            .into_iter()
            .find(|(key, ..)| *key as i16 == header.api_key);
        let (key, min, max) = api.ok_or_else(unknown)?;
        if key == ApiKey::ApiVersions {
            return self.api_versions(&header);
        }
        let min = if key == ApiKey::Produce {
            PRODUCE_VERSION_MIN
        } else {
            min
        };
        if !(min..=max).contains(&header.api_version) {
            return Err(unknown());
        }
        match key {
            ApiKey::Metadata => answer(&header, frame, |request| {
                self.metadata(&header, &request, address)
            }),
            ApiKey::CreateTopics => answer(&header, frame, |request| self.create_topics(request)),
            ApiKey::InitProducerId => answer(&header, frame, |request| self.producer(&request)),
            ApiKey::DescribeConfigs => {
                answer(&header, frame, |request| self.describe_configs(request))
            }
            _ => self.produce(&header, frame, now_ms),
        }
    }

    /// KIP-511: an unknown version is answered in version 0 with an error and the list.
    fn api_versions(&self, header: &RequestHeader) -> Answer {
        let known = (0..=4).contains(&header.api_version);
        let error = if known {
            ErrorCode::NONE
        } else {
            ErrorCode::UNSUPPORTED_VERSION
        };
        let row = |(key, min_version, max_version): (ApiKey, i16, i16)| ApiVersion {
            api_key: key as i16,
            min_version,
            max_version,
            ..ApiVersion::default()
        };
        let response = ApiVersionsResponse {
            error_code: error.0,
            api_keys: APIS.into_iter().map(row).collect(),
            ..ApiVersionsResponse::default()
        };
        let version = if known { header.api_version } else { 0 };
        let id = header.correlation_id;
        Ok(Some(response_frame::<ApiVersionsRequest>(
            version, id, &response,
        )?))
    }

    fn metadata(
        &self,
        header: &RequestHeader,
        request: &MetadataRequest,
        address: SocketAddr,
    ) -> MetadataResponse {
        let all = || self.topics.keys().cloned().collect();
        let names: Vec<String> = match &request.topics {
            None => all(),
            Some(topics) if topics.is_empty() && header.api_version == 0 => all(),
            Some(topics) => topics
                .iter()
                .map(|topic| {
                    topic
                        .name
                        .as_ref()
                        .map_or(String::new(), |name| name.to_string())
                })
                .collect(),
        };
        let broker = MetadataResponseBroker {
            node_id: NODE_ID,
            host: string(&address.ip().to_string()),
            port: i32::from(address.port()),
            ..MetadataResponseBroker::default()
        };
        MetadataResponse {
            brokers: vec![broker],
            cluster_id: Some(string("edge-broker-demo-stand")),
            controller_id: NODE_ID,
            topics: names.iter().map(|name| self.describe(name)).collect(),
            ..MetadataResponse::default()
        }
    }

    fn describe(&self, name: &str) -> MetadataResponseTopic {
        let mut described = MetadataResponseTopic {
            name: Some(string(name)),
            ..MetadataResponseTopic::default()
        };
        let Some(topic) = self.topics.get(name) else {
            described.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            return described;
        };
        described.topic_id = topic.id;
        described.partitions = (0..topic.partitions.len() as i32)
            .map(|partition_index| MetadataResponsePartition {
                partition_index,
                leader_id: NODE_ID,
                leader_epoch: 0,
                replica_nodes: vec![NODE_ID],
                isr_nodes: vec![NODE_ID],
                ..MetadataResponsePartition::default()
            })
            .collect();
        described
    }

    fn create_topics(&mut self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let validate_only = request.validate_only;
        let create = |topic: CreatableTopic| {
            let outcome = self.create_topic(&topic, validate_only);
            let partitions = self
                .topics
                .get(topic.name.as_str())
                .map(|topic| topic.partitions.len());
            CreatableTopicResult {
                error_code: outcome.err().unwrap_or(ErrorCode::NONE).0,
                topic_id: outcome.unwrap_or(KafkaUuid::ZERO),
                num_partitions: partitions.unwrap_or(0) as i32,
                replication_factor: 1,
                name: topic.name,
                ..CreatableTopicResult::default()
            }
        };
        CreateTopicsResponse {
            topics: request.topics.into_iter().map(create).collect(),
            ..CreateTopicsResponse::default()
        }
    }

    fn create_topic(&mut self, topic: &CreatableTopic, dry: bool) -> Result<KafkaUuid, ErrorCode> {
        let name = topic.name.as_str();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 249 || !name.bytes().all(legal) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if self.topics.contains_key(name) {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        let partitions = match topic.num_partitions {
            -1 => 1,
            count @ 1..=PARTITIONS_MAX => count,
            _ => return Err(ErrorCode::INVALID_PARTITIONS),
        };
        if !matches!(topic.replication_factor, -1 | 1) {
            return Err(ErrorCode::INVALID_REPLICATION_FACTOR);
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let id = KafkaUuid::from_parts(
            0x6564_6765_0000_4000,
            0x8000_0000_0000_0001 + self.topics.len() as u64,
        );
        if !dry {
            let partitions = (0..partitions).map(|_| Partition::default()).collect();
            self.topics
                .insert(name.to_owned(), Topic { id, partitions });
        }
        Ok(id)
    }

    fn producer(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        if request.transactional_id.is_some() {
            return InitProducerIdResponse {
                error_code: ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0,
                ..InitProducerIdResponse::default()
            };
        }
        self.producers += 1;
        InitProducerIdResponse {
            producer_id: 1_000 + self.producers,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        }
    }

    fn describe_configs(&self, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
        let describe = |resource: DescribeConfigsResource| self.describe_config(resource);
        DescribeConfigsResponse {
            results: request.resources.into_iter().map(describe).collect(),
            ..DescribeConfigsResponse::default()
        }
    }

    fn describe_config(&self, resource: DescribeConfigsResource) -> DescribeConfigsResult {
        const TOPIC: i8 = 2;
        let known = resource.resource_type != TOPIC
            || self.topics.contains_key(resource.resource_name.as_str());
        let error = if known {
            ErrorCode::NONE
        } else {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        };
        let wanted = |name: &str| {
            let keys = resource.configuration_keys.as_ref();
            keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
        };
        let configs = [
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("message.timestamp.type", "CreateTime".to_owned()),
            ("cleanup.policy", "delete".to_owned()),
        ];
        let config = |(name, value): (&str, String)| DescribeConfigsResourceResult {
            name: string(name),
            value: Some(string(&value)),
            config_source: 5,
            ..DescribeConfigsResourceResult::default()
        };
        let shown = configs
            .into_iter()
            .filter(|(name, _)| known && wanted(name));
        DescribeConfigsResult {
            error_code: error.0,
            configs: shown.map(config).collect(),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..DescribeConfigsResult::default()
        }
    }

    fn produce(&mut self, header: &RequestHeader, mut frame: Bytes, now_ms: i64) -> Answer {
        let request = ProduceRequest::decode(&mut frame, header.api_version)?;
        let acks = request.acks;
        let mut response = ProduceResponse::default();
        for topic in request.topic_data {
            let name = topic.name.to_string();
            let partitions = topic.partition_data.into_iter();
            let partition_responses = partitions
                .map(|data| self.produce_partition(&name, data, acks, now_ms))
                .collect();
            response.responses.push(TopicProduceResponse {
                name: topic.name,
                partition_responses,
                ..TopicProduceResponse::default()
            });
        }
        if acks == 0 {
            return Ok(None);
        }
        let id = header.correlation_id;
        Ok(Some(response_frame::<ProduceRequest>(
            header.api_version,
            id,
            &response,
        )?))
    }

    fn produce_partition(
        &mut self,
        topic: &str,
        data: PartitionProduceData,
        acks: i16,
        now_ms: i64,
    ) -> PartitionProduceResponse {
        let index = data.index;
        let outcome = self.append(topic, data, acks, now_ms);
        if let Err(error) = outcome {
            self.refusals.push((error, format!("{topic}[{index}]")));
        }
        let offset = outcome.map_or(-1, |(Appended::New(offset) | Appended::Again(offset))| {
            offset
        });
        PartitionProduceResponse {
            index,
            error_code: outcome.err().unwrap_or(ErrorCode::NONE).0,
            base_offset: offset,
            log_append_time_ms: -1,
            log_start_offset: 0,
            ..PartitionProduceResponse::default()
        }
    }

    fn append(
        &mut self,
        topic: &str,
        data: PartitionProduceData,
        acks: i16,
        now_ms: i64,
    ) -> Result<Appended, ErrorCode> {
        if !matches!(acks, -1..=1) {
            return Err(ErrorCode::INVALID_REQUIRED_ACKS);
        }
        let topic = self.topics.get_mut(topic);
        let at = usize::try_from(data.index).unwrap_or(usize::MAX);
        let partition = topic
            .and_then(|topic| topic.partitions.get_mut(at))
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.append(data.records.unwrap_or_default(), now_ms)
    }
}

fn answer<R: Request>(
    header: &RequestHeader,
    mut frame: Bytes,
    handle: impl FnOnce(R) -> R::Response,
) -> Answer {
    let response = handle(R::decode(&mut frame, header.api_version)?);
    let id = header.correlation_id;
    Ok(Some(response_frame::<R>(
        header.api_version,
        id,
        &response,
    )?))
}

fn string(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

#[cfg(test)]
mod tests;
