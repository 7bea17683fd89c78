//! The messages this project speaks, each request tied to its API number and its response.

use bytes::{Bytes, BytesMut};
use kacrab_protocol::generated as wire;

pub use super::fetch::{
    AbortedTransaction, CurrentLeader, FetchNodeEndpoint, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
pub use super::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use super::{ApiKey, ProtocolError};

/// A message body that can be written and read in any version the API has.
pub trait Message: Sized {
    /// Bytes `encode` will write.
    ///
    /// # Errors
    /// For versions the API does not have and strings longer than their length field.
    fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError>;

    /// Appends the body.
    ///
    /// # Errors
    /// For versions the API does not have and strings longer than their length field.
    fn encode(&self, to: &mut BytesMut, version: i16) -> Result<(), ProtocolError>;

    /// Reads the body; strings and byte fields are slices of `from`.
    ///
    /// # Errors
    /// When the bytes do not follow the schema.
    fn decode(from: &mut Bytes, version: i16) -> Result<Self, ProtocolError>;
}

/// A request: its API and the response it gets.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// Versions this build can write and read, both ends included.
    const VERSIONS: (i16, i16);
    /// What answers it.
    type Response: Message;
}

/// Above this size a generated request is refused before it is read.
///
/// The generated readers reserve 40 bytes per byte that is left where tagged fields are announced,
/// and a small element becomes a large structure; so their input must be small. Ours to receive
/// are. `Produce` and the answer to `Fetch` are written by hand and have no such limit.
pub const REQUEST_BYTES_MAX: usize = 512 << 10;
/// Above this size a generated response is refused before it is read: 40,000 partitions in an
/// answer to `Metadata`.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Re-exports a generated struct under Kafka's name and makes it a `Message`.
macro_rules! message {
    ($bytes_max:ident: $($module:ident :: $data:ident as $name:ident,)*) => {$(
        pub use wire::$module::$data as $name;

        impl Message for $name {
            fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError> {
                Ok(Self::encoded_len(self, version)?)
            }

            fn encode(&self, to: &mut BytesMut, version: i16) -> Result<(), ProtocolError> {
                Ok(Self::write(self, to, version)?)
            }

            fn decode(from: &mut Bytes, version: i16) -> Result<Self, ProtocolError> {
                if from.len() > $bytes_max {
                    let (size, frame_bytes_max) = (from.len() as i64, $bytes_max);
                    return Err(ProtocolError::FrameSize { size, frame_bytes_max });
                }
                Ok(Self::read(from, version)?)
            }
        }
    )*};
}

/// Ties requests to their API, versions and response.
macro_rules! request {
    ($($request:ident = $key:ident $min:literal..=$max:literal => $response:ident;)*) => {$(
        impl Request for $request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSIONS: (i16, i16) = ($min, $max);
            type Response = $response;
        }
    )*};
}

message! { REQUEST_BYTES_MAX:
    api_versions_request::ApiVersionsRequestData as ApiVersionsRequest,
    metadata_request::MetadataRequestData as MetadataRequest,
    fetch_request::FetchRequestData as FetchRequest,
    list_offsets_request::ListOffsetsRequestData as ListOffsetsRequest,
    init_producer_id_request::InitProducerIdRequestData as InitProducerIdRequest,
    create_topics_request::CreateTopicsRequestData as CreateTopicsRequest,
    describe_configs_request::DescribeConfigsRequestData as DescribeConfigsRequest,
    find_coordinator_request::FindCoordinatorRequestData as FindCoordinatorRequest,
    sasl_handshake_request::SaslHandshakeRequestData as SaslHandshakeRequest,
    sasl_authenticate_request::SaslAuthenticateRequestData as SaslAuthenticateRequest,
}

message! { RESPONSE_BYTES_MAX:
    api_versions_response::ApiVersionsResponseData as ApiVersionsResponse,
    metadata_response::MetadataResponseData as MetadataResponse,
    produce_response::ProduceResponseData as ProduceResponse,
    list_offsets_response::ListOffsetsResponseData as ListOffsetsResponse,
    init_producer_id_response::InitProducerIdResponseData as InitProducerIdResponse,
    create_topics_response::CreateTopicsResponseData as CreateTopicsResponse,
    describe_configs_response::DescribeConfigsResponseData as DescribeConfigsResponse,
    find_coordinator_response::FindCoordinatorResponseData as FindCoordinatorResponse,
    sasl_handshake_response::SaslHandshakeResponseData as SaslHandshakeResponse,
    sasl_authenticate_response::SaslAuthenticateResponseData as SaslAuthenticateResponse,
}

request! {
    ApiVersionsRequest = ApiVersions 0..=4 => ApiVersionsResponse;
    MetadataRequest = Metadata 0..=13 => MetadataResponse;
    ProduceRequest = Produce 3..=13 => ProduceResponse;
    FetchRequest = Fetch 4..=18 => FetchResponse;
    ListOffsetsRequest = ListOffsets 1..=11 => ListOffsetsResponse;
    InitProducerIdRequest = InitProducerId 0..=6 => InitProducerIdResponse;
    CreateTopicsRequest = CreateTopics 2..=7 => CreateTopicsResponse;
    DescribeConfigsRequest = DescribeConfigs 1..=4 => DescribeConfigsResponse;
    FindCoordinatorRequest = FindCoordinator 0..=6 => FindCoordinatorResponse;
    SaslHandshakeRequest = SaslHandshake 0..=1 => SaslHandshakeResponse;
    SaslAuthenticateRequest = SaslAuthenticate 0..=2 => SaslAuthenticateResponse;
}

pub use wire::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
pub use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
pub use wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
pub use wire::describe_configs_request::DescribeConfigsResource;
pub use wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
pub use wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
pub use wire::find_coordinator_response::Coordinator;
pub use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
pub use wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
pub use wire::metadata_request::MetadataRequestTopic;
pub use wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
pub use wire::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};

#[cfg(test)]
mod tests;
