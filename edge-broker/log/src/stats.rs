//! Counters of one store and the durations of its last syncs.

use crate::SyncTimes;

/// How many syncs the quantiles are taken over.
const RECENT: usize = 512;

/// What a store did since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    pub entry_bytes_written: u64,
    pub syncs: u64,
    /// All of them together.
    pub sync_us: u64,
    pub poisoned_slices: u64,
    recent_us: Vec<u32>,
}

impl Stats {
    /// Notes a sync.
    pub fn note_sync(&mut self, us: u64) {
        self.sync_us += us;
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        let at = self.syncs as usize % RECENT;
        self.syncs += 1;
        match self.recent_us.get_mut(at) {
            Some(old) => *old = us,
            None => self.recent_us.push(us),
        }
    }

    /// Quantiles of the recent syncs.
    pub fn sync_times(&self) -> SyncTimes {
        let Some(last) = self.syncs.checked_sub(1) else {
            return SyncTimes::default();
        };
        let mut sorted = self.recent_us.clone();
        sorted.sort_unstable();
        let at = |share: usize| u64::from(sorted[(sorted.len() - 1) * share / 100]);
        SyncTimes {
            last_us: u64::from(self.recent_us[last as usize % RECENT]),
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}
