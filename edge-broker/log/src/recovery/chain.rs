//! Which of the writes found on a disk count.
//!
//! ```text
//! found      … 66 <- 67?  68 <- 67   71 <- 66   72 <- 71   73 <- 72   75 <- 74?
//!                 torn, given up │       durable up to 72 │    whole        torn
//! counts     … 66                    71         72             73
//! ```
//! Every write names the one accepted before it. Up to the durable mark the chain is followed
//! back from the mark: what it leaves out was given up by a later writer, where it breaks
//! something is lost. Behind the mark it is followed forward: where it breaks the tail was torn,
//! which nobody was told of. Pure; `judge` calls it with what was found and acts on the verdict.

use std::ops::RangeInclusive;

/// A whole write, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub sequence: u64,
    /// The write accepted before it.
    pub previous: u64,
    pub index: u64,
}

/// A slice, found. Slices come in write order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// Known by its summary, or a copy: all of it counts.
    Closed {
        continues: u64,
        last_sequence: u64,
        indexes: RangeInclusive<u64>,
    },
    /// Read write by write; its header may be gone.
    Open {
        continues: Option<u64>,
        writes: Vec<Write>,
    },
}

/// Writes that were durable and are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Their sequences.
    pub after: u64,
    pub to: u64,
    /// The slice they should be in or behind.
    pub section: usize,
    /// Index of the last write before and the first after them.
    pub index_before: u64,
    pub index_after: Option<u64>,
    /// The smallest index written after them: what was lost from there on was void.
    pub void_from: Option<u64>,
}

/// What counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// By section, the sequences of open ones that count.
    pub counts: Vec<Vec<u64>>,
    /// Oldest first.
    pub gaps: Vec<Gap>,
}

/// Judges all writes, given the last one known to have been durable.
pub fn judge(sections: &[Section], durable: u64) -> Verdict {
    let sections = &without_copied(sections);
    let mut verdict = Verdict {
        counts: vec![Vec::new(); sections.len()],
        gaps: Vec::new(),
    };
    follow_back(sections, durable, &mut verdict);
    follow_on(sections, durable, &mut verdict);
    verdict
}

/// A closed slice holds all that counts between its ends; what open ones have of it are leftovers
/// of what was copied there.
fn without_copied(sections: &[Section]) -> Vec<Section> {
    let closed: Vec<RangeInclusive<u64>> = sections
        .iter()
        .filter_map(|section| match section {
            Section::Closed {
                continues,
                last_sequence,
                ..
            } => Some(continues + 1..=*last_sequence),
            Section::Open { .. } => None,
        })
        .collect();
    let mut sections = sections.to_vec();
    for section in &mut sections {
        if let Section::Open { writes, .. } = section {
            writes.retain(|write| !closed.iter().any(|range| range.contains(&write.sequence)));
        }
    }
    sections
}

struct Back {
    /// The next write of the chain.
    need: u64,
    index_after: Option<u64>,
    void_from: Option<u64>,
    gaps: Vec<Gap>,
}

impl Back {
    /// Comes to a write or an end that should be the needed one.
    fn reach(&mut self, sequence: u64, section: usize, index_before: u64) {
        if sequence < self.need {
            self.gaps.push(Gap {
                after: sequence,
                to: self.need,
                section,
                index_before,
                index_after: self.index_after,
                void_from: self.void_from,
            });
        }
    }

    /// Goes on before a write of that index.
    fn pass(&mut self, index: u64, previous: u64) {
        self.index_after = Some(index);
        self.void_from = Some(self.void_from.map_or(index, |lowest| lowest.min(index)));
        self.need = previous;
    }

    /// Goes through the writes of an open slice; returns those of the chain, oldest first.
    fn walk(&mut self, writes: &[Write], section: usize) -> Vec<u64> {
        let mut counts = Vec::new();
        for write in writes.iter().rev() {
            // What is not needed was given up by a later writer.
            if write.sequence <= self.need {
                self.reach(write.sequence, section, write.index);
                self.pass(write.index, write.previous);
                counts.push(write.sequence);
            }
        }
        counts.reverse();
        counts
    }
}

fn follow_back(sections: &[Section], durable: u64, verdict: &mut Verdict) {
    let mut back = Back {
        need: durable,
        index_after: None,
        void_from: None,
        gaps: Vec::new(),
    };
    for (at, section) in sections.iter().enumerate().rev() {
        match section {
            Section::Closed {
                continues,
                last_sequence,
                indexes,
            } => {
                back.reach(*last_sequence, at, *indexes.end());
                back.pass(*indexes.start(), *continues);
            }
            Section::Open { continues, writes } => {
                let counts = back.walk(writes, at);
                // A slice without a write that counts proves nothing: it was given up itself.
                let begun = continues.filter(|_| !counts.is_empty());
                verdict.counts[at] = counts;
                if let Some(continues) = begun.filter(|continues| *continues < back.need) {
                    let before = index_before(sections, at);
                    back.reach(continues, at, before);
                    back.need = continues;
                }
            }
        }
    }
    if back.need > 0 {
        back.reach(0, 0, 0);
    }
    back.gaps.reverse();
    verdict.gaps = back.gaps;
}

/// The last index of the slices before one.
fn index_before(sections: &[Section], at: usize) -> u64 {
    let last = |section: &Section| match section {
        Section::Closed { indexes, .. } => Some(*indexes.end()),
        Section::Open { writes, .. } => writes.last().map(|write| write.index),
    };
    sections[..at].iter().rev().find_map(last).unwrap_or(0)
}

fn follow_on(sections: &[Section], durable: u64, verdict: &mut Verdict) {
    // (section, sequence, index) of what is accepted behind the mark.
    let mut accepted: Vec<(usize, u64, u64)> = Vec::new();
    for (at, section) in sections.iter().enumerate() {
        let Section::Open { writes, .. } = section else {
            continue;
        };
        for write in writes.iter().filter(|write| write.sequence > durable) {
            let known = accepted
                .iter()
                .rposition(|(_, sequence, _)| *sequence == write.previous);
            match known {
                Some(position) => accepted.truncate(position + 1),
                None if write.previous == durable => accepted.clear(),
                None => continue,
            }
            accepted.push((at, write.sequence, write.index));
        }
    }
    for (at, sequence, index) in accepted {
        for gap in &mut verdict.gaps {
            gap.void_from = Some(gap.void_from.map_or(index, |lowest| lowest.min(index)));
        }
        verdict.counts[at].push(sequence);
    }
}

#[cfg(test)]
mod tests;
