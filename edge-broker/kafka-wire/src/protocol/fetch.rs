//! The answer to Fetch: like Produce it carries megabytes, so it is written by hand.
//!
//! A client gets slices of the frame it received; a server copies batches once, into the frame.
//! What only replicas read (diverging epoch, snapshot id) is passed over and never written.
//!
//! Versions 4 to 18: flexible from 12 on, topics by id from 13 on.

use bytes::{Bytes, BytesMut};

use super::primitives::{Measure, Reader, Writer};
use super::{ApiKey, KafkaString, KafkaUuid, Message, ProtocolError};

/// Batches of the partitions asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchResponse {
    /// How long the client is asked to hold back.
    pub throttle_time_ms: i32,
    /// Error of the whole request, from version 7 on.
    pub error_code: i16,
    /// Fetch session, 0 = none; from version 7 on.
    pub session_id: i32,
    /// The topics.
    pub responses: Vec<FetchableTopicResponse>,
    /// Where the new leaders named in the partitions are, from version 16 on.
    pub node_endpoints: Vec<FetchNodeEndpoint>,
}

/// What was fetched of one topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchableTopicResponse {
    /// Name, up to version 12.
    pub topic: KafkaString,
    /// Id, from version 13 on.
    pub topic_id: KafkaUuid,
    /// The partitions.
    pub partitions: Vec<PartitionData>,
}

/// What was fetched of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionData {
    /// Partition.
    pub partition_index: i32,
    /// Error, 0 = none.
    pub error_code: i16,
    /// Offset after the last committed record.
    pub high_watermark: i64,
    /// Offset after the last record that belongs to no open transaction.
    pub last_stable_offset: i64,
    /// First offset, from version 5 on.
    pub log_start_offset: i64,
    /// Who leads instead, if the error says so; from version 12 on.
    pub current_leader: Option<CurrentLeader>,
    /// Transactions among the records that were aborted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Replica to read from, -1 = the leader; from version 11 on.
    pub preferred_read_replica: i32,
    /// Batches one behind the other; `RecordBatch::split_first` takes them apart. The last may be
    /// cut short.
    pub records: Option<Bytes>,
}

/// A leader and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Broker.
    pub leader_id: i32,
    /// Epoch.
    pub leader_epoch: i32,
}

/// An aborted transaction: its producer's records from this offset on do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

/// Address of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchNodeEndpoint {
    /// Broker.
    pub node_id: i32,
    /// Host.
    pub host: KafkaString,
    /// Port.
    pub port: i32,
    /// Rack.
    pub rack: Option<KafkaString>,
}

impl Default for PartitionData {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: 0,
            last_stable_offset: -1,
            log_start_offset: -1,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: None,
        }
    }
}

/// Tags: of the response, of a partition.
const NODE_ENDPOINTS_TAG: u32 = 0;
const CURRENT_LEADER_TAG: u32 = 1;

fn is_flexible(version: i16) -> bool {
    version >= 12
}

fn check_version(version: i16) -> Result<(), ProtocolError> {
    if (4..=18).contains(&version) {
        return Ok(());
    }
    Err(ProtocolError::UnsupportedVersion {
        api_key: ApiKey::Fetch as i16,
        version,
    })
}

impl Message for FetchResponse {
    fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError> {
        check_version(version)?;
        let measure = Measure {
            flexible: is_flexible(version),
        };
        let head = if version >= 7 { 10 } else { 4 };
        let topics: usize = self
            .responses
            .iter()
            .map(|each| each.encoded_len(version))
            .sum();
        let tags = match self.endpoints_tag(version)? {
            Some(endpoints) => measure.tagged(NODE_ENDPOINTS_TAG, endpoints.len()),
            None => measure.tags(),
        };
        Ok(head + measure.length(self.responses.len(), 4) + topics + tags)
    }

    fn encode(&self, to: &mut BytesMut, version: i16) -> Result<(), ProtocolError> {
        check_version(version)?;
        let mut to = Writer {
            bytes: to,
            flexible: is_flexible(version),
        };
        to.i32(self.throttle_time_ms);
        if version >= 7 {
            to.i16(self.error_code);
            to.i32(self.session_id);
        }
        to.array(&self.responses, |to, topic| topic.encode(to, version))?;
        match self.endpoints_tag(version)? {
            Some(endpoints) => to.tagged(NODE_ENDPOINTS_TAG, &endpoints),
            None => to.no_tags(),
        }
        Ok(())
    }

    fn decode(from: &mut Bytes, version: i16) -> Result<Self, ProtocolError> {
        check_version(version)?;
        let mut from = Reader::new(from, is_flexible(version));
        let mut response = Self {
            throttle_time_ms: from.i32()?,
            ..Self::default()
        };
        if version >= 7 {
            response.error_code = from.i16()?;
            response.session_id = from.i32()?;
        }
        response.responses = from.array(|from| FetchableTopicResponse::decode(from, version))?;
        from.tags(|tag, from| {
            if tag == NODE_ENDPOINTS_TAG && version >= 16 {
                response.node_endpoints = from.array(FetchNodeEndpoint::decode)?;
            }
            Ok(())
        })?;
        Ok(response)
    }
}

impl FetchResponse {
    fn endpoints_tag(&self, version: i16) -> Result<Option<BytesMut>, ProtocolError> {
        if self.node_endpoints.is_empty() || version < 16 {
            return Ok(None);
        }
        let mut bytes = BytesMut::new();
        let mut to = Writer {
            bytes: &mut bytes,
            flexible: true,
        };
        to.array(&self.node_endpoints, |to, endpoint| endpoint.encode(to))?;
        Ok(Some(bytes))
    }
}

impl FetchableTopicResponse {
    fn encoded_len(&self, version: i16) -> usize {
        let measure = Measure {
            flexible: is_flexible(version),
        };
        let name = if version >= 13 {
            16
        } else {
            measure.string(Some(&self.topic))
        };
        let partitions: usize = self
            .partitions
            .iter()
            .map(|each| each.encoded_len(version))
            .sum();
        name + measure.length(self.partitions.len(), 4) + partitions + measure.tags()
    }

    fn encode(&self, to: &mut Writer<'_>, version: i16) -> Result<(), ProtocolError> {
        if version >= 13 {
            to.uuid(&self.topic_id);
        } else {
            to.string(&self.topic)?;
        }
        to.array(&self.partitions, |to, partition| {
            partition.encode(to, version)
        })?;
        to.no_tags();
        Ok(())
    }

    fn decode(from: &mut Reader<'_>, version: i16) -> Result<Self, ProtocolError> {
        let mut topic = Self::default();
        if version >= 13 {
            topic.topic_id = from.uuid()?;
        } else {
            topic.topic = from.string()?;
        }
        topic.partitions = from.array(|from| PartitionData::decode(from, version))?;
        from.skip_tags()?;
        Ok(topic)
    }
}

impl PartitionData {
    fn encoded_len(&self, version: i16) -> usize {
        let measure = Measure {
            flexible: is_flexible(version),
        };
        let start_offset = if version >= 5 { 8 } else { 0 };
        let aborted = self
            .aborted_transactions
            .as_deref()
            .unwrap_or_default()
            .len();
        let aborted = measure.length(aborted, 4) + aborted * (16 + measure.tags());
        let replica = if version >= 11 { 4 } else { 0 };
        let tags = match self.leader_tag(version) {
            Some(leader) => measure.tagged(CURRENT_LEADER_TAG, leader.len()),
            None => measure.tags(),
        };
        22 + start_offset + aborted + replica + measure.nullable_bytes(self.records.as_ref()) + tags
    }

    fn encode(&self, to: &mut Writer<'_>, version: i16) -> Result<(), ProtocolError> {
        to.i32(self.partition_index);
        to.i16(self.error_code);
        to.i64(self.high_watermark);
        to.i64(self.last_stable_offset);
        if version >= 5 {
            to.i64(self.log_start_offset);
        }
        to.nullable_array(self.aborted_transactions.as_deref(), |to, aborted| {
            to.i64(aborted.producer_id);
            to.i64(aborted.first_offset);
            to.no_tags();
            Ok(())
        })?;
        if version >= 11 {
            to.i32(self.preferred_read_replica);
        }
        to.nullable_bytes(self.records.as_deref())?;
        match self.leader_tag(version) {
            Some(leader) => to.tagged(CURRENT_LEADER_TAG, &leader),
            None => to.no_tags(),
        }
        Ok(())
    }

    fn decode(from: &mut Reader<'_>, version: i16) -> Result<Self, ProtocolError> {
        let mut partition = Self {
            partition_index: from.i32()?,
            error_code: from.i16()?,
            high_watermark: from.i64()?,
            last_stable_offset: from.i64()?,
            log_start_offset: if version >= 5 { from.i64()? } else { -1 },
            current_leader: None,
            aborted_transactions: from.nullable_array(AbortedTransaction::decode)?,
            preferred_read_replica: if version >= 11 { from.i32()? } else { -1 },
            records: from.nullable_bytes()?,
        };
        from.tags(|tag, from| {
            if tag == CURRENT_LEADER_TAG {
                partition.current_leader = Some(CurrentLeader::decode(from)?);
            }
            Ok(())
        })?;
        Ok(partition)
    }

    fn leader_tag(&self, version: i16) -> Option<BytesMut> {
        let leader = self.current_leader.filter(|_| is_flexible(version))?;
        let mut bytes = BytesMut::new();
        let mut to = Writer {
            bytes: &mut bytes,
            flexible: true,
        };
        to.i32(leader.leader_id);
        to.i32(leader.leader_epoch);
        to.no_tags();
        Some(bytes)
    }
}

impl CurrentLeader {
    fn decode(from: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let leader = Self {
            leader_id: from.i32()?,
            leader_epoch: from.i32()?,
        };
        from.skip_tags()?;
        Ok(leader)
    }
}

impl AbortedTransaction {
    fn decode(from: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let aborted = Self {
            producer_id: from.i64()?,
            first_offset: from.i64()?,
        };
        from.skip_tags()?;
        Ok(aborted)
    }
}

impl FetchNodeEndpoint {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), ProtocolError> {
        to.i32(self.node_id);
        to.string(&self.host)?;
        to.i32(self.port);
        to.nullable_string(self.rack.as_ref())?;
        to.no_tags();
        Ok(())
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let endpoint = Self {
            node_id: from.i32()?,
            host: from.string()?,
            port: from.i32()?,
            rack: from.nullable_string()?,
        };
        from.skip_tags()?;
        Ok(endpoint)
    }
}
