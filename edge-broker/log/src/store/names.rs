//! Names that an earlier process gave, until they are durable: nothing is dropped before.
//!
//! They may only be in the cache: were what they stand for gone, a power cut could take both. A
//! start syncs what it needs at once, upkeep the folders of all other slices, a few at a time.

/// Folders that are not synced yet.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Slices; the folders that belong to none go with each of them.
    slices: Vec<u64>,
    synced: bool,
}

/// More in one go would keep other upkeep waiting, on a card with slow syncs.
const SLICES_MAX: usize = 8;

impl Names {
    /// What a start left; of a start that could sync nothing that is all slices there are.
    pub fn new(left: Option<Vec<u64>>, all: Vec<u64>) -> Names {
        let synced = left.as_ref().is_some_and(Vec::is_empty);
        Names {
            slices: left.unwrap_or(all),
            synced,
        }
    }

    /// All of them are durable.
    pub fn are_synced(&self) -> bool {
        self.synced
    }

    /// The slices whose folders are next.
    pub fn next(&self) -> Vec<u64> {
        self.slices.iter().take(SLICES_MAX).copied().collect()
    }

    /// These are synced.
    pub fn note(&mut self, slices: &[u64]) {
        self.slices.retain(|number| !slices.contains(number));
        self.synced = self.slices.is_empty();
    }
}
