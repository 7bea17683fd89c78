//! Messages with every field of their version filled, different for each seed.

use super::*;
use crate::protocol::{KafkaString, KafkaUuid};
use kacrab_protocol::generated::fetch_request::ReplicaState;

/// Draws fields; `since` and `until` leave out what a version does not have.
pub(super) struct Sampler {
    version: i16,
    rng: fastrand::Rng,
}

/// A message that can be drawn.
pub(super) trait Sample {
    fn sample(s: &mut Sampler) -> Self;
}

impl Sampler {
    pub(super) fn new(version: i16, seed: u64) -> Self {
        Self {
            version,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn since<T: Default>(&mut self, version: i16, draw: impl FnOnce(&mut Self) -> T) -> T {
        self.since_else(version, T::default(), draw)
    }

    fn since_else<T>(&mut self, version: i16, absent: T, draw: impl FnOnce(&mut Self) -> T) -> T {
        if self.version >= version {
            draw(self)
        } else {
            absent
        }
    }

    fn until<T: Default>(&mut self, version: i16, draw: impl FnOnce(&mut Self) -> T) -> T {
        if self.version <= version {
            draw(self)
        } else {
            T::default()
        }
    }

    fn list<T>(&mut self, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.rng.usize(..4)).map(|_| draw(self)).collect()
    }

    fn option<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.rng.bool() {
            Some(draw(self))
        } else {
            None
        }
    }

    fn string(&mut self) -> KafkaString {
        let long = if self.rng.u8(..20) == 0 { 200 } else { 6 };
        let letters = self.rng.usize(..long);
        let text: String = (0..letters).map(|_| self.rng.alphanumeric()).collect();
        KafkaString::from(text + self.rng.choice(["", "-ü", "/°C"]).unwrap())
    }

    fn some_string(&mut self) -> Option<KafkaString> {
        self.option(Self::string)
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.rng.usize(..300);
        std::iter::repeat_with(|| self.rng.u8(..))
            .take(length)
            .collect()
    }

    fn uuid(&mut self) -> KafkaUuid {
        KafkaUuid::from_parts(self.rng.u64(..), self.rng.u64(..))
    }

    fn i8(&mut self) -> i8 {
        self.rng.i8(..)
    }

    fn i16(&mut self) -> i16 {
        self.rng.i16(..)
    }

    fn i32(&mut self) -> i32 {
        self.rng.i32(..)
    }

    fn i64(&mut self) -> i64 {
        self.rng.i64(..)
    }

    fn bool(&mut self) -> bool {
        self.rng.bool()
    }
}

impl Sample for ApiVersionsRequest {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            client_software_name: s.since(3, Sampler::string),
            client_software_version: s.since(3, Sampler::string),
            ..Self::default()
        }
    }
}

impl Sample for ApiVersionsResponse {
    fn sample(s: &mut Sampler) -> Self {
        let api = |s: &mut Sampler| ApiVersion {
            api_key: s.i16(),
            min_version: s.i16(),
            max_version: s.i16(),
            ..ApiVersion::default()
        };
        Self {
            error_code: s.i16(),
            api_keys: s.list(api),
            throttle_time_ms: s.since(1, Sampler::i32),
            finalized_features_epoch: s.since_else(3, -1, Sampler::i64),
            ..Self::default()
        }
    }
}

impl Sample for MetadataRequest {
    fn sample(s: &mut Sampler) -> Self {
        let topic = |s: &mut Sampler| MetadataRequestTopic {
            topic_id: s.since(10, Sampler::uuid),
            name: Some(s.string()),
            ..MetadataRequestTopic::default()
        };
        let all = s.version >= 1 && s.bool();
        let cluster_operations = (8..=10).contains(&s.version) && s.bool();
        Self {
            topics: if all { None } else { Some(s.list(topic)) },
            allow_auto_topic_creation: s.since_else(4, true, Sampler::bool),
            include_cluster_authorized_operations: cluster_operations,
            include_topic_authorized_operations: s.since(8, Sampler::bool),
            ..Self::default()
        }
    }
}

impl Sample for MetadataResponse {
    fn sample(s: &mut Sampler) -> Self {
        let broker = |s: &mut Sampler| MetadataResponseBroker {
            node_id: s.i32(),
            host: s.string(),
            port: s.i32(),
            rack: s.since(1, Sampler::some_string),
            ..MetadataResponseBroker::default()
        };
        let cluster_operations = (8..=10).contains(&s.version);
        Self {
            throttle_time_ms: s.since(3, Sampler::i32),
            brokers: s.list(broker),
            cluster_id: s.since(2, Sampler::some_string),
            controller_id: s.since_else(1, -1, Sampler::i32),
            topics: s.list(metadata_topic),
            cluster_authorized_operations: if cluster_operations {
                s.i32()
            } else {
                i32::MIN
            },
            error_code: s.since(13, Sampler::i16),
            ..Self::default()
        }
    }
}

fn metadata_topic(s: &mut Sampler) -> MetadataResponseTopic {
    let partition = |s: &mut Sampler| MetadataResponsePartition {
        error_code: s.i16(),
        partition_index: s.i32(),
        leader_id: s.i32(),
        leader_epoch: s.since_else(7, -1, Sampler::i32),
        replica_nodes: s.list(Sampler::i32),
        isr_nodes: s.list(Sampler::i32),
        offline_replicas: s.since(5, |s| s.list(Sampler::i32)),
        ..MetadataResponsePartition::default()
    };
    MetadataResponseTopic {
        error_code: s.i16(),
        name: Some(s.string()),
        topic_id: s.since(10, Sampler::uuid),
        is_internal: s.since(1, Sampler::bool),
        partitions: s.list(partition),
        topic_authorized_operations: s.since_else(8, i32::MIN, Sampler::i32),
        ..MetadataResponseTopic::default()
    }
}

impl Sample for ProduceRequest {
    fn sample(s: &mut Sampler) -> Self {
        let partition = |s: &mut Sampler| PartitionProduceData {
            index: s.i32(),
            records: s.option(Sampler::bytes),
            producer: None,
        };
        let topic = |s: &mut Sampler| TopicProduceData {
            name: s.until(12, Sampler::string),
            topic_id: s.since(13, Sampler::uuid),
            partition_data: s.list(partition),
        };
        Self {
            transactional_id: s.some_string(),
            acks: s.i16(),
            timeout_ms: s.i32(),
            topic_data: s.list(topic),
        }
    }
}

impl Sample for ProduceResponse {
    fn sample(s: &mut Sampler) -> Self {
        let topic = |s: &mut Sampler| TopicProduceResponse {
            name: s.until(12, Sampler::string),
            topic_id: s.since(13, Sampler::uuid),
            partition_responses: s.list(produce_partition),
            ..TopicProduceResponse::default()
        };
        let endpoint = |s: &mut Sampler| NodeEndpoint {
            node_id: s.i32(),
            host: s.string(),
            port: s.i32(),
            rack: s.some_string(),
            ..NodeEndpoint::default()
        };
        Self {
            responses: s.list(topic),
            throttle_time_ms: s.i32(),
            node_endpoints: s.since(10, |s| s.list(endpoint)),
            ..Self::default()
        }
    }
}

fn produce_partition(s: &mut Sampler) -> PartitionProduceResponse {
    let record_error = |s: &mut Sampler| BatchIndexAndErrorMessage {
        batch_index: s.i32(),
        batch_index_error_message: s.some_string(),
        ..BatchIndexAndErrorMessage::default()
    };
    let leader = |s: &mut Sampler| LeaderIdAndEpoch {
        leader_id: s.i32(),
        leader_epoch: s.i32(),
        ..LeaderIdAndEpoch::default()
    };
    PartitionProduceResponse {
        index: s.i32(),
        error_code: s.i16(),
        base_offset: s.i64(),
        log_append_time_ms: s.i64(),
        log_start_offset: s.since_else(5, -1, Sampler::i64),
        record_errors: s.since(8, |s| s.list(record_error)),
        error_message: s.since(8, Sampler::some_string),
        current_leader: s.since(10, leader),
        ..PartitionProduceResponse::default()
    }
}

impl Sample for FetchRequest {
    fn sample(s: &mut Sampler) -> Self {
        let replica_state = ReplicaState {
            replica_id: s.i32(),
            replica_epoch: s.i64(),
            ..ReplicaState::default()
        };
        let forgotten = |s: &mut Sampler| ForgottenTopic {
            topic: s.until(12, Sampler::string),
            topic_id: s.since(13, Sampler::uuid),
            partitions: s.list(Sampler::i32),
            ..ForgottenTopic::default()
        };
        Self {
            replica_id: if s.version <= 14 { s.i32() } else { -1 },
            replica_state: s.since(15, |_| replica_state),
            max_wait_ms: s.i32(),
            min_bytes: s.i32(),
            max_bytes: s.i32(),
            isolation_level: s.i8(),
            session_id: s.since(7, Sampler::i32),
            session_epoch: s.since_else(7, -1, Sampler::i32),
            topics: s.list(fetch_topic),
            forgotten_topics_data: s.since(7, |s| s.list(forgotten)),
            rack_id: s.since(11, Sampler::string),
            ..Self::default()
        }
    }
}

fn fetch_topic(s: &mut Sampler) -> FetchTopic {
    let partition = |s: &mut Sampler| FetchPartition {
        partition: s.i32(),
        current_leader_epoch: s.since_else(9, -1, Sampler::i32),
        fetch_offset: s.i64(),
        last_fetched_epoch: s.since_else(12, -1, Sampler::i32),
        log_start_offset: s.since_else(5, -1, Sampler::i64),
        partition_max_bytes: s.i32(),
        ..FetchPartition::default()
    };
    FetchTopic {
        topic: s.until(12, Sampler::string),
        topic_id: s.since(13, Sampler::uuid),
        partitions: s.list(partition),
        ..FetchTopic::default()
    }
}

impl Sample for FetchResponse {
    fn sample(s: &mut Sampler) -> Self {
        let topic = |s: &mut Sampler| FetchableTopicResponse {
            topic: s.until(12, Sampler::string),
            topic_id: s.since(13, Sampler::uuid),
            partitions: s.list(fetched_partition),
        };
        let endpoint = |s: &mut Sampler| FetchNodeEndpoint {
            node_id: s.i32(),
            host: s.string(),
            port: s.i32(),
            rack: s.some_string(),
        };
        Self {
            throttle_time_ms: s.i32(),
            error_code: s.since(7, Sampler::i16),
            session_id: s.since(7, Sampler::i32),
            responses: s.list(topic),
            node_endpoints: s.since(16, |s| s.list(endpoint)),
        }
    }
}

fn fetched_partition(s: &mut Sampler) -> PartitionData {
    let aborted = |s: &mut Sampler| AbortedTransaction {
        producer_id: s.i64(),
        first_offset: s.i64(),
    };
    let leader = |s: &mut Sampler| CurrentLeader {
        leader_id: s.i32(),
        leader_epoch: s.i32(),
    };
    PartitionData {
        partition_index: s.i32(),
        error_code: s.i16(),
        high_watermark: s.i64(),
        last_stable_offset: s.i64(),
        log_start_offset: s.since_else(5, -1, Sampler::i64),
        current_leader: s.since(12, |s| s.option(leader)),
        aborted_transactions: s.option(|s| s.list(aborted)),
        preferred_read_replica: s.since_else(11, -1, Sampler::i32),
        records: s.option(Sampler::bytes),
    }
}

impl Sample for ListOffsetsRequest {
    fn sample(s: &mut Sampler) -> Self {
        let partition = |s: &mut Sampler| ListOffsetsPartition {
            partition_index: s.i32(),
            current_leader_epoch: s.since_else(4, -1, Sampler::i32),
            timestamp: s.i64(),
            ..ListOffsetsPartition::default()
        };
        let topic = |s: &mut Sampler| ListOffsetsTopic {
            name: s.string(),
            partitions: s.list(partition),
            ..ListOffsetsTopic::default()
        };
        Self {
            replica_id: s.i32(),
            isolation_level: s.since(2, Sampler::i8),
            topics: s.list(topic),
            timeout_ms: s.since(10, Sampler::i32),
            ..Self::default()
        }
    }
}

impl Sample for ListOffsetsResponse {
    fn sample(s: &mut Sampler) -> Self {
        let partition = |s: &mut Sampler| ListOffsetsPartitionResponse {
            partition_index: s.i32(),
            error_code: s.i16(),
            timestamp: s.i64(),
            offset: s.i64(),
            leader_epoch: s.since_else(4, -1, Sampler::i32),
            ..ListOffsetsPartitionResponse::default()
        };
        let topic = |s: &mut Sampler| ListOffsetsTopicResponse {
            name: s.string(),
            partitions: s.list(partition),
            ..ListOffsetsTopicResponse::default()
        };
        Self {
            throttle_time_ms: s.since(2, Sampler::i32),
            topics: s.list(topic),
            ..Self::default()
        }
    }
}

impl Sample for InitProducerIdRequest {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            transactional_id: s.some_string(),
            transaction_timeout_ms: s.i32(),
            producer_id: s.since_else(3, -1, Sampler::i64),
            producer_epoch: s.since_else(3, -1, Sampler::i16),
            ..Self::default()
        }
    }
}

impl Sample for InitProducerIdResponse {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            throttle_time_ms: s.i32(),
            error_code: s.i16(),
            producer_id: s.i64(),
            producer_epoch: s.i16(),
            ..Self::default()
        }
    }
}

impl Sample for CreateTopicsRequest {
    fn sample(s: &mut Sampler) -> Self {
        let assignment = |s: &mut Sampler| CreatableReplicaAssignment {
            partition_index: s.i32(),
            broker_ids: s.list(Sampler::i32),
            ..CreatableReplicaAssignment::default()
        };
        let config = |s: &mut Sampler| CreatableTopicConfig {
            name: s.string(),
            value: s.some_string(),
            ..CreatableTopicConfig::default()
        };
        let topic = |s: &mut Sampler| CreatableTopic {
            name: s.string(),
            num_partitions: s.i32(),
            replication_factor: s.i16(),
            assignments: s.list(assignment),
            configs: s.list(config),
            ..CreatableTopic::default()
        };
        Self {
            topics: s.list(topic),
            timeout_ms: s.i32(),
            validate_only: s.bool(),
            ..Self::default()
        }
    }
}

impl Sample for CreateTopicsResponse {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            throttle_time_ms: s.i32(),
            topics: s.list(created_topic),
            ..Self::default()
        }
    }
}

fn created_topic(s: &mut Sampler) -> CreatableTopicResult {
    let config = |s: &mut Sampler| CreatableTopicConfigs {
        name: s.string(),
        value: s.some_string(),
        read_only: s.bool(),
        config_source: s.i8(),
        is_sensitive: s.bool(),
        ..CreatableTopicConfigs::default()
    };
    CreatableTopicResult {
        name: s.string(),
        topic_id: s.since(7, Sampler::uuid),
        error_code: s.i16(),
        error_message: s.some_string(),
        num_partitions: s.since_else(5, -1, Sampler::i32),
        replication_factor: s.since_else(5, -1, Sampler::i16),
        configs: s.since(5, |s| s.option(|s| s.list(config))),
        ..CreatableTopicResult::default()
    }
}

impl Sample for DescribeConfigsRequest {
    fn sample(s: &mut Sampler) -> Self {
        let resource = |s: &mut Sampler| DescribeConfigsResource {
            resource_type: s.i8(),
            resource_name: s.string(),
            configuration_keys: s.option(|s| s.list(Sampler::string)),
            ..DescribeConfigsResource::default()
        };
        Self {
            resources: s.list(resource),
            include_synonyms: s.bool(),
            include_documentation: s.since(3, Sampler::bool),
            ..Self::default()
        }
    }
}

impl Sample for DescribeConfigsResponse {
    fn sample(s: &mut Sampler) -> Self {
        let result = |s: &mut Sampler| DescribeConfigsResult {
            error_code: s.i16(),
            error_message: s.some_string(),
            resource_type: s.i8(),
            resource_name: s.string(),
            configs: s.list(described_config),
            ..DescribeConfigsResult::default()
        };
        Self {
            throttle_time_ms: s.i32(),
            results: s.list(result),
            ..Self::default()
        }
    }
}

fn described_config(s: &mut Sampler) -> DescribeConfigsResourceResult {
    let synonym = |s: &mut Sampler| DescribeConfigsSynonym {
        name: s.string(),
        value: s.some_string(),
        source: s.i8(),
        ..DescribeConfigsSynonym::default()
    };
    DescribeConfigsResourceResult {
        name: s.string(),
        value: s.some_string(),
        read_only: s.bool(),
        config_source: s.i8(),
        is_sensitive: s.bool(),
        synonyms: s.list(synonym),
        config_type: s.since(3, Sampler::i8),
        documentation: s.since(3, Sampler::some_string),
        ..DescribeConfigsResourceResult::default()
    }
}

impl Sample for FindCoordinatorRequest {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            key: s.until(3, Sampler::string),
            key_type: s.since(1, Sampler::i8),
            coordinator_keys: s.since(4, |s| s.list(Sampler::string)),
            ..Self::default()
        }
    }
}

impl Sample for FindCoordinatorResponse {
    fn sample(s: &mut Sampler) -> Self {
        let coordinator = |s: &mut Sampler| Coordinator {
            key: s.string(),
            node_id: s.i32(),
            host: s.string(),
            port: s.i32(),
            error_code: s.i16(),
            error_message: s.some_string(),
            ..Coordinator::default()
        };
        let message = (1..=3)
            .contains(&s.version)
            .then(|| s.some_string())
            .flatten();
        Self {
            throttle_time_ms: s.since(1, Sampler::i32),
            error_code: s.until(3, Sampler::i16),
            error_message: message,
            node_id: s.until(3, Sampler::i32),
            host: s.until(3, Sampler::string),
            port: s.until(3, Sampler::i32),
            coordinators: s.since(4, |s| s.list(coordinator)),
            ..Self::default()
        }
    }
}

impl Sample for SaslHandshakeRequest {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            mechanism: s.string(),
            ..Self::default()
        }
    }
}

impl Sample for SaslHandshakeResponse {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            error_code: s.i16(),
            mechanisms: s.list(Sampler::string),
            ..Self::default()
        }
    }
}

impl Sample for SaslAuthenticateRequest {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            auth_bytes: s.bytes(),
            ..Self::default()
        }
    }
}

impl Sample for SaslAuthenticateResponse {
    fn sample(s: &mut Sampler) -> Self {
        Self {
            error_code: s.i16(),
            error_message: s.some_string(),
            auth_bytes: s.bytes(),
            session_lifetime_ms: s.since(1, Sampler::i64),
            ..Self::default()
        }
    }
}
