//! One slice as recovery finds it: sealed and known by its summary, or read frame by frame.
//!
//! A piece answers what `judge` asks of it and keeps what `judge` says counts. It changes nothing
//! on the disk: `inventory` finds the pieces, `rebuild` takes them into the log.

use super::chain::{Section, Write};
use crate::identity::Mark;
use crate::scan::{Found, Meta, Scanned};
use crate::slice_index::Summary;
use crate::{Disk, DiskError, LostRange, Seen};

/// One slice as found.
pub struct Piece {
    pub number: u64,
    pub content: Content,
    /// It was given up after a failed write, and counts up to this one.
    pub poisoned_at: Option<u64>,
    /// Frames of it are lost: to be salvaged.
    pub damaged: bool,
    /// The same of a sealed one, with what is left.
    pub salvage: Option<Salvage>,
}

/// What is left of a sealed slice.
pub struct Salvage {
    pub scanned: Scanned,
    /// Its frames that count and can be read.
    pub kept: Vec<Meta>,
}

/// What is known of a slice.
pub enum Content {
    /// Closed for good.
    Sealed(Box<Summary>),
    /// Looked through.
    Scanned {
        scanned: Scanned,
        /// The writes that count, once that is judged.
        accepted: Vec<u64>,
        /// The last write it stands for.
        covers: u64,
    },
}

impl Salvage {
    /// Reads one of them again.
    pub fn read<D: Disk>(&self, disk: &D, number: u64, frame: &Meta) -> Result<Found, DiskError> {
        self.scanned.read_patiently(disk, number, frame.sequence)
    }
}

impl Piece {
    /// The write accepted before its first one.
    pub fn continues(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.continues,
            Content::Scanned { scanned, .. } => {
                // Without a header, no more than its first frame vouches for.
                let first = scanned.frames.first().map(|frame| frame.envelope.durable);
                scanned
                    .header
                    .as_ref()
                    .map(|h| h.continues)
                    .or(first)
                    .unwrap_or(0)
            }
        }
    }

    /// Nothing is found in it: it was created ahead and never written, or cannot be read at all.
    pub fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Scanned { scanned, .. } if scanned.is_empty())
    }

    /// Its place in write order; one without anything comes last.
    pub fn order(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.first_sequence,
            Content::Scanned { scanned, .. } if scanned.is_empty() => u64::MAX,
            Content::Scanned { scanned, .. } => scanned
                .frames
                .first()
                .map_or(self.continues() + 1, |frame| frame.sequence),
        }
    }

    /// The highest write of which it proves that it was durable.
    pub fn proves(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.last_sequence,
            Content::Scanned { scanned, .. } => {
                let frames = scanned
                    .frames
                    .iter()
                    .map(|frame| frame.envelope.durable)
                    .max();
                self.continues().max(frames.unwrap_or(0))
            }
        }
    }

    /// What `chain` judges.
    pub fn section(&self) -> Section {
        match &self.content {
            Content::Sealed(summary) => Section::Closed {
                continues: summary.continues,
                last_sequence: summary.last_sequence,
                indexes: summary.first_index..=summary.last_index,
            },
            Content::Scanned { scanned, .. } => {
                let write = |frame: &Meta| Write {
                    sequence: frame.sequence,
                    previous: frame.envelope.previous,
                    index: frame.envelope.index,
                };
                let writes: Vec<Write> = scanned.frames.iter().map(write).collect();
                let header = scanned.header.as_ref();
                match (
                    header.filter(|header| !header.replaces.is_empty()),
                    writes.last(),
                ) {
                    (Some(copy), Some(last)) => Section::Closed {
                        continues: copy.continues,
                        last_sequence: last.sequence,
                        indexes: writes[0].index..=last.index,
                    },
                    _ => Section::Open {
                        continues: header.map(|h| h.continues),
                        writes,
                    },
                }
            }
        }
    }

    /// Whether a write was found in it when it was looked through.
    pub fn has_scanned(&self, sequence: u64) -> bool {
        let Content::Scanned { scanned, .. } = &self.content else {
            return false;
        };
        let found = scanned
            .frames
            .binary_search_by_key(&sequence, |frame| frame.sequence);
        found.is_ok()
    }

    /// Dead batches were left out of it.
    pub fn is_reduced(&self) -> bool {
        match &self.content {
            Content::Sealed(summary) => summary.reduced,
            Content::Scanned { scanned, .. } => scanned.is_reduced(),
        }
    }

    /// Retention took what was before it, or some of it.
    pub fn is_trimmed(&self) -> bool {
        match &self.content {
            _ if self.is_reduced() => true,
            Content::Sealed(summary) => summary.continues > 0,
            Content::Scanned { scanned, .. } => {
                let header = scanned.header.as_ref();
                header.is_some_and(|header| header.continues > 0)
            }
        }
    }

    /// The smallest index that counts in it: earlier slices are void from there on.
    pub fn voids_from(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.voids_from,
            Content::Scanned {
                scanned, accepted, ..
            } => {
                let counting = scanned.among(accepted);
                let indexes = counting.map(|frame| frame.envelope.index);
                indexes.min().unwrap_or(u64::MAX)
            }
        }
    }

    /// Some of it could not be read, and nobody knows what that is.
    pub fn is_read_in_part(&self) -> bool {
        matches!(&self.content, Content::Scanned { scanned, .. } if scanned.seen == Seen::Part)
    }

    /// The last write that counts.
    pub fn last_accepted(&self) -> Option<u64> {
        if self
            .salvage
            .as_ref()
            .is_some_and(|left| left.kept.is_empty())
        {
            return None;
        }
        match &self.content {
            Content::Sealed(summary) => Some(summary.last_sequence),
            Content::Scanned { accepted, .. } => accepted.last().copied(),
        }
    }

    /// The last index in it.
    pub fn last_index(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.last_index,
            Content::Scanned { scanned, .. } => {
                let indexes = scanned.frames.iter().map(|frame| frame.envelope.index);
                indexes.max().unwrap_or(0)
            }
        }
    }

    /// The last write of which anything is there.
    pub fn last_sequence(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.last_sequence,
            Content::Scanned { scanned, .. } => scanned.last_sequence,
        }
    }

    /// Keeps the frames that count.
    pub fn accept(&mut self, counts: &[u64]) {
        let closed = matches!(self.section(), Section::Closed { .. });
        if let Content::Scanned {
            scanned,
            accepted,
            covers,
        } = &mut self.content
        {
            *accepted = match closed {
                true => scanned.frames.iter().map(|frame| frame.sequence).collect(),
                false => counts.to_vec(),
            };
            *covers = accepted.last().copied().unwrap_or(0);
        }
    }

    /// The write of the durable mark must be the one that was marked.
    pub fn misses_mark(&self, mark: &Mark) -> Option<LostRange> {
        let Content::Scanned {
            accepted, scanned, ..
        } = &self.content
        else {
            return None;
        };
        accepted.binary_search(&mark.sequence).ok()?;
        let frame = scanned
            .frames
            .iter()
            .find(|frame| frame.sequence == mark.sequence)?;
        (frame.crc != mark.crc).then(|| LostRange {
            first_index: mark.index,
            last_index: mark.index,
            partitions: Vec::new(),
            cause: format!("write {} is not the one that was durable", mark.sequence),
        })
    }

    /// It stands for the writes up to this one, lost ones included.
    pub fn cover(&mut self, sequence: u64) {
        if let Content::Scanned { covers, .. } = &mut self.content {
            *covers = sequence.max(*covers);
            self.damaged = true;
        }
    }

    /// Its frames that count, read one by one.
    pub fn frames<'a, D: Disk>(
        &'a self,
        disk: &'a D,
    ) -> impl Iterator<Item = Result<Found, DiskError>> + 'a {
        let found = match &self.content {
            Content::Sealed(_) => None,
            Content::Scanned {
                scanned, accepted, ..
            } => Some((scanned, accepted)),
        };
        found.into_iter().flat_map(move |(scanned, accepted)| {
            let read = move |sequence: &u64| scanned.read_patiently(disk, self.number, *sequence);
            accepted.iter().map(read)
        })
    }
}
