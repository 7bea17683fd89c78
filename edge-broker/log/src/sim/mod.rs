//! The twin of the real disk, for simulations here and in edge-site.

mod mem_disk;

pub use mem_disk::{Faults, MemClosed, MemDisk, MemSlice, MemStats};
