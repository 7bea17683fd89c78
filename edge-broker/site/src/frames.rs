//! Committed frames in log order, from memory while a reader keeps up, from the log when behind.

use std::collections::VecDeque;
use std::sync::Arc;

use edge_log::{Entry, Frame, Item};
use kafka_wire::RecordBatch;

use crate::append::CommittedFrame;
use crate::bell::Listener;
use crate::error::FrameReadError;
use crate::recent::Found;
use crate::shared::Shared;

/// How much is read from the log at once, where a reader does not say.
const READ_BYTES: usize = 1 << 20;

/// Reads committed frames in log order.
///
/// Frames hold what was appended, also records below a start that moved since.
pub struct FrameReader {
    shared: Arc<Shared>,
    committed: Listener,
    next_index: u64,
    read_bytes: usize,
    read_ahead: VecDeque<Arc<CommittedFrame>>,
}

impl FrameReader {
    pub(crate) fn new(shared: Arc<Shared>, from_index: Option<u64>) -> Self {
        let committed = shared.committed.listen();
        let next_index = from_index.unwrap_or_else(|| shared.recent().committed() + 1);
        FrameReader {
            shared,
            committed,
            next_index,
            read_bytes: READ_BYTES,
            read_ahead: VecDeque::new(),
        }
    }

    /// The same, reading about so much of the log at once; one frame comes whole however large.
    pub fn reading(mut self, bytes: usize) -> Self {
        self.read_bytes = bytes;
        self
    }

    /// What it holds that was read ahead.
    pub fn held_bytes(&self) -> usize {
        let batches = self.read_ahead.iter().flat_map(|frame| &frame.batches);
        batches.map(|(_, batch)| batch.bytes().len()).sum()
    }

    /// The next frame that holds batches; waits for one. Dropping the future midway loses nothing.
    pub async fn next(&mut self) -> Result<Arc<CommittedFrame>, FrameReadError> {
        loop {
            if let Some(frame) = self.try_next() {
                return Ok(frame);
            }
            // A binding of its own: the lock must not live across an await.
            let found = self.shared.recent().find(self.next_index);
            match found {
                Found::Here(_) => {}
                Found::OnDisk { to } => self.read_log(to).await?,
                Found::Nothing { .. } if self.shared.is_over() => {
                    return Err(FrameReadError::Stopping);
                }
                Found::Nothing { .. } => self.committed.heard().await,
            }
        }
    }

    /// The next one if it is committed already and in memory.
    pub fn try_next(&mut self) -> Option<Arc<CommittedFrame>> {
        let frame = match self.read_ahead.pop_front() {
            Some(frame) => frame,
            None => match self.shared.recent().find(self.next_index) {
                Found::Here(frame) => frame,
                Found::Nothing { committed } => {
                    self.next_index = self.next_index.max(committed + 1);
                    return None;
                }
                Found::OnDisk { .. } => return None,
            },
        };
        self.next_index = frame.index + 1;
        Some(frame)
    }

    /// The index that `next` looks for first.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    async fn read_log(&mut self, to: u64) -> Result<(), FrameReadError> {
        let reader = self.shared.reader().ok_or(FrameReadError::Stopping)?;
        let (from, bytes_max) = (self.next_index, self.read_bytes);
        let read = smol::unblock(move || reader.entries(from, to, bytes_max)).await;
        let entries = read.map_err(|error| match error {
            edge_log::ReadError::Compacted { first_index } => FrameReadError::Gone { first_index },
            other => FrameReadError::Storage(other.to_string()),
        })?;
        let Some(last) = entries.last() else {
            return Err(FrameReadError::Gone { first_index: to });
        };
        self.next_index = last.index + 1;
        self.read_ahead
            .extend(entries.iter().filter_map(frame_of).map(Arc::new));
        Ok(())
    }
}

/// What an entry of the log committed; none if it holds no batches or applied as nothing.
fn frame_of(entry: &Entry) -> Option<CommittedFrame> {
    let frame = Frame::decode(entry.data.clone()).ok()?;
    let header = frame.header();
    if header.proposer_term != entry.term {
        return None;
    }
    let batches = frame.items().filter_map(|item| match item {
        Item::Batch { partition, batch } => RecordBatch::parse_stored(batch)
            .ok()
            .map(|batch| (partition, batch)),
        Item::Control(_) => None,
    });
    let batches: Vec<_> = batches.collect();
    let (index, term, site_time_ms) = (entry.index, entry.term, header.site_time_ms);
    (!batches.is_empty()).then_some(CommittedFrame {
        index,
        term,
        site_time_ms,
        batches,
    })
}
