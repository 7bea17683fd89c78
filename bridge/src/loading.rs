//! Finding the retained messages in the log, at the start of the door.
//!
//! What cannot be read is said once and passed over; the others are served. The store salvages a
//! damaged slice within seconds and then shows what is left of it, so it is looked for again.
//! What the store loses for good it counts itself, in the loss ledger.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use edge_site::{
    ReadError, Reading, RecordBatch, TopicPartition, next_readable, read_up_to_damage,
};

use crate::dispatcher::retained_records;
use crate::hub::{Hub, lock};
use crate::retained::RetainedIndex;

const READ_BYTES_MAX: usize = 1 << 20;
/// How long until it is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// New records that the dispatcher passed meanwhile are caught up with so often in one try.
const ROUNDS_MAX: usize = 10;

/// Builds the index of retained messages; called before the first connection.
pub(crate) async fn load(hub: &Hub) {
    let Some(partition) = partition(hub) else {
        return;
    };
    if find(hub).await.is_none()
        && let Some(marks) = hub.site.marks(partition)
    {
        let mut index = lock(&hub.retained);
        index.follow(partition.topic);
        index.miss(marks.start..marks.committed_end);
    }
    for Range { start, end } in lock(&hub.retained).missing() {
        log::error!(
            "retained messages cannot be read, they are missing until they can: \
             _retained@{start}..{end}"
        );
    }
}

/// Tries again where something is missing; ends when nothing is.
pub(crate) async fn complete(hub: Arc<Hub>) {
    while !lock(&hub.retained).missing().is_empty() {
        smol::Timer::after(RETRY).await;
        if can_gain(&hub).await
            && let Some(found) = find(&hub).await
            && found.missing().is_empty()
        {
            log::info!("all retained messages that the disk still has can be read again");
        }
    }
}

/// Whether something can be read by now that could not: only then all is read again.
async fn can_gain(hub: &Hub) -> bool {
    let missing = lock(&hub.retained).missing().to_vec();
    let Some(partition) = partition(hub) else {
        return false;
    };
    for offsets in missing {
        let read = hub.site.read(partition, offsets.start, 1).await;
        if !matches!(read, Err(ReadError::Storage(_))) {
            return true;
        }
    }
    false
}

fn partition(hub: &Hub) -> Option<TopicPartition> {
    hub.retained_topic().map(|topic| topic.partition(0))
}

/// Looks for them and puts them into the index; gives back what was found.
async fn find(hub: &Hub) -> Option<RetainedIndex> {
    let partition = partition(hub)?;
    let mut found = RetainedIndex::default();
    found.follow(partition.topic);
    let mut at = hub.site.marks(partition)?.start;
    for _ in 0..ROUNDS_MAX {
        let end = hub.site.marks(partition)?.committed_end;
        at = walk(hub, partition, at..end, &mut found).await?;
        if lock(&hub.retained).adopt(&found, at) {
            return Some(found);
        }
    }
    None
}

async fn walk(
    hub: &Hub,
    partition: TopicPartition,
    offsets: Range<i64>,
    found: &mut RetainedIndex,
) -> Option<i64> {
    let read = |at, bytes_max| hub.site.read(partition, at, bytes_max);
    match walk_over(&read, offsets, found).await {
        Ok(end) => Some(end),
        Err(error) => {
            log::debug!("retained messages are not looked for now: {error}");
            None
        }
    }
}

/// Adds what is at these offsets, and notes what cannot be read; gives back where it ended.
async fn walk_over<R: Reading>(
    read: &impl Fn(i64, usize) -> R,
    offsets: Range<i64>,
    found: &mut RetainedIndex,
) -> Result<i64, ReadError> {
    let mut at = offsets.start;
    while at < offsets.end {
        match read_up_to_damage(read, at, READ_BYTES_MAX).await {
            Ok(batches) => {
                let records = batches.iter().flat_map(retained_records);
                records.for_each(|record| record.apply_to(found));
                // Nothing before the end: what was there is gone.
                at = batches.last().map_or(offsets.end, RecordBatch::next_offset);
            }
            Err(ReadError::OffsetOutOfRange { start, .. }) if start > at => at = start,
            Err(ReadError::Storage(_)) => {
                let next = next_readable(read, at, offsets.end).await;
                found.miss(at..next);
                at = next;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
