//! What a power cut could leave of a recorded folder.
//!
//! [`Disk`] walks a recording and knows at every step what is durable and what is not;
//! [`Disk::image`] draws one legal image from a seed. Two questions decide an image:
//! [`Data`], what happened to bytes no sync covered, and [`Names`], what happened to creations,
//! renames and removals. A failed sync makes nothing durable and drops what waited for it: a later
//! sync that succeeds does not bring it back (Linux marks such pages clean).
//!
//! ```text
//! write A   fsync begins   write B   fsync ends   write C   cut
//! durable ──────┘             └── not covered ───────┘ : lost, kept, torn or a prefix
//! ```

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::recording::{Folder, Recording, Step};

/// What became of bytes that no sync covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    Lost,
    Kept,
    /// Each block of this size holds some prefix of the writes to it.
    Torn(u64),
    /// What was written before some moment is there, after it nothing; the write at it is cut.
    Prefix,
}

/// What became of names that no sync covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A journal: changes survive in order, and a sync of a file brings those that made it.
    Ext4,
    /// A change of a name is there for sure only once its folder was synced.
    Strict,
}

/// Every pair that images are drawn for.
pub const PAIRS: [(Data, Names); 10] = [
    (Data::Lost, Names::Ext4),
    (Data::Kept, Names::Ext4),
    (Data::Torn(512), Names::Ext4),
    (Data::Torn(4096), Names::Ext4),
    (Data::Prefix, Names::Ext4),
    (Data::Lost, Names::Strict),
    (Data::Kept, Names::Strict),
    (Data::Torn(512), Names::Strict),
    (Data::Torn(4096), Names::Strict),
    (Data::Prefix, Names::Strict),
];

/// A change of bytes that is not durable yet.
struct Pending {
    order: u64,
    change: Bytes,
    /// It waited for a sync that failed.
    doomed: bool,
}

#[derive(Clone)]
enum Bytes {
    Write { offset: u64, data: Range<usize> },
    Truncate(u64),
    Extend(u64),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

/// A change of names.
struct Change {
    order: u64,
    /// What the name names.
    inode: u64,
    removed: Option<(u64, String)>,
    added: Option<(u64, String)>,
    /// The folders whose sync it still needs under the strict rule.
    unsynced: Vec<u64>,
}

impl Change {
    fn touches(&self, inode: u64, data_only: bool) -> bool {
        let creates = self.added.is_some() && self.removed.is_none();
        let in_folder = |name: &Option<(u64, String)>| name.as_ref().is_some_and(|n| n.0 == inode);
        (self.inode == inode && (creates || !data_only))
            || in_folder(&self.removed)
            || in_folder(&self.added)
    }
}

/// The state of a recorded folder at one moment, durable and not.
pub struct Disk<'r> {
    recording: &'r Recording,
    at: usize,
    /// Names as the process sees them; inodes here are ours, never reused.
    live: Folder,
    ours: HashMap<u64, u64>,
    next_inode: u64,
    files: BTreeMap<u64, File>,
    changes: Vec<Change>,
    /// Under ext4's rule the first so many changes are durable.
    forced: usize,
    rng: fastrand::Rng,
}

impl<'r> Disk<'r> {
    /// The folder before the process started.
    pub fn before(recording: &'r Recording, seed: u64) -> Disk<'r> {
        let mut live = recording.before.clone();
        let durable = |bytes| File {
            durable: bytes,
            pending: Vec::new(),
        };
        let files = std::mem::take(&mut live.files);
        let files: BTreeMap<u64, File> = files.into_iter().map(|(i, b)| (i, durable(b))).collect();
        live.names.entry(live.root).or_default();
        let known = files
            .keys()
            .chain(live.names.keys())
            .map(|i| (*i, *i))
            .collect();
        let rng = fastrand::Rng::with_seed(seed);
        let (changes, forced, next_inode) = (Vec::new(), 0, 1 << 48);
        Disk {
            recording,
            at: 0,
            live,
            ours: known,
            next_inode,
            files,
            changes,
            forced,
            rng,
        }
    }

    /// Takes every event before the `cut`-th.
    pub fn advance_to(&mut self, cut: usize) {
        while self.at < cut {
            let event = &self.recording.events[self.at];
            self.take(event.order, &event.step);
            self.at += 1;
        }
    }

    fn take(&mut self, order: u64, step: &Step) {
        match step {
            Step::Create { inode, path } => self.create(order, *inode, path, true),
            Step::Mkdir { inode, path } => self.create(order, *inode, path, false),
            Step::Open { inode, path } => {
                let seen = self.live.find(path);
                assert_eq!(
                    seen,
                    self.ours.get(inode).copied(),
                    "the shim missed a step: {path}"
                );
            }
            Step::Write {
                inode,
                offset,
                data,
            } => {
                self.pend(
                    order,
                    *inode,
                    Bytes::Write {
                        offset: *offset,
                        data: data.clone(),
                    },
                );
            }
            Step::Truncate { inode, len } => self.pend(order, *inode, Bytes::Truncate(*len)),
            Step::Extend { inode, len } => self.pend(order, *inode, Bytes::Extend(*len)),
            Step::Rename { from, to } => self.change(order, Some(from), Some(to)),
            Step::Unlink { path } | Step::Rmdir { path } => self.change(order, Some(path), None),
            Step::SyncEnd {
                inode,
                begin,
                data_only,
                failed,
            } => {
                let inode = self.ours[inode];
                if *failed {
                    self.doom(inode, *begin)
                } else {
                    self.settle(inode, *begin)
                }
                if !*failed {
                    self.force(inode, *begin, *data_only);
                }
            }
            Step::SyncBegin | Step::Range | Step::Send { .. } => {}
        }
    }

    fn create(&mut self, order: u64, inode: u64, path: &str, is_file: bool) {
        let ours = self.next_inode;
        self.next_inode += 1;
        self.ours.insert(inode, ours);
        if is_file {
            self.files.insert(ours, File::default());
        } else {
            self.live.names.insert(ours, BTreeMap::new());
        }
        let (dir, name) = self
            .live
            .parent(path)
            .expect("a folder that was made before");
        let added = Some((dir, name.to_owned()));
        self.push(Change {
            order,
            inode: ours,
            removed: None,
            added,
            unsynced: vec![dir],
        });
    }

    fn change(&mut self, order: u64, from: Option<&str>, to: Option<&str>) {
        let inode = from
            .and_then(|p| self.live.find(p))
            .expect("a name that was made before");
        let place = |path: &str| {
            let (dir, name) = self
                .live
                .parent(path)
                .expect("a folder that was made before");
            (dir, name.to_owned())
        };
        let (removed, added) = (from.map(place), to.map(place));
        let mut unsynced: Vec<u64> = removed.iter().chain(&added).map(|n| n.0).collect();
        unsynced.dedup();
        self.push(Change {
            order,
            inode,
            removed,
            added,
            unsynced,
        });
    }

    fn push(&mut self, change: Change) {
        apply(&mut self.live.names, &change);
        self.changes.push(change);
    }

    fn pend(&mut self, order: u64, inode: u64, change: Bytes) {
        let file = self
            .files
            .get_mut(&self.ours[&inode])
            .expect("a file that was made before");
        file.pending.push(Pending {
            order,
            change,
            doomed: false,
        });
    }

    fn doom(&mut self, inode: u64, begin: u64) {
        let pending = self
            .files
            .get_mut(&inode)
            .into_iter()
            .flat_map(|f| &mut f.pending);
        pending
            .filter(|p| p.order < begin)
            .for_each(|p| p.doomed = true);
    }

    fn settle(&mut self, inode: u64, begin: u64) {
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        let split = file.pending.partition_point(|p| p.order < begin);
        for p in file.pending.drain(..split) {
            if !p.doomed || self.rng.bool() {
                write(&mut file.durable, &p.change, self.recording);
            }
        }
    }

    fn force(&mut self, inode: u64, begin: u64, data_only: bool) {
        let brings = |c: &Change| c.order < begin && c.touches(inode, data_only);
        if let Some(last) = self.changes.iter().rposition(brings) {
            self.forced = self.forced.max(last + 1);
        }
        for change in self.changes.iter_mut().filter(|c| c.order < begin) {
            change.unsynced.retain(|dir| *dir != inode);
        }
    }

    /// How many bytes and names a cut now would put in doubt.
    pub fn in_doubt(&self) -> usize {
        let bytes: usize = self.files.values().map(|f| f.pending.len()).sum();
        bytes
            + self
                .changes
                .iter()
                .filter(|c| !c.unsynced.is_empty())
                .count()
    }

    /// One image that a cut now could leave.
    pub fn image(&mut self, data: Data, names: Names) -> Folder {
        let moment = self.moment(data);
        let kept: Vec<bool> = match names {
            Names::Ext4 => {
                let first = self.forced.max(self.journal_end(data, moment));
                (0..self.changes.len()).map(|i| i < first).collect()
            }
            Names::Strict => self.strict_names(data, moment),
        };
        // Under ext4's rule a change of length is in the same journal as the names.
        let journal = match names {
            Names::Ext4 => kept
                .iter()
                .rposition(|k| *k)
                .map_or(0, |i| self.changes[i].order),
            Names::Strict => 0,
        };
        let mut out = Folder {
            root: self.recording.before.root,
            ..Folder::default()
        };
        out.names = self.recording.before.names.clone();
        for dir in self.live.names.keys() {
            out.names.entry(*dir).or_default();
        }
        for (change, _) in self.changes.iter().zip(&kept).filter(|(_, kept)| **kept) {
            apply(&mut out.names, change);
        }
        let reached = reached(&out);
        for (inode, file) in self
            .files
            .iter()
            .filter(|(inode, _)| reached.contains(inode))
        {
            let content = content(file, data, moment, journal, self.recording, &mut self.rng);
            out.files.insert(*inode, content);
        }
        out
    }

    /// The order at which a prefix ends, drawn among what is in doubt.
    fn moment(&mut self, data: Data) -> u64 {
        if data != Data::Prefix {
            return 0;
        }
        let bytes = self
            .files
            .values()
            .flat_map(|f| f.pending.iter().map(|p| p.order));
        let names = self
            .changes
            .iter()
            .filter(|c| !c.unsynced.is_empty())
            .map(|c| c.order);
        let mut orders: Vec<u64> = bytes.chain(names).collect();
        orders.sort_unstable();
        match orders.len() {
            0 => u64::MAX,
            n => orders[self.rng.usize(..n)],
        }
    }

    fn journal_end(&mut self, data: Data, moment: u64) -> usize {
        let all = self.changes.len();
        match data {
            Data::Lost => 0,
            Data::Kept => all,
            Data::Torn(_) => self.rng.usize(self.forced..=all),
            Data::Prefix => self.changes.partition_point(|c| c.order < moment),
        }
    }

    fn strict_names(&mut self, data: Data, moment: u64) -> Vec<bool> {
        let rng = &mut self.rng;
        let kept = |c: &Change| match data {
            Data::Lost => false,
            Data::Kept => true,
            Data::Torn(_) => rng.bool(),
            Data::Prefix => c.order < moment,
        };
        let mut kept = kept;
        self.changes
            .iter()
            .map(|c| c.unsynced.is_empty() || kept(c))
            .collect()
    }
}

/// Takes one change of names; a part whose name is not there is skipped.
fn apply(names: &mut BTreeMap<u64, BTreeMap<String, u64>>, change: &Change) {
    if let Some((dir, name)) = &change.removed {
        let dir = names.entry(*dir).or_default();
        if dir.get(name) == Some(&change.inode) {
            dir.remove(name);
        }
    }
    if let Some((dir, name)) = &change.added {
        names
            .entry(*dir)
            .or_default()
            .insert(name.clone(), change.inode);
    }
}

/// The inodes that the root leads to.
fn reached(folder: &Folder) -> std::collections::BTreeSet<u64> {
    let mut seen = std::collections::BTreeSet::new();
    let mut next = vec![folder.root];
    while let Some(inode) = next.pop() {
        if seen.insert(inode) {
            next.extend(
                folder
                    .names
                    .get(&inode)
                    .into_iter()
                    .flat_map(|n| n.values()),
            );
        }
    }
    seen
}

/// The bytes of one file in an image.
fn content(
    file: &File,
    data: Data,
    moment: u64,
    journal: u64,
    recording: &Recording,
    rng: &mut fastrand::Rng,
) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    match data {
        Data::Kept => file
            .pending
            .iter()
            .for_each(|p| write(&mut bytes, &p.change, recording)),
        Data::Lost => {
            let lengths = file
                .pending
                .iter()
                .filter(|p| p.order < journal && !matches!(p.change, Bytes::Write { .. }));
            lengths.for_each(|p| write(&mut bytes, &p.change, recording));
        }
        Data::Prefix => {
            for p in file.pending.iter().filter(|p| p.order <= moment) {
                let change = if p.order == moment {
                    cut(&p.change, rng)
                } else {
                    p.change.clone()
                };
                write(&mut bytes, &change, recording);
            }
        }
        Data::Torn(block) => {
            for run in file.pending.chunk_by(|a, b| is_write(a) && is_write(b)) {
                if is_write(&run[0]) {
                    tear(&mut bytes, run, block, recording, rng);
                } else if run[0].order < journal || rng.bool() {
                    write(&mut bytes, &run[0].change, recording);
                }
            }
        }
    }
    bytes
}

fn is_write(p: &Pending) -> bool {
    matches!(p.change, Bytes::Write { .. })
}

/// Part of a write: up to a sector, up to a page, or up to any byte.
fn cut(change: &Bytes, rng: &mut fastrand::Rng) -> Bytes {
    let Bytes::Write { offset, data } = change else {
        return change.clone();
    };
    let len = rng.usize(0..=data.len());
    let len = match rng.u8(..3) {
        0 => len - len % 512,
        1 => len - len % 4096,
        _ => len,
    };
    Bytes::Write {
        offset: *offset,
        data: data.start..data.start + len,
    }
}

/// Takes one change of bytes.
fn write(bytes: &mut Vec<u8>, change: &Bytes, recording: &Recording) {
    match change {
        Bytes::Write { offset, data } => put(bytes, *offset as usize, recording.data(data)),
        Bytes::Truncate(len) => bytes.resize(*len as usize, 0),
        Bytes::Extend(len) => bytes.resize(bytes.len().max(*len as usize), 0),
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// Takes a run of writes so that each block holds a prefix of those that touch it. Afterwards the
/// file may already have its full length, with zeros where a block did not make it.
fn tear(
    bytes: &mut Vec<u8>,
    run: &[Pending],
    block: u64,
    recording: &Recording,
    rng: &mut fastrand::Rng,
) {
    let mut pieces: BTreeMap<u64, Vec<(u64, Range<usize>)>> = BTreeMap::new();
    let mut end = 0;
    for p in run {
        let Bytes::Write { offset, data } = &p.change else {
            continue;
        };
        let (mut at, mut from) = (*offset, data.start);
        while from < data.end {
            let len = ((block - at % block) as usize).min(data.end - from);
            pieces
                .entry(at / block)
                .or_default()
                .push((at, from..from + len));
            (at, from) = (at + len as u64, from + len);
        }
        end = end.max(at as usize);
    }
    for writes in pieces.values() {
        let kept = match rng.u8(..3) {
            0 => 0,
            1 => writes.len(),
            _ => rng.usize(0..=writes.len()),
        };
        for (at, data) in &writes[..kept] {
            put(bytes, *at as usize, recording.data(data));
        }
    }
    if bytes.len() < end && rng.bool() {
        bytes.resize(end, 0);
    }
}
