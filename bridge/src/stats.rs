//! Figures of the MQTT door: counters that connections add to, read as one snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

/// Figures since the start, and what is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeStats {
    /// Clients connected now.
    pub connected: u64,
    /// Sockets that have not sent their CONNECT yet.
    pub pre_auth: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused: by limit, by account, by protocol.
    pub connections_refused: u64,
    /// Publishes received.
    pub publishes_in: u64,
    /// Payload bytes of them.
    pub payload_bytes_in: u64,
    /// Publishes acknowledged (QoS 1 and 2).
    pub publishes_acked: u64,
    /// Publishes refused.
    pub publishes_refused: u64,
    /// Publishes sent to subscribers.
    pub publishes_out: u64,
    /// QoS 0 messages not delivered to a subscriber, or not stored, because of overload.
    pub shed: u64,
    /// Connections closed because of what they sent.
    pub protocol_errors: u64,
    /// Connections closed because another one came with the same client id.
    pub taken_over: u64,
    /// Connections closed because they were silent for 1.5 times their keep-alive.
    pub keep_alive_expired: u64,
    /// Time from PUBLISH to PUBACK in microseconds, median of the last samples.
    pub puback_p50_us: u64,
    /// The same, 99th percentile.
    pub puback_p99_us: u64,
}

/// A counter that many tasks add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
