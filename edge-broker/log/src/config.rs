//! The numbers of one store. Where they come from is the program's affair.

/// Limits and sizes of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// A slice is closed once it holds this much.
    pub slice_bytes: u64,
    /// Files of older slices open for reading at one time.
    pub slices_open_max: usize,
    /// Of sled, for the slice that is written.
    pub cache_bytes: u64,
    /// The newest slices up to this size stay whole for raft.
    pub raft_window_bytes: u64,
    /// All files of the store together.
    pub bytes_max: u64,
    /// Left to the rest of the machine.
    pub free_bytes_min: u64,
    /// A file given up when the filesystem is full; 0 = none.
    pub ballast_bytes: u64,
    /// Keys that compaction knows at a time, 29 bytes of memory each while it runs. With more keys
    /// than that it goes over the log several times.
    pub compaction_keys_max: usize,
}

impl StoreConfig {
    /// Room for appends below which more is made: before the last byte is used, so that appends
    /// need not wait for it.
    pub fn wanted_bytes(&self) -> u64 {
        (2 * self.slice_bytes).min(self.bytes_max / 8)
    }
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            slice_bytes: 16 << 20,
            slices_open_max: 4,
            cache_bytes: 4 << 20,
            raft_window_bytes: 64 << 20,
            bytes_max: 8 << 30,
            free_bytes_min: 512 << 20,
            ballast_bytes: 32 << 20,
            compaction_keys_max: 56 << 10,
        }
    }
}
