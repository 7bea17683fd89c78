//! Produce: the one request that carries megabytes, so it is written by hand.
//!
//! Batches are copied once, from where they are stored into the frame, and get their offset and
//! producer fields in that copy; a server gets slices of the frame it received.
//!
//! Versions 3 to 13: flexible from 9 on, topics by id from 13 on.

use bytes::{Bytes, BytesMut};

use super::primitives::{Measure, Reader, Writer};
use super::{ApiKey, KafkaString, KafkaUuid, Message, ProtocolError};
use crate::batch::{set_base_offset, set_producer};
use crate::{BATCH_HEADER_BYTES, Producer};

/// Appends batches to partitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProduceRequest {
    /// Set by transactional producers.
    pub transactional_id: Option<KafkaString>,
    /// 0 = no response at all, 1 = written by the leader, -1 = by all in-sync replicas.
    pub acks: i16,
    /// How long the broker may wait for the replicas.
    pub timeout_ms: i32,
    /// The topics, each once.
    pub topic_data: Vec<TopicProduceData>,
}

/// What goes to one topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicProduceData {
    /// Name, up to version 12.
    pub name: KafkaString,
    /// Id, from version 13 on.
    pub topic_id: KafkaUuid,
    /// The partitions, each once.
    pub partition_data: Vec<PartitionProduceData>,
}

/// What goes to one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionProduceData {
    /// Partition.
    pub index: i32,
    /// Exactly one record batch.
    pub records: Option<Bytes>,
    /// If set, the copy in the request gets base offset 0, no leader epoch, these producer fields
    /// and the checksum that follows; `records` itself is left as it is. `Producer::NONE` sends
    /// without idempotence. Never set by decoding.
    pub producer: Option<Producer>,
}

fn is_flexible(version: i16) -> bool {
    version >= 9
}

fn check_version(version: i16) -> Result<(), ProtocolError> {
    if (3..=13).contains(&version) {
        return Ok(());
    }
    Err(ProtocolError::UnsupportedVersion {
        api_key: ApiKey::Produce as i16,
        version,
    })
}

impl Message for ProduceRequest {
    fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError> {
        check_version(version)?;
        let measure = Measure {
            flexible: is_flexible(version),
        };
        let topics: usize = self
            .topic_data
            .iter()
            .map(|topic| topic.encoded_len(&measure, version))
            .sum();
        Ok(measure.string(self.transactional_id.as_ref())
            + 6
            + measure.length(self.topic_data.len(), 4)
            + topics
            + measure.tags())
    }

    fn encode(&self, to: &mut BytesMut, version: i16) -> Result<(), ProtocolError> {
        check_version(version)?;
        let mut to = Writer {
            bytes: to,
            flexible: is_flexible(version),
        };
        to.nullable_string(self.transactional_id.as_ref())?;
        to.i16(self.acks);
        to.i32(self.timeout_ms);
        to.array(&self.topic_data, |to, topic| topic.encode(to, version))?;
        to.no_tags();
        Ok(())
    }

    fn decode(from: &mut Bytes, version: i16) -> Result<Self, ProtocolError> {
        check_version(version)?;
        let mut from = Reader::new(from, is_flexible(version));
        let request = Self {
            transactional_id: from.nullable_string()?,
            acks: from.i16()?,
            timeout_ms: from.i32()?,
            topic_data: from.array(|from| TopicProduceData::decode(from, version))?,
        };
        from.skip_tags()?;
        Ok(request)
    }
}

impl TopicProduceData {
    fn encoded_len(&self, measure: &Measure, version: i16) -> usize {
        let name = if version >= 13 {
            16
        } else {
            measure.string(Some(&self.name))
        };
        let partitions: usize = self
            .partition_data
            .iter()
            .map(|each| each.encoded_len(measure))
            .sum();
        name + measure.length(self.partition_data.len(), 4) + partitions + measure.tags()
    }

    fn encode(&self, to: &mut Writer<'_>, version: i16) -> Result<(), ProtocolError> {
        if version >= 13 {
            to.uuid(&self.topic_id);
        } else {
            to.string(&self.name)?;
        }
        to.array(&self.partition_data, |to, partition| partition.encode(to))?;
        to.no_tags();
        Ok(())
    }

    fn decode(from: &mut Reader<'_>, version: i16) -> Result<Self, ProtocolError> {
        let mut topic = Self::default();
        if version >= 13 {
            topic.topic_id = from.uuid()?;
        } else {
            topic.name = from.string()?;
        }
        topic.partition_data = from.array(PartitionProduceData::decode)?;
        from.skip_tags()?;
        Ok(topic)
    }
}

impl PartitionProduceData {
    fn encoded_len(&self, measure: &Measure) -> usize {
        4 + measure.nullable_bytes(self.records.as_ref()) + measure.tags()
    }

    fn encode(&self, to: &mut Writer<'_>) -> Result<(), ProtocolError> {
        to.i32(self.index);
        to.nullable_bytes(self.records.as_deref())?;
        if let (Some(producer), Some(records)) = (self.producer, &self.records) {
            if records.len() < BATCH_HEADER_BYTES {
                let what = "a producer is set on bytes that are no batch";
                return Err(ProtocolError::Malformed(what.to_owned()));
            }
            let start = to.bytes.len() - records.len();
            let copy = &mut to.bytes[start..];
            set_base_offset(copy, 0, -1);
            set_producer(copy, producer);
        }
        to.no_tags();
        Ok(())
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let index = from.i32()?;
        let records = from.nullable_bytes()?;
        from.skip_tags()?;
        Ok(Self {
            index,
            records,
            producer: None,
        })
    }
}

#[cfg(test)]
mod tests;
