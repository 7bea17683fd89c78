//! What a session remembers of its client, in bytes, for the account of memory.

use super::Session;

/// What a subscription takes beside its filter, which is kept twice: its entry here, its place in
/// the tree of all subscriptions.
const SUBSCRIPTION_BYTES: usize = 250;
/// What a level of a filter takes in that tree, where others share some of them, as usual.
const LEVEL_BYTES: usize = 120;
/// An id of QoS 2 with its place in a map that is half full.
const MARK_BYTES: usize = 10;

/// What a subscription takes in memory, roughly.
pub(super) fn subscription_bytes(filter: &[u8]) -> usize {
    let levels = crate::codec::topic::level_count(filter);
    SUBSCRIPTION_BYTES + 2 * filter.len() + LEVEL_BYTES * levels
}

impl Session {
    /// Id, will, topic aliases, subscriptions, marks of QoS 2.
    pub(crate) fn remembered_bytes(&self) -> usize {
        self.client_id.len()
            + self.will_bytes
            + self.alias_bytes
            + self.subscription_bytes
            + self.marks.len() * MARK_BYTES
    }

    /// What waits for the socket.
    pub(crate) fn transmit_bytes(&self) -> usize {
        self.transmit.len()
    }
}
