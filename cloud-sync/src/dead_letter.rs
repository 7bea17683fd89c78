//! Records that central refuses for themselves, kept in the local topic `_dead_letter`.
//!
//! Each keeps key, value, headers and timestamp, and gets `edge-error` and `edge-src`. Written at
//! level `disk` before the forwarder moves past the record.

use edge_site::{AckLevel, AppendRequest, Header, Record, RecordBatch, Site, TopicPartition};

/// The local topic.
const TOPIC: &str = "_dead_letter";
/// Bytes of one append.
const APPEND_BYTES_MAX: usize = 512 << 10;
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;

/// Appends the records at these offsets; true once all are on disk.
pub(crate) async fn write(
    site: &Site,
    source: &str,
    tp: TopicPartition,
    letters: &[(i64, String)],
) -> bool {
    match try_write(site, source, tp, letters).await {
        Ok(()) => true,
        Err(reason) => {
            log::warn!(
                "{source}[{}]: {TOPIC} cannot be written: {reason}",
                tp.partition
            );
            false
        }
    }
}

async fn try_write(
    site: &Site,
    source: &str,
    tp: TopicPartition,
    letters: &[(i64, String)],
) -> Result<(), String> {
    let target = site
        .ensure_topic(TOPIC)
        .await
        .map_err(|e| e.to_string())?
        .partition(0);
    let mut waiting = Vec::new();
    let mut bytes = 0;
    let mut rest = letters;
    while let Some((first, _)) = rest.first() {
        let found = records_from(site, tp, *first).await?;
        let mut taken = 0;
        for (offset, reason) in rest {
            if *offset > found.last {
                break;
            }
            taken += 1;
            let record = found.records.iter().find(|(at, _)| at == offset);
            let record = record.map(|(_, record)| record).or(found.raw.as_ref());
            let Some(record) = record else {
                continue; // gone by retention meanwhile: the ledger has it
            };
            let record = letter(record.clone(), source, tp, *offset, reason);
            let size = record.value.as_ref().map_or(0, |value| value.len()) + 256;
            if bytes + size > APPEND_BYTES_MAX && !waiting.is_empty() {
                append(site, std::mem::take(&mut waiting)).await?;
                bytes = 0;
            }
            bytes += size;
            waiting.push((target, record));
        }
        rest = &rest[taken.max(1)..];
    }
    if waiting.is_empty() {
        Ok(())
    } else {
        append(site, waiting).await
    }
}

struct Found {
    records: Vec<(i64, Record)>,
    last: i64,
    /// The batch itself: the letter of what cannot be read as a record.
    raw: Option<Record>,
}

/// The records of the batch that holds `offset`.
async fn records_from(site: &Site, tp: TopicPartition, offset: i64) -> Result<Found, String> {
    let batches = match site.read(tp, offset, 1).await {
        Ok(batches) => batches,
        Err(edge_site::ReadError::OffsetOutOfRange { start, .. }) if start > offset => {
            return Ok(Found {
                records: Vec::new(),
                last: start - 1,
                raw: None,
            });
        }
        Err(error) => return Err(error.to_string()),
    };
    let Some(batch) = batches.into_iter().next() else {
        return Ok(Found {
            records: Vec::new(),
            last: offset,
            raw: None,
        });
    };
    let last = batch.last_offset();
    let (records, raw) = smol::unblock(move || readable(&batch)).await;
    Ok(Found { records, last, raw })
}

/// Records that can be read, and the batch as it is where some cannot.
fn readable(batch: &RecordBatch) -> (Vec<(i64, Record)>, Option<Record>) {
    let Ok(items) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        return (Vec::new(), Some(raw(batch)));
    };
    let records: Vec<_> = items.map_while(Result::ok).collect();
    let whole = records.len() == batch.record_count() as usize;
    (records, (!whole).then(|| raw(batch)))
}

/// Without its bytes where they would not fit into an append.
fn raw(batch: &RecordBatch) -> Record {
    let bytes = batch.bytes();
    Record {
        timestamp_ms: batch.max_timestamp_ms(),
        key: None,
        value: (bytes.len() <= APPEND_BYTES_MAX).then(|| bytes.clone()),
        headers: Vec::new(),
    }
}

fn letter(
    mut record: Record,
    source: &str,
    tp: TopicPartition,
    offset: i64,
    reason: &str,
) -> Record {
    let place = format!("{source}/{}/{offset}", tp.partition);
    for (key, value) in [("edge-error", reason.to_owned()), ("edge-src", place)] {
        record.headers.push(Header {
            key: key.into(),
            value: Some(value.into()),
        });
    }
    record
}

async fn append(site: &Site, items: Vec<(TopicPartition, Record)>) -> Result<(), String> {
    let request = AppendRequest::records(items, AckLevel::Disk);
    let ticket = site.append(request).await.map_err(|e| e.to_string())?;
    ticket.await.map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::packing::damaged;

    #[test]
    fn what_cannot_be_read_as_a_record_is_a_letter_of_the_whole_batch() {
        let (records, raw) = readable(&damaged(7, 5, 2));
        assert_eq!(records.len(), 2);
        let raw = raw.unwrap();
        assert_eq!(raw.value.unwrap(), *damaged(7, 5, 2).bytes());
        let (records, raw) = readable(&damaged(7, 5, 5));
        assert_eq!(
            (records.len(), raw),
            (5, None),
            "nothing is wrong with that one"
        );
    }
}
