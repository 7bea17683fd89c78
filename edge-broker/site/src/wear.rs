//! The wear budget: when a commit may go at once, and when it waits for others to join it.
//!
//! A token bucket in bytes written to the device. It fills evenly over the day, a commit takes
//! what it really wrote. While tokens last, commits go at once; afterwards they wait until they do,
//! or until a limit of time or size is reached. No clock in here: `mono_ms` is an argument.

/// How many seconds' worth of budget may be saved up; small, so that ten minutes keep within it.
const BURST_S: f64 = 20.0;

/// The first guess of what a commit costs beside its payload: ext4 writes about this much a sync.
const OVERHEAD_BYTES_FIRST: f64 = 8192.0;

/// The bucket.
#[derive(Clone, Debug)]
pub struct WearBudget {
    bytes_per_ms: f64,
    tokens: f64,
    filled_at_ms: u64,
    overhead_bytes: f64,
    factor: f64,
}

impl WearBudget {
    /// Full at first. 0 GB = no budget: a commit never waits.
    pub fn new(gb_per_day: f64, mono_ms: u64) -> Self {
        let bytes_per_ms = gb_per_day.max(0.0) * 1e9 / 86_400_000.0;
        WearBudget {
            bytes_per_ms,
            tokens: bytes_per_ms * BURST_S * 1000.0,
            filled_at_ms: mono_ms,
            overhead_bytes: OVERHEAD_BYTES_FIRST,
            factor: 1.0,
        }
    }

    /// Whether there is a budget at all.
    pub fn is_limited(&self) -> bool {
        self.bytes_per_ms > 0.0
    }

    /// What writing so many bytes in one commit will probably cost.
    pub fn cost_bytes(&self, bytes: usize) -> f64 {
        self.overhead_bytes + self.factor * bytes as f64
    }

    /// When a commit of so many bytes can be paid; `mono_ms` itself if now.
    pub fn ready_at_ms(&mut self, mono_ms: u64, bytes: usize) -> u64 {
        if !self.is_limited() {
            return mono_ms;
        }
        self.fill(mono_ms);
        // A commit dearer than the whole bucket goes when the bucket is full, not never.
        let cost = self.cost_bytes(bytes).min(self.tokens_max());
        let missing = cost - self.tokens;
        if missing <= 0.0 {
            return mono_ms;
        }
        mono_ms + (missing / self.bytes_per_ms).ceil().min(1e12) as u64
    }

    /// Takes the tokens of a commit: `bytes` of ours became `device_bytes` on the device.
    pub fn spend(&mut self, mono_ms: u64, bytes: usize, device_bytes: u64) {
        self.learn(bytes as f64, device_bytes as f64);
        self.charge(mono_ms, device_bytes);
    }

    /// Takes the tokens of writes that were no commit.
    pub fn charge(&mut self, mono_ms: u64, device_bytes: u64) {
        if self.is_limited() {
            self.fill(mono_ms);
            // Debt is bounded, so that a burst that never waits (commit_bytes_max) does not
            // punish the commits of the next hour.
            self.tokens = (self.tokens - device_bytes as f64).max(-self.tokens_max());
        }
    }

    fn tokens_max(&self) -> f64 {
        self.bytes_per_ms * BURST_S * 1000.0
    }

    fn fill(&mut self, mono_ms: u64) {
        let elapsed = mono_ms.saturating_sub(self.filled_at_ms) as f64;
        self.filled_at_ms = self.filled_at_ms.max(mono_ms);
        self.tokens = (self.tokens + elapsed * self.bytes_per_ms).min(self.tokens_max());
    }

    /// Small commits teach the overhead, large ones the factor.
    fn learn(&mut self, bytes: f64, device_bytes: f64) {
        const WEIGHT: f64 = 0.1;
        if bytes < 2.0 * self.overhead_bytes {
            let seen = (device_bytes - self.factor * bytes).clamp(512.0, 262_144.0);
            self.overhead_bytes += WEIGHT * (seen - self.overhead_bytes);
        } else {
            let seen = ((device_bytes - self.overhead_bytes) / bytes).clamp(0.5, 10.0);
            self.factor += WEIGHT * (seen - self.factor);
        }
    }
}

#[cfg(test)]
mod tests;
