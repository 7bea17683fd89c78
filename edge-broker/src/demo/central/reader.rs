//! Reading a topic of a real cluster back: every record, partition by partition.
//!
//! A consumer without a group, on its own connections, past the relays. Nothing here is shared
//! with the forwarder, so that a mistake there is not repeated here.

use std::io;

use bytes::Bytes;
use kafka_wire::RecordBatch;
use kafka_wire::protocol::{
    ErrorCode, FetchPartition, FetchRequest, FetchTopic, KafkaString, MetadataRequest,
    MetadataRequestTopic, Request, parse_response, request_frame,
};
use smol::io::AsyncWriteExt;
use smol::net::TcpStream;

use super::invalid;
use super::relay::Frames;
use crate::demo::book::Sighting;

/// Both are spoken by Kafka from 2.4 on.
const METADATA_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 11;
const FETCH_BYTES: i32 = 8 << 20;
const FETCH_WAIT_MS: i32 = 500;
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Everything in a topic, from offset 0 to the high watermarks.
pub async fn read_topic(bootstrap: &str, topic: &str) -> io::Result<Vec<Vec<Sighting>>> {
    let mut partitions = Vec::new();
    for (partition, leader) in leaders(bootstrap, topic).await?.into_iter().enumerate() {
        let mut client = Client::connect(&leader).await?;
        partitions.push(client.read_partition(topic, partition as i32).await?);
    }
    Ok(partitions)
}

/// Address of the leader of each partition.
async fn leaders(bootstrap: &str, topic: &str) -> io::Result<Vec<String>> {
    let mut client = Client::connect(bootstrap).await?;
    let wanted = MetadataRequestTopic {
        name: Some(KafkaString::from(topic.to_owned())),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![wanted]),
        ..MetadataRequest::default()
    };
    let response = client.ask(METADATA_VERSION, &request).await?;
    let found = response
        .topics
        .first()
        .ok_or_else(|| invalid(&"no answer about the topic"))?;
    refuse(found.error_code)?;
    let mut partitions: Vec<_> = found.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    let address = |leader: i32| {
        let broker = response
            .brokers
            .iter()
            .find(|broker| broker.node_id == leader);
        let broker = broker.ok_or_else(|| invalid(&"a partition has no leader"))?;
        Ok(format!("{}:{}", broker.host, broker.port))
    };
    partitions
        .into_iter()
        .map(|partition| address(partition.leader_id))
        .collect()
}

/// One connection.
struct Client {
    stream: TcpStream,
    frames: Frames,
    correlation_id: i32,
}

impl Client {
    async fn connect(address: &str) -> io::Result<Client> {
        Ok(Client {
            stream: TcpStream::connect(address).await?,
            frames: Frames::default(),
            correlation_id: 0,
        })
    }

    async fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation_id += 1;
        let name = Some("edge-broker-demo");
        let frame = request_frame(version, self.correlation_id, name, request);
        self.stream
            .write_all(&frame.map_err(|error| invalid(&error))?)
            .await?;
        let answer = self.frames.next(&mut self.stream).await?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (_, response) =
            parse_response::<R>(version, answer).map_err(|error| invalid(&error))?;
        Ok(response)
    }

    async fn read_partition(&mut self, topic: &str, partition: i32) -> io::Result<Vec<Sighting>> {
        let mut seen = Vec::new();
        let mut next_offset = 0;
        loop {
            let request = fetch(topic, partition, next_offset);
            let response = self.ask(FETCH_VERSION, &request).await?;
            let topics = response.responses.into_iter();
            let found = topics.flat_map(|topic| topic.partitions).next();
            let found = found.ok_or_else(|| invalid(&"no answer about the partition"))?;
            refuse(found.error_code)?;
            take(
                found.records.unwrap_or_default(),
                &mut next_offset,
                &mut seen,
            )?;
            if next_offset >= found.high_watermark {
                return Ok(seen);
            }
        }
    }
}

fn fetch(topic: &str, partition: i32, fetch_offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: KafkaString::from(topic.to_owned()),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    FetchRequest {
        max_wait_ms: FETCH_WAIT_MS,
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

/// Takes whole batches apart; the last one of an answer may be cut short and comes again.
fn take(mut records: Bytes, next_offset: &mut i64, seen: &mut Vec<Sighting>) -> io::Result<()> {
    loop {
        let batch = match RecordBatch::split_first(&mut records) {
            Ok(Some(batch)) => batch,
            Ok(None) | Err(kafka_wire::BatchError::Truncated { .. }) => return Ok(()),
            Err(error) => return Err(invalid(&error)),
        };
        let control = batch.header().is_control();
        for record in batch
            .records(DECOMPRESSED_BYTES_MAX)
            .map_err(|error| invalid(&error))?
        {
            let (offset, record) = record.map_err(|error| invalid(&error))?;
            if offset >= *next_offset && !control {
                seen.push(Sighting::of(record.value.as_deref().unwrap_or_default()));
            }
        }
        *next_offset = batch.next_offset().max(*next_offset);
    }
}

fn refuse(error: i16) -> io::Result<()> {
    let error = ErrorCode(error);
    if error.is_error() {
        Err(io::Error::other(error.to_string()))
    } else {
        Ok(())
    }
}
