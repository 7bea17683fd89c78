//! Records that central refuses for themselves, kept in the local topic `_dead_letter`.
//!
//! Each keeps key, value, headers and timestamp, and gets `edge-error` and `edge-src`. Written at
//! level `disk` before the forwarder moves past the record. What is larger than the topic takes
//! goes without its value, and says so: a letter that cannot be written would hold up its
//! partition.

use std::{collections::BTreeMap, sync::Arc};

use edge_site::{
    AckLevel, AppendRequest, Header, MESSAGE_BYTES, Record, RecordBatch, Site, Topic, TopicConfig,
    TopicPartition,
};

/// The local topic.
const TOPIC: &str = "_dead_letter";
/// What it takes: as much as any topic may, because all of them end here.
const LETTER_BYTES_MAX: u32 = *MESSAGE_BYTES.end();
/// What the format adds to a record: lengths, timestamps, a batch's header.
const OVERHEAD_BYTES: usize = 256;
/// Bytes of one append.
const APPEND_BYTES_MAX: usize = 512 << 10;
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;

/// Appends the records at these offsets; an error says why not all are on disk.
pub(crate) async fn write(
    site: &Site,
    source: &str,
    tp: TopicPartition,
    letters: &[(i64, String)],
) -> Result<(), String> {
    let topic = target(site).await?;
    let bytes_max = topic.config.max_message_bytes as usize;
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
            let record = letter(record.clone(), source, tp, *offset, reason, bytes_max);
            let size = weight(&record);
            if bytes + size > APPEND_BYTES_MAX && !waiting.is_empty() {
                append(site, std::mem::take(&mut waiting)).await?;
                bytes = 0;
            }
            bytes += size;
            waiting.push((topic.partition(0), record));
        }
        rest = &rest[taken.max(1)..];
    }
    if waiting.is_empty() {
        Ok(())
    } else {
        append(site, waiting).await
    }
}

/// The topic, with room for letters; what an operator has set stays.
async fn target(site: &Site) -> Result<Arc<Topic>, String> {
    let key = "max.message.bytes".to_owned();
    let room = BTreeMap::from([(key, LETTER_BYTES_MAX.to_string())]);
    let topic = site.ensure_topic_with(TOPIC, &room).await;
    let topic = topic.map_err(|e| e.to_string())?;
    // An older version made it with the default.
    if topic.config.max_message_bytes != TopicConfig::default().max_message_bytes {
        return Ok(topic);
    }
    Ok(site.alter_topic(TOPIC, None, &room).await.unwrap_or(topic))
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
    record: Record,
    source: &str,
    tp: TopicPartition,
    offset: i64,
    reason: &str,
    bytes_max: usize,
) -> Record {
    let place = format!("{source}/{}/{offset}", tp.partition);
    let bytes = weight(&record);
    let whole = labelled(record, reason.to_owned(), place.clone());
    if weight(&whole) <= bytes_max {
        return whole;
    }
    let reason = format!("{reason}; its value is left out, {TOPIC} does not take {bytes} bytes");
    let timestamp_ms = whole.timestamp_ms;
    let without_value = Record {
        value: None,
        headers: whole.headers[..whole.headers.len() - 2].to_vec(),
        ..whole
    };
    let letter = labelled(without_value, reason.clone(), place.clone());
    if weight(&letter) <= bytes_max {
        return letter;
    }
    let bare = Record {
        timestamp_ms,
        ..Record::default()
    };
    labelled(bare, reason, place)
}

fn labelled(mut record: Record, reason: String, place: String) -> Record {
    for (key, value) in [("edge-error", reason), ("edge-src", place)] {
        record.headers.push(Header {
            key: key.into(),
            value: Some(value.into()),
        });
    }
    record
}

/// About what a record weighs in the log, never less.
fn weight(record: &Record) -> usize {
    let length = |field: Option<usize>| field.unwrap_or(0) + 10;
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|h| h.key.len() + length(h.value.as_ref().map(|v| v.len())))
        .sum();
    let (key, value) = (record.key.as_ref(), record.value.as_ref());
    length(key.map(|k| k.len())) + length(value.map(|v| v.len())) + headers + OVERHEAD_BYTES
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

    /// Bytes that no codec makes smaller.
    fn noise(bytes: u32) -> Record {
        let byte = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        Record {
            value: Some((0..bytes).map(byte).collect::<Vec<_>>().into()),
            ..Record::default()
        }
    }

    /// `_dead_letter` took a megabyte and topics up to eight: the letter was tried again without
    /// end, and nothing of its partition moved.
    #[test]
    fn a_record_larger_than_the_default_becomes_a_letter_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        smol::block_on(async {
            let (site, _) = Site::open(dir.path(), edge_site::SiteConfig::default()).unwrap();
            let settings = [("max.message.bytes".to_owned(), "4000000".to_owned())].into();
            let topic = site.create_topic("big", Some(1), &settings).await.unwrap();
            site.ensure_topic(TOPIC).await.unwrap(); // by an older version
            let record = noise(1_500_000);
            let items = vec![(topic.partition(0), record.clone())];
            append(&site, items).await.unwrap();
            let letters = [(0, "too large".to_owned())];
            let written = write(&site, "s/big", topic.partition(0), &letters).await;
            written.unwrap();
            let topic = site.ensure_topic(TOPIC).await.unwrap();
            let found = records_from(&site, topic.partition(0), 0).await.unwrap();
            assert!(found.records[0].1.value == record.value, "as it is");
            site.stop().await;
        });
    }

    /// What does not fit all the same must not hold up what is behind it.
    #[test]
    fn a_letter_that_does_not_fit_goes_without_its_value_and_says_so() {
        let tp = TopicPartition {
            topic: edge_site::TopicId::from_u128(1),
            partition: 2,
        };
        let short = letter(noise(5_000), "s/t", tp, 7, "bad", 2_000);
        assert_eq!(short.value, None);
        let error = short.headers[0].value.clone().unwrap();
        let error = String::from_utf8(error.to_vec()).unwrap();
        assert!(error.starts_with("bad; its value is left out"), "{error}");
        let mut record = noise(10);
        record.key = noise(5_000).value;
        let bare = letter(record, "s/t", tp, 7, "bad", 2_000);
        assert!(weight(&bare) <= 2_000 && bare.headers.len() == 2);
    }
}
