//! The newest committed frames, kept in memory within a bound: readers that keep up touch no disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use edge_log::TopicPartition;
use kafka_wire::RecordBatch;

use crate::append::CommittedFrame;

/// What a frame or batch costs beside its bytes.
const OVERHEAD_BYTES: usize = 128;

/// Frames by index and batches by partition.
pub(crate) struct Recent {
    frames: VecDeque<Arc<CommittedFrame>>,
    batches: HashMap<TopicPartition, VecDeque<RecordBatch>>,
    bytes: usize,
    bytes_max: usize,
    /// Every committed frame from this index on is here.
    complete_from: u64,
    /// Committed up to here, frames without batches included.
    committed: u64,
}

impl Recent {
    pub fn new(bytes_max: usize, committed: u64) -> Self {
        Recent {
            frames: VecDeque::new(),
            batches: HashMap::new(),
            bytes: 0,
            bytes_max,
            complete_from: committed + 1,
            committed,
        }
    }

    pub fn push(&mut self, frame: CommittedFrame) {
        self.bytes += bytes_of(&frame);
        for (tp, batch) in &frame.batches {
            self.batches
                .entry(*tp)
                .or_default()
                .push_back(batch.clone());
        }
        self.committed = self.committed.max(frame.index);
        self.frames.push_back(Arc::new(frame));
        while self.bytes > self.bytes_max && self.frames.len() > 1 {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(frame) = self.frames.pop_front() else {
            return;
        };
        self.bytes -= bytes_of(&frame);
        self.complete_from = frame.index + 1;
        for (tp, _) in &frame.batches {
            if let Some(batches) = self.batches.get_mut(tp) {
                batches.pop_front();
                if batches.is_empty() {
                    self.batches.remove(tp);
                }
            }
        }
    }

    /// What the frames take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The first frame from `index` on, or how far the log must be read for it.
    pub fn find(&self, index: u64) -> Found {
        if index < self.complete_from {
            return Found::OnDisk {
                to: self.complete_from,
            };
        }
        let at = self.frames.partition_point(|frame| frame.index < index);
        match self.frames.get(at) {
            Some(frame) => Found::Here(frame.clone()),
            None => Found::Nothing {
                committed: self.committed,
            },
        }
    }

    /// Batches from the one that holds `from` on; `None` if that one is not here any more.
    pub fn read(
        &self,
        tp: TopicPartition,
        from: i64,
        bytes_max: usize,
    ) -> Option<Vec<RecordBatch>> {
        let batches = self.batches.get(&tp)?;
        if batches.front()?.base_offset() > from {
            return None;
        }
        let at = batches.partition_point(|batch| batch.next_offset() <= from);
        let mut out = Vec::new();
        let mut bytes = 0;
        for batch in batches.iter().skip(at) {
            bytes += batch.bytes().len();
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(batch.clone());
        }
        Some(out)
    }
}

/// Where a frame is.
pub(crate) enum Found {
    Here(Arc<CommittedFrame>),
    OnDisk { to: u64 },
    Nothing { committed: u64 },
}

fn bytes_of(frame: &CommittedFrame) -> usize {
    let batches = frame
        .batches
        .iter()
        .map(|(_, batch)| batch.bytes().len() + OVERHEAD_BYTES);
    batches.sum::<usize>() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
