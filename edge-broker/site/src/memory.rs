//! One sum for all big buffers: what each part may hold, and what is shed when it nears its end.
//!
//! ```text
//! memory.bytes_max = open slices + queue + raft's window    their own keys say how much
//!                  + recent frames + forwarder + doors       share what is left
//! ```
//! Every part bounds itself by its share, so the sum is kept by construction. The parts tell here
//! what they hold, and the doors ask for the pressure before they take more: first QoS 0 messages
//! are shed, then new clients are refused, then the client that holds the most is closed.
//! Nothing is allocated here and nobody waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Left for recent frames, forwarder and doors at least.
const REST_BYTES_MIN: usize = 8 << 20;
/// More does not make recent frames or the forwarder any faster.
const RECENT_BYTES_MAX: usize = 8 << 20;
const FORWARDER_BYTES_MAX: usize = 8 << 20;

/// QoS 0 is shed from here on: in percent of the sum, or of the doors' share if that is fuller.
pub const SHED_AT_PERCENT: usize = 80;
/// New clients are refused from here on.
const REFUSE_AT_PERCENT: usize = 90;
/// Who holds the most is closed from here on.
const CLOSE_AT_PERCENT: usize = 97;

/// What each part may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Caches and indexes of the slices that are open; counted as if they were always full.
    pub caches: usize,
    /// Appends that are not on disk yet.
    pub queue: usize,
    /// Raft's window of frames.
    pub window: usize,
    /// Newest committed frames, for readers that keep up.
    pub recent: usize,
    /// Batches on their way to central.
    pub forwarder: usize,
    /// What was received and what waits for clients.
    pub doors: usize,
}

/// The sum is less than its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShortage {
    /// The parts that were given, and the least for the others.
    pub bytes_min: usize,
}

impl fmt::Display for MemoryShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory.bytes_max is less than its parts: twice storage.cache_bytes, an eighth of \
             slice_bytes for each of slices_open_max, queue_bytes_max, raft_memory_bytes_max and \
             {} MiB for the rest need {} MiB; raise it, or lower one of them",
            REST_BYTES_MIN >> 20,
            self.bytes_min.div_ceil(1 << 20)
        )
    }
}

impl MemoryShares {
    /// Shares out what the three given parts leave of the sum.
    pub fn of(
        bytes_max: usize,
        caches: usize,
        queue: usize,
        window: usize,
    ) -> Result<MemoryShares, MemoryShortage> {
        let given = caches.saturating_add(queue).saturating_add(window);
        let rest = bytes_max
            .checked_sub(given)
            .filter(|rest| *rest >= REST_BYTES_MIN)
            .ok_or(MemoryShortage {
                bytes_min: given.saturating_add(REST_BYTES_MIN),
            })?;
        let recent = (rest / 4).min(RECENT_BYTES_MAX);
        let forwarder = (rest / 4).min(FORWARDER_BYTES_MAX);
        Ok(MemoryShares {
            caches,
            queue,
            window,
            recent,
            forwarder,
            doors: rest - recent - forwarder,
        })
    }
}

/// What one part holds, beside its share.
#[derive(Debug)]
pub struct Gauge {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Gauge {
    /// Holds nothing yet.
    pub fn new(bytes_max: usize) -> Gauge {
        Gauge {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// More is held.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Less is held.
    pub fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// So much is held now, by a part that counts for itself.
    pub fn set(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// What is held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The share.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn percent(&self) -> usize {
        percent(self.bytes(), self.bytes_max)
    }
}

fn percent(bytes: usize, of: usize) -> usize {
    bytes.saturating_mul(100) / of.max(1)
}

/// How near the end the sum is; each step includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    Low,
    /// QoS 0 messages are shed, and counted.
    ShedQos0,
    /// New clients are refused for now.
    RefuseClients,
    /// The client that holds the most is closed.
    CloseSlow,
}

/// What all parts hold.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    caches: usize,
    pub(crate) queue: Arc<Gauge>,
    pub(crate) window: Gauge,
    pub(crate) recent: Gauge,
    forwarder: Arc<Gauge>,
    doors: Arc<Gauge>,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize, shares: &MemoryShares) -> Memory {
        Memory {
            bytes_max,
            caches: shares.caches,
            queue: Arc::new(Gauge::new(shares.queue)),
            window: Gauge::new(shares.window),
            recent: Gauge::new(shares.recent),
            forwarder: Arc::new(Gauge::new(shares.forwarder)),
            doors: Arc::new(Gauge::new(shares.doors)),
        }
    }

    /// Where the forwarder tells what it holds.
    pub fn forwarder(&self) -> &Arc<Gauge> {
        &self.forwarder
    }

    /// Where the doors tell what they hold.
    pub fn doors(&self) -> &Arc<Gauge> {
        &self.doors
    }

    /// What all parts hold.
    pub fn bytes(&self) -> usize {
        let site = self.queue.bytes() + self.window.bytes() + self.recent.bytes();
        self.caches + site + self.forwarder.bytes() + self.doors.bytes()
    }

    /// What the doors are to do.
    pub fn pressure(&self) -> Pressure {
        let sum = percent(self.bytes(), self.bytes_max);
        match sum.max(self.doors.percent()) {
            CLOSE_AT_PERCENT.. => Pressure::CloseSlow,
            REFUSE_AT_PERCENT.. => Pressure::RefuseClients,
            SHED_AT_PERCENT.. => Pressure::ShedQos0,
            _ => Pressure::Low,
        }
    }
}

#[cfg(test)]
mod tests;
