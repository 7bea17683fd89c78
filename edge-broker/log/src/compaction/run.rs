//! When compaction is due, and what its next piece of work is.
//!
//! A run takes rounds (`pass`) over shares of the keys until none is left, then notes how far it
//! looked. The store's thread chooses here; reading and rewriting are jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::compaction::CompactTo;
use crate::compaction::filter::Filter;
use crate::compaction::offset_map::{OffsetMap, Share};
use crate::compaction::pass::{Pass, Phase};
use crate::jobs::{Job, Kind};
use crate::{Disk, Store, TopicPartition};

/// A run begins when so much of what it would read was not looked at yet, in percent; Kafka's
/// `min.cleanable.dirty.ratio`. A slice is rewritten when so much of its batches goes by it.
const DIRTY_PERCENT: u64 = 50;

/// The same when the store is nearly full.
const DIRTY_PERCENT_PRESSED: u64 = 10;

/// Nearly full: fewer slices than this may be appended; a quarter of a small store. The site makes
/// room by other means from half of that on.
const PRESSED_SLICES: u64 = 4;

/// One rewriting reads no more slices than this, so that sealing need not wait for long.
const GROUP_SLICES_MAX: usize = 4;

/// A slice with less than this share of a slice's bytes goes along when a neighbour is rewritten.
const SMALL_SHARE: u64 = 8;

/// Whether a run is due is asked so often at most.
const LOOK_INTERVAL_MS: u64 = 200;

/// How far partitions were looked at; with a checksum behind it.
const FILE: &str = "compacted";

/// What is compacted, and the run under way.
#[derive(Default)]
pub struct Compacting {
    to: Arc<BTreeMap<TopicPartition, CompactTo>>,
    /// The offset up to which each partition was looked at; `None` before the file was read.
    looked: Option<BTreeMap<TopicPartition, i64>>,
    run: Option<Run>,
    looked_at_ms: u64,
}

/// One run.
struct Run {
    shares: Vec<Share>,
    /// The round under way, while no job has it.
    pass: Option<Box<Pass>>,
    /// How far every round of it looked.
    reached: BTreeMap<TopicPartition, i64>,
    /// Slices were copied by somebody else, so this round may miss records.
    disturbed: bool,
}

impl Compacting {
    /// A copy was made that a round does not know.
    pub fn disturb(&mut self) {
        if let Some(run) = self.run.as_mut() {
            run.disturbed = true;
        }
    }

    /// Something of it failed: later it begins anew.
    pub fn give_up(&mut self) {
        self.run = None;
    }

    /// A round comes back from its job; one that was given up meanwhile is forgotten.
    pub fn take_back(&mut self, pass: Box<Pass>) {
        if let Some(run) = self.run.as_mut() {
            run.pass = Some(pass);
        }
    }
}

/// What there is to compact.
struct Extent {
    /// In write order.
    slices: Vec<u64>,
    all_bytes: u64,
    dirty_bytes: u64,
    reached: BTreeMap<TopicPartition, i64>,
}

impl<D: Disk> Store<D> {
    pub(crate) fn take_compaction(&mut self, to: &BTreeMap<TopicPartition, CompactTo>) {
        let compacting = &mut self.upkeep.compacting;
        if compacting
            .to
            .keys()
            .any(|partition| !to.contains_key(partition))
        {
            // A topic is not compacted any more: at once, not after this run.
            compacting.give_up();
        }
        if *compacting.to != *to {
            compacting.to = Arc::new(to.clone());
        }
        if compacting.looked.is_none() && !to.is_empty() {
            compacting.looked = Some(load(&self.shared.disk).unwrap_or_default());
        }
    }

    /// Compaction may still make room without anybody's help.
    pub(crate) fn is_compacting(&self) -> bool {
        self.upkeep.compacting.run.is_some() || self.due_extent().is_some()
    }

    /// The next piece of compaction, if there is any.
    pub(crate) fn next_compaction(&mut self, now_ms: u64) -> Option<Job> {
        if !self.upkeep.may(Kind::Compact, now_ms) {
            return None;
        }
        if self.upkeep.compacting.run.is_none() {
            self.begin_run(now_ms)?;
        }
        loop {
            // A slice that may come back has what tombstones hide.
            let all_gone = self.upkeep.all_gone();
            let run = self.upkeep.compacting.run.as_mut()?;
            run.disturbed |= !all_gone;
            let disturbed = run.disturbed;
            let Some(mut pass) = run.pass.take() else {
                match run.shares.pop() {
                    Some(share) => self.begin_pass(share),
                    None => return self.end_run(),
                }
                continue;
            };
            if disturbed && !pass.filter.tombstones_stay {
                Arc::make_mut(&mut pass.filter).tombstones_stay = true;
            }
            if pass.phase != Phase::Rewrite {
                return Some(Job::Compact(pass));
            }
            let job = self.next_group(&mut pass);
            let run = self.upkeep.compacting.run.as_mut()?;
            if job.is_some() {
                run.pass = Some(pass);
                return job;
            }
            run.shares.extend(pass.filter.map.left_out());
        }
    }

    fn begin_run(&mut self, now_ms: u64) -> Option<()> {
        let compacting = &mut self.upkeep.compacting;
        if now_ms < compacting.looked_at_ms + LOOK_INTERVAL_MS {
            return None;
        }
        compacting.looked_at_ms = now_ms;
        let extent = self.due_extent()?;
        self.upkeep.compacting.run = Some(Run {
            shares: vec![Share::default()],
            pass: None,
            reached: extent.reached,
            disturbed: false,
        });
        Some(())
    }

    fn end_run(&mut self) -> Option<Job> {
        let compacting = &mut self.upkeep.compacting;
        let run = compacting.run.take()?;
        let looked = compacting.looked.get_or_insert_default();
        looked.retain(|partition, _| compacting.to.contains_key(partition));
        looked.extend(run.reached);
        Some(Job::SaveFile {
            name: FILE,
            bytes: encode(looked),
        })
    }

    /// What there is to compact, if that is worth a run.
    fn due_extent(&self) -> Option<Extent> {
        if self.upkeep.compacting.to.is_empty() {
            return None;
        }
        let extent = self.extent()?;
        let worth = extent.dirty_bytes * 100 >= extent.all_bytes * self.dirty_percent();
        (extent.dirty_bytes > 0 && worth).then_some(extent)
    }

    fn dirty_percent(&self) -> u64 {
        let slices = PRESSED_SLICES * self.config.slice_bytes;
        let pressed_bytes = slices.min(self.config.bytes_max / 4);
        match self.append_bytes_left() < pressed_bytes {
            true => DIRTY_PERCENT_PRESSED,
            false => DIRTY_PERCENT,
        }
    }

    fn extent(&self) -> Option<Extent> {
        let starts = self.starts.as_ref()?;
        let compacting = &self.upkeep.compacting;
        let catalog = self.shared.catalog();
        let settled = self.settled_numbers(&catalog);
        let among: BTreeSet<u64> = settled.iter().copied().collect();
        let mut holding = BTreeSet::new();
        let mut extent = Extent {
            slices: settled,
            all_bytes: 0,
            dirty_bytes: 0,
            reached: BTreeMap::new(),
        };
        for (partition, to) in compacting.to.iter() {
            let Some(start) = starts.get(partition).copied() else {
                continue;
            };
            let looked = compacting.looked.as_ref().and_then(|l| l.get(partition));
            let looked = looked.map_or(start, |looked| *looked.max(&start));
            for (number, part) in catalog.parts_in(*partition, &among) {
                let bytes = part.bytes_between(start, to.below);
                if bytes > 0 {
                    holding.insert(number);
                    extent.all_bytes += bytes;
                    extent.dirty_bytes += part.bytes_between(looked, to.below);
                    let reached = part.next_offset().min(to.below);
                    extent.reached.insert(*partition, reached);
                }
            }
        }
        extent.slices.retain(|number| holding.contains(number));
        Some(extent)
    }

    /// The slices, oldest first, up to the first one that raft, a checkpoint or salvage is not
    /// done with: none is left out between them.
    fn settled_numbers(&self, catalog: &Catalog) -> Vec<u64> {
        let kept = self.kept_numbers(catalog);
        let spare = self.spare_numbers(catalog);
        let settled = catalog.slices().take_while(|entry| {
            let may = spare.contains(&entry.number) && !kept.contains(&entry.number);
            may && entry.sealed() && entry.trusted()
        });
        settled.map(|entry| entry.number).collect()
    }

    fn begin_pass(&mut self, share: Share) {
        let Some((extent, starts)) = self.extent().zip(self.starts.clone()) else {
            return self.upkeep.compacting.give_up();
        };
        let salt = self.shared.disk.random();
        let filter = Filter {
            to: Arc::clone(&self.upkeep.compacting.to),
            map: OffsetMap::new(share, self.config.compaction_keys_max, salt),
            tombstones_stay: false,
        };
        let pass = Pass::new(filter, starts, extent.slices);
        if let Some(run) = self.upkeep.compacting.run.as_mut() {
            run.pass = Some(Box::new(pass));
            run.disturbed = false;
        }
    }

    /// Neighbouring slices to rewrite into one: each frees enough, or is small.
    fn next_group(&mut self, pass: &mut Pass) -> Option<Job> {
        let percent = (self.dirty_percent() / pass.filter.map.share().of()).max(1);
        let catalog = self.shared.catalog();
        let live = catalog.live_bytes();
        let settled = self.settled_numbers(&catalog);
        let (mut group, mut bytes, mut worth) = (Vec::new(), 0, false);
        for number in settled {
            let of = live.get(&number).copied().unwrap_or_default();
            let dead_bytes = pass.dead_bytes.get(&number).copied().unwrap_or(0);
            let left = of.live.saturating_sub(dead_bytes);
            let frees = dead_bytes > 0 && (of.all - left) * 100 >= of.all * percent;
            let small = left < self.config.slice_bytes / SMALL_SHARE;
            let known = pass.slices.contains(&number) && !pass.done.contains(&number);
            let joins = known && (frees || small);
            let fits = bytes + left <= self.config.slice_bytes && group.len() < GROUP_SLICES_MAX;
            if !joins || !fits {
                if worth {
                    break;
                }
                group.clear();
                bytes = 0;
            }
            if joins {
                bytes += left;
                worth |= frees;
                group.push(number);
            }
        }
        if !worth {
            return None;
        }
        pass.done.extend(&group);
        let sources = group
            .iter()
            .filter_map(|number| crate::upkeep::source(&catalog, *number));
        let sources = sources.collect();
        drop(catalog);
        Some(Job::Rewrite {
            sources,
            number: self.take_number(),
            starts: self.starts.clone()?,
            filter: Some(Arc::clone(&pass.filter)),
        })
    }
}

fn encode(looked: &BTreeMap<TopicPartition, i64>) -> Vec<u8> {
    // A map of numbers always encodes.
    let mut bytes = postcard::to_allocvec(looked).unwrap_or_default();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn load<D: Disk>(disk: &D) -> Option<BTreeMap<TopicPartition, i64>> {
    let bytes = disk.read_file(FILE, usize::MAX).ok()??;
    let (payload, crc) = bytes.split_last_chunk::<4>()?;
    (crc32c::crc32c(payload) == u32::from_le_bytes(*crc)).then_some(())?;
    postcard::from_bytes(payload).ok()
}
