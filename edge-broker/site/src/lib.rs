//! The replicated state machine of a site: topics, appends, marks, retention, consensus.
//!
//! ```text
//!  doors ──append──▶ inbox ──▶ site thread (SiteCore, pure) ──Persist──▶ storage thread (edge-log)
//!    ▲                              │    ▲                                       │
//!    └────── tickets, marks ◀───────┘    └───────────── durable ◀────────────────┘
//! ```
//!
//! [`SiteCore`] decides and is pure: inputs are calls, outputs are polled, time is an argument.
//! [`Site`] is the thin shell around it: two threads and a handle that every door clones.
//! Bytes on disk are left to `edge-log`, formats of records to `kafka-wire`.

mod age;
mod append;
mod bell;
mod clock;
mod compaction;
mod config;
pub mod control;
pub mod core;
mod damage;
mod error;
mod frames;
mod holes;
mod inbox;
mod ledger;
mod link;
mod memory;
mod recent;
pub mod retention;
mod run;
mod shared;
mod site;
pub mod state;
mod status;
mod storage;
mod ticket;
mod topics;
pub mod wear;
mod window;

pub use crate::core::SiteCore;
pub use age::Moment;
pub use append::{AckLevel, AppendRequest, Appended, CommittedFrame, Now, RefusedRecord};
pub use clock::{ClockTrust, Mend, Mends, mended_ms};
pub use config::{SiteConfig, WhenFull};
pub use damage::{Reading, next_readable, read_up_to_damage};
pub use edge_log::{StoreConfig, TopicId, TopicPartition};
pub use error::{FrameReadError, OpenError, ReadError, Refused, TopicError};
pub use frames::FrameReader;
pub use holes::LostOffsets;
pub use kafka_wire::{Compression, Header, Record, RecordBatch};
pub use ledger::{LossCause, LossEntry};
pub use link::{LinkMonth, LinkUse};
pub use memory::{Gauge, Memory, MemoryShares, MemoryShortage, Pressure, SHED_AT_PERCENT};
pub use site::{CommitWatch, Site, TryAppendError};
pub use status::{
    Alarm, Marks, OpenReport, QueueStatus, SiteStatus, StorageStatus, SyncStatus, TopicStatus,
    WearStatus, node_id,
};
pub use ticket::Ticket;
pub use topics::{
    CleanupPolicy, MESSAGE_BYTES, Priority, Topic, TopicConfig, TopicTable, TopicWhenFull,
    check_topic_name,
};
