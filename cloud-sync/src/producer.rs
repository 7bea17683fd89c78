//! One link at work: Produce requests in a pipeline to one broker.
//!
//! A task per link: it dials, tells the driver, then writes requests as they come and reads
//! answers in the same order. It keeps nothing: when it ends, the core knows what was unanswered.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use kafka_wire::{
    Bytes, Producer,
    protocol::{
        PartitionProduceData, ProduceRequest as WireProduce, ProduceResponse, TopicProduceData,
        parse_response,
    },
};
use smol::{
    channel::{Receiver, Sender, bounded},
    future::FutureExt,
};

use crate::{
    connection::{
        ANSWER_TIMEOUT, Connection, Dialer, FrameReader, FrameWriter, WRONG_ANSWER, plain_words,
    },
    driver::Event,
    error::ConnectError,
    forwarder::types::{LinkId, Ms, Part, PartAnswer, ProduceRequest},
};

/// All replicas in sync.
const ACKS_ALL: i16 = -1;
/// How long a leader may wait for them.
const ACKS_TIMEOUT_MS: i32 = 15_000;
// The leader's word comes before we stop waiting for it.
const _: () = assert!(ANSWER_TIMEOUT.as_millis() as i32 > ACKS_TIMEOUT_MS + 10_000);
/// Requests that may be unanswered on the wire; the core keeps fewer.
const PIPELINE_MAX: usize = 16;

/// What is needed to read an answer.
struct Expected {
    number: u64,
    /// The number of the request on its connection.
    correlation: i32,
    /// Topic and partition of each part, in order.
    parts: Vec<(Arc<str>, u32)>,
}

/// Runs one link until it breaks or `requests` is closed.
pub(crate) async fn run(
    dialer: Arc<Dialer>,
    link: LinkId,
    (host, port): (String, u16),
    requests: Receiver<ProduceRequest>,
    events: Sender<Event>,
) {
    let error = match dialer.dial(&host, port).await {
        Ok(connection) => {
            let _ = events.send(Event::Connected(link)).await;
            serve(connection, link, requests, &events).await
        }
        Err(error) => Some(error),
    };
    let _ = events.send(Event::Disconnected(link, error)).await;
}

/// None when an idle connection was closed, by either side.
async fn serve(
    connection: Connection,
    link: LinkId,
    requests: Receiver<ProduceRequest>,
    events: &Sender<Event>,
) -> Option<ConnectError> {
    let address = connection.address.clone();
    let version = match connection.version::<WireProduce>(11) {
        Ok(version) => version,
        Err(error) => return Some(error),
    };
    let (expires_at, moved) = (connection.expires_at, connection.moved.clone());
    let (reader, writer) = connection.split();
    let (expect, expected) = bounded(PIPELINE_MAX);
    let writing = write_requests(writer, version, requests, expect, expires_at);
    let reading = read_answers(reader, version, link, expected, events, &moved);
    match writing.or(reading).await {
        Ok(()) => None,
        Err(error) => Some(ConnectError::of_request(
            &address,
            &error,
            plain_words(&error),
        )),
    }
}

async fn write_requests(
    mut writer: FrameWriter,
    version: i16,
    requests: Receiver<ProduceRequest>,
    expect: Sender<Expected>,
    expires_at: Option<Instant>,
) -> io::Result<()> {
    while let Ok(request) = requests.recv().await {
        if expires_at.is_some_and(|at| at <= Instant::now()) {
            // The login is about to expire: a new connection logs in again.
            return Ok(());
        }
        let parts = request.parts.iter();
        let parts = parts
            .map(|part| (part.central_topic.clone(), part.tp.partition))
            .collect();
        let message = encode(request.parts);
        let frame = writer.frame(version, &message).map_err(|e| invalid(&e))?;
        drop(message);
        let _ = expect
            .send(Expected {
                number: request.number,
                correlation: writer.correlation(),
                parts,
            })
            .await;
        writer.send(&frame).await?;
    }
    Ok(())
}

fn invalid(error: &kafka_wire::protocol::ProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// One Produce message; the codec patches offsets and producer fields in its copy.
fn encode(parts: Vec<Part>) -> WireProduce {
    let mut topics: Vec<(Arc<str>, Vec<PartitionProduceData>)> = Vec::new();
    for part in parts {
        let producer = part.identity.map_or(Producer::NONE, |identity| Producer {
            id: identity.producer_id,
            epoch: identity.epoch,
            base_sequence: part.base_sequence,
        });
        let data = PartitionProduceData {
            index: part.tp.partition as i32,
            records: Some(part.batch.into_bytes()),
            producer: Some(producer),
        };
        match topics
            .iter_mut()
            .find(|(name, _)| *name == part.central_topic)
        {
            Some((_, list)) => list.push(data),
            None => topics.push((part.central_topic, vec![data])),
        }
    }
    let topics = topics
        .into_iter()
        .map(|(name, partition_data)| TopicProduceData {
            name: name.to_string().into(),
            partition_data,
            ..TopicProduceData::default()
        });
    WireProduce {
        transactional_id: None,
        acks: ACKS_ALL,
        timeout_ms: ACKS_TIMEOUT_MS,
        topic_data: topics.collect(),
    }
}

async fn read_answers(
    mut reader: FrameReader,
    version: i16,
    link: LinkId,
    expected: Receiver<Expected>,
    events: &Sender<Event>,
    moved: &AtomicU64,
) -> io::Result<()> {
    loop {
        let Some(expected) = next_expected(&mut reader, &expected).await? else {
            return Ok(());
        };
        let frame = next_frame(&mut reader, moved).await?;
        let (correlation, response) =
            parse_response::<WireProduce>(version, frame).map_err(|e| invalid(&e))?;
        if correlation != expected.correlation {
            return Err(io::Error::new(io::ErrorKind::InvalidData, WRONG_ANSWER));
        }
        let throttle_ms = response.throttle_time_ms.max(0) as Ms;
        let answers = in_order(response, &expected.parts);
        let event = Event::Answered {
            link,
            number: expected.number,
            answers,
            throttle_ms,
        };
        let _ = events.send(event).await;
    }
}

/// The oldest request without an answer; none once an idle connection is closed.
async fn next_expected(
    reader: &mut FrameReader,
    expected: &Receiver<Expected>,
) -> io::Result<Option<Expected>> {
    let asked = async {
        match expected.recv().await {
            Ok(expected) => Ok(Some(expected)),
            Err(_) => std::future::pending().await, // the writer says why it ended
        }
    };
    let unasked = async {
        match reader.next().await {
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, WRONG_ANSWER)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    };
    asked.or(unasked).await
}

/// The answer to the oldest request; an error once nothing has moved for long since it was asked,
/// or since the answer before it.
async fn next_frame(reader: &mut FrameReader, moved: &AtomicU64) -> io::Result<Bytes> {
    let frame = async { reader.next().await };
    let watch = async {
        let mut before = moved.load(Ordering::Relaxed);
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < ANSWER_TIMEOUT {
            smol::Timer::after(ANSWER_TIMEOUT / 10).await;
            let now = moved.load(Ordering::Relaxed);
            if now != before {
                (before, quiet_since) = (now, Instant::now());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    };
    frame.or(watch).await
}

/// Answers in the order of the request's parts; what is missing stays missing at the end.
fn in_order(response: ProduceResponse, parts: &[(Arc<str>, u32)]) -> Vec<PartAnswer> {
    let mut found = HashMap::new();
    for topic in response.responses {
        for answer in topic.partition_responses {
            let errors = answer.record_errors.into_iter();
            let plain = PartAnswer {
                error_code: answer.error_code,
                error_message: answer.error_message.map(|text| text.to_string()),
                record_errors: errors
                    .map(|e| {
                        (
                            e.batch_index,
                            e.batch_index_error_message.map(|t| t.to_string()),
                        )
                    })
                    .collect(),
            };
            found.insert((topic.name.to_string(), answer.index), plain);
        }
    }
    let silent = || PartAnswer {
        error_code: crate::forwarder::outcome::NO_ANSWER,
        ..PartAnswer::default()
    };
    let answer = |(name, partition): &(Arc<str>, u32)| {
        found
            .remove(&(name.to_string(), *partition as i32))
            .unwrap_or_else(silent)
    };
    parts.iter().map(answer).collect()
}
