//! Reading around what cannot be read: up to it, and on behind it.
//!
//! The store salvages a damaged slice within seconds and then shows what is left of it. Until then,
//! and where a place stays unreadable, a reader goes around: retained messages at the start of the
//! MQTT door, `tail` for people. What is lost for good the store counts itself, in the loss ledger.

use kafka_wire::RecordBatch;

use crate::error::ReadError;

/// A read under way: batches from an offset on, of about so many bytes, at least one.
pub trait Reading: Future<Output = Result<Vec<RecordBatch>, ReadError>> {}
impl<R: Future<Output = Result<Vec<RecordBatch>, ReadError>>> Reading for R {}

/// A read fails as a whole: this one brings what lies before what cannot be read.
pub async fn read_up_to_damage<R: Reading>(
    read: &impl Fn(i64, usize) -> R,
    at: i64,
    bytes_max: usize,
) -> Result<Vec<RecordBatch>, ReadError> {
    match read(at, bytes_max).await {
        Err(ReadError::Storage(_)) => read(at, 1).await,
        done => done,
    }
}

/// The first offset behind an unreadable one that can be read, at most `end`. Few reads, as each
/// may take long: of several damaged batches near each other it may pass over what is between.
pub async fn next_readable<R: Reading>(
    read: &impl Fn(i64, usize) -> R,
    unreadable: i64,
    end: i64,
) -> i64 {
    let (mut bad, mut step) = (unreadable, 1);
    let mut good = loop {
        let at = bad.saturating_add(step).min(end);
        if at == end || read(at, 1).await.is_ok() {
            break at;
        }
        (bad, step) = (at, step * 2);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match read(middle, 1).await {
            Ok(_) => good = middle,
            Err(_) => bad = middle,
        }
    }
    good
}
