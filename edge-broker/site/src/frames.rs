//! Committed frames in log order, from memory while a reader keeps up, from the log when behind.

use std::sync::Arc;

use crate::append::CommittedFrame;
use crate::error::FrameReadError;

/// Reads committed frames in log order.
pub struct FrameReader {
    _private: (),
}

impl FrameReader {
    /// The next frame that holds batches; waits for one. Dropping the future midway loses nothing.
    pub async fn next(&mut self) -> Result<Arc<CommittedFrame>, FrameReadError> {
        unimplemented!()
    }

    /// The next one if it is committed already and in memory.
    pub fn try_next(&mut self) -> Option<Arc<CommittedFrame>> {
        unimplemented!()
    }

    /// The index that `next` looks for first.
    pub fn next_index(&self) -> u64 {
        unimplemented!()
    }
}
