//! What a power cut does to the twin disk, by its seed.
//!
//! Called by the tests, through [`MemDisk::power_cut`](super::MemDisk::power_cut).

use super::MemStats;
use super::contents::{Contents, FileData, SliceData, State, overwrite};

impl Contents {
    pub fn power_cut(&mut self) {
        self.stats.power_cuts += 1;
        let mut rng = self.rng.clone();
        for number in std::mem::take(&mut self.ghosts) {
            let ghost = SliceData {
                removed: true,
                ..SliceData::default()
            };
            self.slices.entry(number).or_insert(ghost);
        }
        let numbers: Vec<u64> = self.slices.keys().copied().collect();
        for number in numbers {
            self.cut_name(&mut rng, number);
        }
        for slice in self.slices.values_mut() {
            for key in std::mem::take(&mut slice.unsynced) {
                cut_value(&mut rng, &mut self.stats, slice, key);
            }
        }
        for file in self.files.values_mut() {
            cut_file(&mut rng, file);
        }
        self.files.retain(|_, file| file.current.is_some());
        self.rng = rng;
    }

    /// Unsynced: a creation that was not finished, a removal, a move. Either may have happened.
    fn cut_name(&mut self, rng: &mut fastrand::Rng, number: u64) {
        let Some(slice) = self.slices.get_mut(&number) else {
            return;
        };
        if slice.gone || (slice.removed || !slice.created) && rng.bool() {
            return self.forget_slice(number);
        }
        slice.damaged |= !slice.created && rng.bool();
        slice.removed = false;
        slice.aside = None;
        slice.created = true;
    }
}

fn cut_value(
    rng: &mut fastrand::Rng,
    stats: &mut MemStats,
    slice: &mut SliceData,
    key: (u64, u32),
) {
    let Some(value) = slice.values.get_mut(&key) else {
        return;
    };
    let len = value.bytes.len();
    value.state = State::Durable;
    match rng.u8(..8) {
        0..3 => {
            stats.values_lost += 1;
            slice.bytes -= len as u64;
            slice.values.remove(&key);
        }
        3..6 => stats.values_kept += 1,
        torn => {
            stats.values_torn += 1;
            let whole = value.bytes.clone();
            tear(rng, &mut value.bytes, torn == 7);
            value.torn |= value.bytes != whole;
        }
    }
}

/// Keeps a prefix of whole sectors or pages; the rest is zero, garbage or missing.
fn tear(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>, garbage: bool) {
    let unit = if rng.bool() { 512 } else { 4096 };
    let kept = (rng.usize(..=bytes.len() / unit) * unit).min(bytes.len());
    if garbage {
        bytes[kept..].iter_mut().for_each(|byte| *byte = rng.u8(..));
    } else if rng.bool() {
        bytes[kept..].fill(0);
    } else {
        bytes.truncate(kept);
    }
}

fn cut_file(rng: &mut fastrand::Rng, file: &mut FileData) {
    if file.renamed && rng.bool() {
        file.durable = file.current.take();
    }
    // In-place writes reach the disk or not, one by one and in any order.
    let writes = file.pending.drain(..).chain(file.orphaned.drain(..));
    let mut writes: Vec<_> = writes.collect();
    rng.shuffle(&mut writes);
    file.renamed = false;
    file.current = file.durable.clone();
    let Some(content) = file.current.as_mut() else {
        return;
    };
    for (offset, mut bytes) in writes {
        match rng.u8(..4) {
            0 | 1 => continue,
            2 => {}
            _ => {
                let len = bytes.len();
                tear(rng, &mut bytes, rng.clone().bool());
                bytes.resize(len, 0);
            }
        }
        overwrite(content, offset, &bytes);
    }
    file.durable = file.current.clone();
}
