//! Keeps the log of retained messages small: live records move from its front to its end.
//!
//! ```text
//! offsets   10 11 12 13 14        10, 12 dead, 11 live
//! after              13 14 15     15 = what 11 was; start moved to 13
//! ```
//!
//! Nobody can come in between: a record is judged and appended under the lock that publishes
//! register with, and what is live and has a publish under way is left for the next time.
//!
//! It goes on as long as there is something to gain, so the log is given back as fast as it grows,
//! and pauses only where nothing moved.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_site::{AckLevel, AppendRequest, Record, RecordBatch, TopicPartition, read_up_to_damage};

use crate::dispatcher::DECOMPRESSED_BYTES_MAX;
use crate::hub::{Hub, lock};
use crate::retained::Judgement;
use crate::retaining::retained_bytes;

/// One step reads about this much, compressed as it is stored…
const STEP_BYTES: usize = 256 << 10;
/// …and moves at most this much, or one record: the site takes a megabyte at once.
const MOVE_BYTES_MAX: u64 = 512 << 10;

/// How long nothing is done when there was nothing to gain, or the site failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The same when a record has to wait: for one publish, or for the dispatcher.
const WAIT: Duration = Duration::from_millis(200);

/// Runs for as long as the door does.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        let pause = pass(&hub).await.unwrap_or_else(|what| {
            log::debug!("retained messages are not compacted now: {what}");
            PAUSE
        });
        smol::Timer::after(pause).await;
    }
}

/// Looks once at what is in the log now, as long as there is something to gain; gives back when
/// to come again.
async fn pass(hub: &Hub) -> Result<Duration, String> {
    let Some(partition) = hub.retained_topic().map(|topic| topic.partition(0)) else {
        return Ok(PAUSE);
    };
    let marks = || hub.site.marks(partition).ok_or("no such topic");
    let end = marks()?.committed_end;
    while wants_compaction(hub, partition) && marks()?.start < end {
        if !step(hub, partition).await? {
            return Ok(WAIT);
        }
        // The connections have to run, too.
        smol::future::yield_now().await;
    }
    Ok(PAUSE)
}

fn wants_compaction(hub: &Hub, partition: TopicPartition) -> bool {
    let index = lock(&hub.retained);
    index.wants_compaction() && index.log() == Some(partition.topic)
}

/// False = the first record has to wait.
async fn step(hub: &Hub, partition: TopicPartition) -> Result<bool, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let start = hub.site.marks(partition).ok_or("no such topic")?.start;
    let read = |at, bytes_max| hub.site.read(partition, at, bytes_max);
    let batches = read_up_to_damage(&read, start, STEP_BYTES)
        .await
        .map_err(|error| text(&error))?;
    let records = records(&batches, start);
    let (moved, end, bytes) = judge(hub, partition, records);
    if let Some(Moved { topics, ticket }) = moved {
        let outcome = ticket?.await;
        let offsets = outcome.as_ref().map_or(&[][..], |done| &done.offsets);
        let mut index = lock(&hub.retained);
        for (item, topic) in topics.iter().enumerate() {
            index.moved(topic, offsets.get(item).copied());
        }
        outcome.map_err(|error| text(&error))?;
    }
    if end > start {
        hub.site
            .trim(partition, end)
            .await
            .map_err(|error| text(&error))?;
        lock(&hub.retained).trimmed(bytes);
    }
    Ok(end > start)
}

fn records(batches: &[RecordBatch], start: i64) -> Vec<(i64, Record)> {
    let all = batches
        .iter()
        .filter_map(|batch| batch.records(DECOMPRESSED_BYTES_MAX).ok());
    all.flat_map(|records| records.flatten())
        .filter(|(offset, _)| *offset >= start)
        .collect()
}

/// What was appended again.
struct Moved {
    topics: Vec<Bytes>,
    ticket: Result<edge_site::Ticket, String>,
}

/// Appends what is live, up to the first record that has to wait; where that is, and how many
/// bytes lie before it.
fn judge(
    hub: &Hub,
    partition: TopicPartition,
    records: Vec<(i64, Record)>,
) -> (Option<Moved>, i64, u64) {
    let mut index = lock(&hub.retained);
    let (mut items, mut topics) = (Vec::new(), Vec::new());
    let (mut end, mut bytes, mut moved_bytes) = (0, 0, 0);
    for (offset, record) in records {
        let topic = record.key.clone().unwrap_or_else(Bytes::new);
        let record_bytes = retained_bytes(&record);
        match index.judge(&topic, offset) {
            Judgement::Wait => break,
            Judgement::Dead => {}
            Judgement::Live => {
                moved_bytes += record_bytes;
                if moved_bytes > MOVE_BYTES_MAX && !items.is_empty() {
                    break;
                }
                items.push((partition, record));
                topics.push(topic);
            }
        }
        end = offset + 1;
        bytes += record_bytes;
    }
    if items.is_empty() {
        return (None, end, bytes);
    }
    let request = AppendRequest::records(items, AckLevel::Disk);
    let ticket = hub
        .site
        .try_append(request)
        .map_err(|error| format!("{error:?}"));
    if ticket.is_ok() {
        topics.iter().for_each(|topic| index.moving(topic));
    } else {
        end = 0;
    }
    (Some(Moved { topics, ticket }), end, bytes)
}
