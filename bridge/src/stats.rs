//! Figures of the MQTT door: counters that connections add to, read as one snapshot.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// Messages larger than their topic takes (QoS 0), or than their subscriber takes (MQTT 5).
    pub too_large: u64,
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

/// All counters of the door.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) publishes_in: Counter,
    pub(crate) payload_bytes_in: Counter,
    pub(crate) publishes_acked: Counter,
    pub(crate) publishes_refused: Counter,
    pub(crate) publishes_out: Counter,
    pub(crate) shed: Counter,
    pub(crate) too_large: Counter,
    pub(crate) protocol_errors: Counter,
    pub(crate) taken_over: Counter,
    pub(crate) keep_alive_expired: Counter,
    pub(crate) pubacks: Samples,
}

impl Counters {
    /// What was counted; the gauges are filled in by the caller.
    pub(crate) fn snapshot(&self) -> BridgeStats {
        let (puback_p50_us, puback_p99_us) = self.pubacks.percentiles();
        BridgeStats {
            connections: self.connections.get(),
            connections_refused: self.connections_refused.get(),
            publishes_in: self.publishes_in.get(),
            payload_bytes_in: self.payload_bytes_in.get(),
            publishes_acked: self.publishes_acked.get(),
            publishes_refused: self.publishes_refused.get(),
            publishes_out: self.publishes_out.get(),
            shed: self.shed.get(),
            too_large: self.too_large.get(),
            protocol_errors: self.protocol_errors.get(),
            taken_over: self.taken_over.get(),
            keep_alive_expired: self.keep_alive_expired.get(),
            puback_p50_us,
            puback_p99_us,
            ..BridgeStats::default()
        }
    }
}

/// The last samples of a time, one per append.
#[derive(Debug)]
pub(crate) struct Samples {
    ring: Box<[AtomicU32]>,
    count: AtomicU64,
}

const SAMPLES: usize = 1024;

impl Default for Samples {
    fn default() -> Self {
        let ring = (0..SAMPLES).map(|_| AtomicU32::new(0)).collect();
        Samples {
            ring,
            count: AtomicU64::new(0),
        }
    }
}

impl Samples {
    pub(crate) fn add(&self, micros: u64) {
        let at = self.count.fetch_add(1, Ordering::Relaxed) as usize % SAMPLES;
        self.ring[at].store(micros.min(u32::MAX.into()) as u32, Ordering::Relaxed);
    }

    /// Median and 99th percentile.
    fn percentiles(&self) -> (u64, u64) {
        let filled = (self.count.load(Ordering::Relaxed) as usize).min(SAMPLES);
        let mut sorted: Vec<u32> = self.ring[..filled]
            .iter()
            .map(|sample| sample.load(Ordering::Relaxed))
            .collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(filled * percent / 100).copied().unwrap_or(0);
        (at(50).into(), at(99).into())
    }
}
