//! Raft's `Storage`: a bounded window of entries in memory, and the term of every index on disk.
//!
//! ```text
//!        first                mem_first                last
//!  disk ──┼───────────────────────┼──────────────────────┤
//!         └── only terms known ───┴── entries in memory ──┘
//! ```
//! Never touches a disk: what raft wants for a follower from below `mem_first` is noted as a
//! [`Fetch`], and given back by whoever has the log (raft retries then). Entries not yet applied or
//! not yet durable stay in memory whatever the bound says, so that apply never waits for a disk.

use std::cell::RefCell;
use std::collections::VecDeque;

use edge_log::{EntryKind, HardState};
use raft::eraftpb::{self, ConfState, EntryType, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

/// What raft costs per entry beside its data; for the bounds.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Entries that raft wants for a follower and that are only on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// First index wanted.
    pub from_index: u64,
    /// First index not wanted.
    pub to_index: u64,
    /// About how much.
    pub bytes_max: usize,
}

/// The window.
pub(crate) struct Window {
    hard_state: HardState,
    voters: Vec<u64>,
    first: u64,
    terms: Vec<(u64, u64)>,
    entries: VecDeque<eraftpb::Entry>,
    mem_first: u64,
    bytes: usize,
    bytes_max: usize,
    fetched: Vec<eraftpb::Entry>,
    wanted: RefCell<Vec<(Fetch, GetEntriesContext)>>,
}

impl Window {
    /// An empty window after `last`; `terms` are runs (first index, term) from `first - 1` on.
    pub fn new(
        hard_state: HardState,
        voters: Vec<u64>,
        first: u64,
        last: u64,
        terms: Vec<(u64, u64)>,
        bytes_max: usize,
    ) -> Self {
        Window {
            hard_state,
            voters,
            first,
            terms,
            entries: VecDeque::new(),
            mem_first: last + 1,
            bytes: 0,
            bytes_max,
            fetched: Vec::new(),
            wanted: RefCell::new(Vec::new()),
        }
    }

    /// Adds entries, of which the first may overwrite a suffix.
    pub fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index >= self.mem_first,
            "only unapplied entries are overwritten"
        );
        assert!(first.index <= self.last() + 1, "no gap in the log");
        self.truncate(first.index);
        for entry in entries {
            if self
                .terms
                .last()
                .is_none_or(|&(_, term)| term != entry.term)
            {
                self.terms.push((entry.index, entry.term));
            }
            self.bytes += entry.data.len() + ENTRY_OVERHEAD_BYTES;
            self.entries.push_back(entry.clone());
        }
    }

    fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|e| e.index >= from) {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.bytes -= entry.data.len() + ENTRY_OVERHEAD_BYTES;
        }
        while self.terms.last().is_some_and(|&(index, _)| index >= from) {
            self.terms.pop();
        }
        self.fetched.retain(|entry| entry.index < from);
    }

    /// Lets entries up to `settled` (applied and durable) go while more than `keep_bytes` are held.
    pub fn evict(&mut self, settled: u64, keep: bool) {
        let bytes_max = if keep { self.bytes_max } else { 0 };
        while self.bytes > bytes_max && self.entries.front().is_some_and(|e| e.index <= settled) {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= entry.data.len() + ENTRY_OVERHEAD_BYTES;
            self.mem_first = entry.index + 1;
        }
    }

    /// Frames below `first` are no longer on disk.
    pub fn set_first(&mut self, first: u64) {
        if first <= self.first || first > self.mem_first {
            return;
        }
        self.first = first;
        // The run that holds `first - 1` stays: its term is still asked for.
        let runs_gone = self.terms.partition_point(|&(index, _)| index < first);
        self.terms.drain(..runs_gone.saturating_sub(1));
    }

    /// Follows what was handed to the disk, for raft's own restart only.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// As handed to the disk last.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Last index.
    pub fn last(&self) -> u64 {
        self.mem_first + self.entries.len() as u64 - 1
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What raft wanted and did not get since the last call.
    pub fn take_wanted(&self) -> Vec<(Fetch, GetEntriesContext)> {
        self.wanted.take()
    }

    /// Entries read from the disk for a [`Fetch`]; kept for the one retry that follows.
    pub fn set_fetched(&mut self, entries: Vec<eraftpb::Entry>) {
        self.fetched = entries;
    }

    /// An entry in memory.
    pub fn get(&self, index: u64) -> Option<&eraftpb::Entry> {
        self.entries
            .get(usize::try_from(index.checked_sub(self.mem_first)?).ok()?)
    }

    fn find_fetched(&self, low: u64, high: u64, bytes_max: u64) -> Option<Vec<eraftpb::Entry>> {
        let at = self.fetched.iter().position(|entry| entry.index == low)?;
        let found = self.fetched[at..]
            .iter()
            .take_while(|entry| entry.index < high);
        Some(limited(found, bytes_max))
    }
}

/// Up to `bytes_max`, at least one.
fn limited<'a>(
    entries: impl Iterator<Item = &'a eraftpb::Entry>,
    bytes_max: u64,
) -> Vec<eraftpb::Entry> {
    let mut bytes = 0;
    let mut out = Vec::new();
    for entry in entries {
        bytes += (entry.data.len() + ENTRY_OVERHEAD_BYTES) as u64;
        if bytes > bytes_max && !out.is_empty() {
            break;
        }
        out.push(entry.clone());
    }
    out
}

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        let HardState { term, vote, commit } = self.hard_state;
        let hard_state = eraftpb::HardState {
            term,
            vote,
            commit,
            ..Default::default()
        };
        let conf_state = ConfState {
            voters: self.voters.clone(),
            ..Default::default()
        };
        Ok(RaftState::new(hard_state, conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<eraftpb::Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if low < self.first {
            return Err(Error::Store(StorageError::Compacted));
        }
        if low >= self.mem_first {
            let from = (low - self.mem_first) as usize;
            let to = (high - self.mem_first) as usize;
            return Ok(limited(self.entries.range(from..to), bytes_max));
        }
        if let Some(found) = self.find_fetched(low, high, bytes_max) {
            return Ok(found);
        }
        if !context.can_async() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let fetch = Fetch {
            from_index: low,
            to_index: high.min(self.mem_first),
            bytes_max: bytes_max.min(1 << 20) as usize,
        };
        self.wanted.borrow_mut().push((fetch, context));
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == 0 {
            return Ok(0);
        }
        if index + 1 < self.first {
            return Err(Error::Store(StorageError::Compacted));
        }
        if index > self.last() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let run = self.terms.partition_point(|&(first, _)| first <= index);
        match run.checked_sub(1) {
            Some(run) => Ok(self.terms[run].1),
            None => Err(Error::Store(StorageError::Compacted)),
        }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.first)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        // A follower below the window gets a checkpoint and slices copied by its own transport.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// Raft's form of an entry.
pub(crate) fn to_raft(entry: edge_log::Entry) -> eraftpb::Entry {
    let mut out = eraftpb::Entry {
        index: entry.index,
        term: entry.term,
        ..Default::default()
    };
    out.data = entry.data;
    out.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChangeV2,
    });
    out
}

/// The log's form of an entry.
pub(crate) fn to_log(entry: &eraftpb::Entry) -> edge_log::Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::ConfChange,
    };
    edge_log::Entry {
        index: entry.index,
        term: entry.term,
        kind,
        data: entry.data.clone(),
    }
}

#[cfg(test)]
mod tests;
