//! Frames in slices: what one store keeps on its disk.
//!
//! ```text
//!            Store (one storage thread)                     Reader (any thread, blocking)
//!   persist ──> frames ──> newest slice ──> sync            read, entries, offset_for_timestamp
//!   maintain ─> seal, drop, rewrite, compact, salvage             │
//!                   │                                             │
//!                   └────────────── Disk, Slice ──────────────────┘
//!                            SledDisk        sim::MemDisk
//! ```
//!
//! The store knows frames, raft entries and record batches. It leaves to edge-site what they mean:
//! topics, commit, retention rules, who may read. Only `sled_disk` knows sled.

mod catalog;
mod checkpoint;
mod compaction;
mod config;
mod copy;
mod disk;
mod entry;
mod error;
mod frame;
mod identity;
mod jobs;
mod loss;
mod opened;
mod patience;
mod pause;
mod pool;
mod reader;
mod recovery;
mod report;
mod room;
mod scan;
mod secret;
mod shared;
pub mod sim;
mod sled_disk;
mod slice_index;
mod stats;
mod store;
mod upkeep;
mod value;

pub use compaction::CompactTo;
pub use config::StoreConfig;
pub use disk::{ClosedSlice, Disk, Seen, Slice, Unreadable, VALUE_BYTES_MAX};
pub use entry::{Checkpoint, Entry, EntryKind, HardState, TopicId, TopicPartition};
pub use error::{DiskError, FrameError, OpenError, PersistError, ReadError};
pub use frame::{
    BATCH_ITEM_BYTES, CONTROL_ITEM_BYTES, FRAME_HEADER_BYTES, FRAME_LEVEL, Frame, FrameBuilder,
    FrameHeader, Item,
};
pub use reader::Reader;
pub use report::{
    Durable, LostRange, Maintained, PartitionSpan, Recovery, SliceInfo, SyncTimes, Usage,
};
pub use sled_disk::{SledDisk, SledFile, SledSlice};
pub use store::Store;
