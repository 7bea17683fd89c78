//! The slow work: what one piece of it does.
//!
//! Runs on a thread of its own beside the real disk, in line on the twin. No job adds a slice to
//! the catalog or takes one out: `upkeep` chooses the jobs and takes note of what came of them.

mod rescue;
mod rewrite;

use std::collections::BTreeMap;
use std::sync::Arc;

use rescue::rescue;
use rewrite::rewrite;

use crate::compaction::filter::Filter;
use crate::compaction::pass::Pass;
use crate::scan::Found;
use crate::shared::Shared;
use crate::slice_index::{self, Places, SliceIndex, Summary};
use crate::value::{self, Values};
use crate::{Checkpoint, Disk, DiskError, LostRange, TopicPartition, checkpoint, identity};

/// A piece of work. Numbers of new slices are given by the store.
pub enum Job {
    /// Creates the next slice ahead of need.
    Prepare { number: u64 },
    /// Closes a slice for good.
    Seal {
        number: u64,
        summary: Box<Summary>,
        index: Box<SliceIndex>,
    },
    /// Removes a slice that is in no catalog; first notes what it voided in older ones.
    Remove {
        number: u64,
        voided: Vec<(u64, Summary)>,
    },
    /// Moves a slice that is in no catalog aside.
    Quarantine { number: u64 },
    /// Copies what can be read of a slice that is not to be trusted.
    Rescue { source: Source, number: u64 },
    /// Copies what is alive of neighbouring slices into one.
    Rewrite {
        sources: Vec<Source>,
        number: u64,
        starts: Arc<BTreeMap<TopicPartition, i64>>,
        /// What compaction leaves out, too.
        filter: Option<Arc<Filter>>,
    },
    /// Reads a slice for compaction.
    Compact(Box<Pass>),
    /// Writes a plain file.
    SaveFile { name: &'static str, bytes: Vec<u8> },
    /// Writes a checkpoint.
    Checkpoint(Checkpoint),
    /// Writes the checkpoint that is there a second time.
    CopyCheckpoint(Checkpoint),
    /// Makes what was written to the identity file durable.
    SyncIdentity,
    /// Makes names durable that an earlier process gave.
    SyncNames { slices: Vec<u64> },
}

/// A slice to copy, as the catalog knows it.
pub struct Source {
    pub number: u64,
    pub summary: Summary,
    pub live: Option<Box<SliceIndex>>,
}

/// What came of it.
pub enum Outcome<D: Disk> {
    Prepared {
        number: u64,
        slice: Arc<D::Slice>,
    },
    Sealed {
        number: u64,
        summary: Box<Summary>,
        file_bytes: u64,
    },
    Removed {
        number: u64,
    },
    Saved,
    Compacted(Box<Pass>),
    Quarantined {
        number: u64,
        name: String,
    },
    Rescued {
        old: u64,
        copied: Option<(u64, Box<Summary>)>,
        lost: Option<LostRange>,
    },
    Rewritten {
        old: Vec<u64>,
        copied: Option<(u64, Box<Summary>)>,
    },
    Checkpoint {
        checkpoint: Checkpoint,
        saved: Result<u64, DiskError>,
    },
    IdentitySynced {
        synced: Result<(), DiskError>,
        took_us: u64,
    },
    CheckpointCopied {
        index: u64,
    },
    NamesSynced {
        slices: Vec<u64>,
    },
    Failed {
        job: Job,
        error: DiskError,
    },
}

/// Of what kind a piece of work is: each kind waits for its own failures only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Prepare,
    Seal,
    /// Removing, moving aside and copying what is damaged: here each slice has its own pause.
    GetRid,
    Rescue,
    Rewrite,
    Compact,
    Checkpoint,
    SyncIdentity,
    SyncNames,
    /// No job: done in line.
    SaveTail,
}

impl Job {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Job::Prepare { .. } => Kind::Prepare,
            Job::Seal { .. } => Kind::Seal,
            Job::Remove { .. } | Job::Quarantine { .. } => Kind::GetRid,
            Job::Rescue { .. } => Kind::Rescue,
            Job::Rewrite { .. } => Kind::Rewrite,
            Job::Compact(_) | Job::SaveFile { .. } => Kind::Compact,
            Job::Checkpoint(_) | Job::CopyCheckpoint(_) => Kind::Checkpoint,
            Job::SyncIdentity => Kind::SyncIdentity,
            Job::SyncNames { .. } => Kind::SyncNames,
        }
    }

    /// What it is, in words.
    pub fn what(&self) -> String {
        match self {
            Job::Prepare { .. } => "creating the next slice".into(),
            Job::Seal { number, .. } => format!("sealing slice {number}"),
            Job::Remove { number, .. } => format!("removing slice {number}"),
            Job::Quarantine { number } => format!("moving slice {number} aside"),
            Job::Rescue { source, .. } => format!("copying slice {}", source.number),
            Job::Rewrite { sources, .. } => format!("rewriting {} slices", sources.len()),
            Job::Compact(_) => "reading for compaction".into(),
            Job::SaveFile { name, .. } => format!("writing {name}"),
            Job::Checkpoint(_) => "writing a checkpoint".into(),
            Job::CopyCheckpoint(_) => "writing a checkpoint a second time".into(),
            Job::SyncIdentity => "syncing the identity file".into(),
            Job::SyncNames { .. } => "syncing the folders".into(),
        }
    }
}

/// Does it.
pub fn run<D: Disk>(shared: &Shared<D>, job: Job) -> Outcome<D> {
    if let Job::Compact(mut pass) = job {
        return match pass.step(shared) {
            Ok(()) => Outcome::Compacted(pass),
            Err(error) => Outcome::Failed {
                job: Job::Compact(pass),
                error,
            },
        };
    }
    let done = match &job {
        Job::Prepare { number } => prepare(shared, *number),
        Job::Seal {
            number,
            summary,
            index,
        } => seal(shared, *number, summary, index),
        Job::Remove { number, voided } => remove(shared, *number, voided),
        Job::Quarantine { number } => quarantine(shared, *number),
        Job::Rescue { source, number } => rescue(shared, source, *number),
        Job::Rewrite {
            sources,
            number,
            starts,
            filter,
        } => rewrite(shared, sources, *number, starts, filter.as_deref()),
        Job::SaveFile { name, bytes } => {
            let saved = shared.disk.replace_file(name, bytes);
            saved.map(|()| Outcome::Saved)
        }
        Job::Compact(_) => unreachable!("done above"),
        Job::Checkpoint(checkpoint) => Ok(save(shared, checkpoint)),
        Job::CopyCheckpoint(checkpoint) => {
            let index = checkpoint.index;
            let copied = checkpoint::copy(&shared.disk, checkpoint);
            copied.map(|()| Outcome::CheckpointCopied { index })
        }
        Job::SyncIdentity => Ok(sync_identity(shared)),
        Job::SyncNames { slices } => {
            let synced = shared.disk.sync_names(slices);
            let slices = slices.clone();
            synced.map(|()| Outcome::NamesSynced { slices })
        }
    };
    done.unwrap_or_else(|error| Outcome::Failed { job, error })
}

fn prepare<D: Disk>(shared: &Shared<D>, number: u64) -> Result<Outcome<D>, DiskError> {
    let slice = Arc::new(shared.create_slice(number)?);
    Ok(Outcome::Prepared { number, slice })
}

fn save<D: Disk>(shared: &Shared<D>, checkpoint: &Checkpoint) -> Outcome<D> {
    let saved = checkpoint::save(&shared.disk, checkpoint);
    Outcome::Checkpoint {
        checkpoint: checkpoint.clone(),
        saved: saved.map(|()| checkpoint.data.len() as u64),
    }
}

fn sync_identity<D: Disk>(shared: &Shared<D>) -> Outcome<D> {
    let before_us = shared.disk.now_us();
    let synced = identity::sync(&shared.disk);
    let took_us = shared.disk.now_us() - before_us;
    Outcome::IdentitySynced { synced, took_us }
}

fn busy(number: u64) -> DiskError {
    DiskError::Io(format!("slice {number} is being read"))
}

fn seal<D: Disk>(
    shared: &Shared<D>,
    number: u64,
    summary: &Summary,
    index: &SliceIndex,
) -> Result<Outcome<D>, DiskError> {
    let mut summary = summary.clone();
    summary.partitions = index.spans().collect();
    shared.let_go(number);
    shared.disk.seal_slice(number)?;
    let slice = shared.disk.read_slice(number)?;
    let places = Places::find(&slice, shared.secret, &index.frames)?;
    slice_index::store(&shared.disk, number, &summary, index, &places)?;
    let file_bytes = shared.disk.slice_bytes(number);
    Ok(Outcome::Sealed {
        number,
        summary: Box::new(summary),
        file_bytes,
    })
}

fn remove<D: Disk>(
    shared: &Shared<D>,
    number: u64,
    voided: &[(u64, Summary)],
) -> Result<Outcome<D>, DiskError> {
    for (older, summary) in voided {
        let index = shared.index(*older)?;
        slice_index::store(&shared.disk, *older, summary, &index, &index.places)?;
    }
    if !shared.close(number) {
        return Err(busy(number));
    }
    shared.disk.remove_slice(number)?;
    Ok(Outcome::Removed { number })
}

fn quarantine<D: Disk>(shared: &Shared<D>, number: u64) -> Result<Outcome<D>, DiskError> {
    if !shared.close(number) {
        return Err(busy(number));
    }
    let name = shared.disk.quarantine_slice(number)?;
    Ok(Outcome::Quarantined { number, name })
}

fn read_frame(values: &impl Values, sequence: u64) -> Result<Found, DiskError> {
    let stored = value::read_frame(values, sequence)?;
    let gone = || DiskError::Damaged(format!("write {sequence} is gone"));
    Ok(Found::new(sequence, stored.ok_or_else(gone)?))
}
