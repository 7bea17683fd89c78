//! Which partitions are compacted, and up to where.
//!
//! Pure: the state in, what the store is told out. The store does the rest (`edge_log`), below
//! raft's window only. The gateway's own topics (`_retained`) are compacted by who writes them.

use std::collections::BTreeMap;

use edge_log::{CompactTo, TopicPartition};

use crate::retention::CLOCK_SET_MS;
use crate::state::State;

/// A tombstone stays this long, by its own timestamp, so that readers see what was deleted;
/// Kafka's default of `delete.retention.ms`.
const DELETE_RETENTION_MS: i64 = 86_400_000;

/// What the store may compact. A record that central is to have stays until it has it, and the
/// last record of a partition stays anyway: below the end there is always something to read.
pub fn plan(state: &State, now_ms: i64, forwarding: bool) -> BTreeMap<TopicPartition, CompactTo> {
    let delete_before_ms = match now_ms < CLOCK_SET_MS {
        true => i64::MIN,
        false => now_ms - DELETE_RETENTION_MS,
    };
    let mut to = BTreeMap::new();
    for (&id, topic) in &state.topics {
        if !topic.config.cleanup_policy.compacts() || topic.name.starts_with('_') {
            continue;
        }
        for (partition, marks) in (0..).zip(&topic.partitions) {
            let forwarded = match forwarding && topic.config.forward {
                true => marks.forwarded,
                false => marks.end,
            };
            let tp = TopicPartition {
                topic: id,
                partition,
            };
            let below = forwarded.min(marks.end - 1).max(0);
            to.insert(
                tp,
                CompactTo {
                    below,
                    delete_before_ms,
                },
            );
        }
    }
    to
}

#[cfg(test)]
mod tests;
