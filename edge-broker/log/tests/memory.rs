//! A gateway writes slices for years: what each one leaves in memory must be nothing.
//!
//! A file of its own, because it looks at the memory of its whole process.
#![allow(clippy::unwrap_used)]

use edge_log::{Disk, SledDisk, Slice, StoreConfig};

const SLICES: u64 = 60;
/// What the allocator may keep. A slice that leaves a buffer behind costs half a megabyte.
const GROWTH_BYTES_MAX: u64 = 10 << 20;

#[test]
fn closed_slices_leave_no_memory_behind() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path(), &StoreConfig::default()).unwrap();
    for number in 1..=10 {
        write_and_close(&disk, number);
    }
    let before = resident_bytes();
    for number in 11..=10 + SLICES {
        write_and_close(&disk, number);
    }
    let growth = resident_bytes().saturating_sub(before);
    assert!(
        growth < GROWTH_BYTES_MAX,
        "{SLICES} slices left {growth} bytes"
    );
}

/// As a gateway does it: one thread creates slices, another writes, a third closes.
fn write_and_close(disk: &SledDisk, number: u64) {
    let slice = disk.create_slice(number, b"").unwrap();
    let write = move || {
        for sequence in 0..8 {
            slice.put(sequence, &[7; 5000]).unwrap();
            slice.sync().unwrap();
        }
        slice
    };
    let slice = std::thread::spawn(write).join().unwrap();
    std::thread::spawn(move || drop(slice)).join().unwrap();
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
