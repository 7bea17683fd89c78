//! When something that failed is tried again: after a second, then later and later.
//!
//! Pure; the time is an argument. The store has one for its caller's retries, upkeep one for each
//! kind of work, so that what fails for long holds up nothing else.

const WAIT_MS_MIN: u64 = 1000;
const WAIT_MS_MAX: u64 = 60_000;

/// The pause before the next try; none while tries work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    wait_ms: u64,
    until_ms: u64,
}

impl Pause {
    /// A try failed: the next one comes after this pause or, by others' clocks, after the returned
    /// milliseconds. It doubles each time.
    pub fn failed(&mut self, now_ms: u64) -> u64 {
        self.wait_ms = (self.wait_ms * 2).clamp(WAIT_MS_MIN, WAIT_MS_MAX);
        self.until_ms = now_ms + self.wait_ms;
        self.wait_ms
    }

    /// A try worked.
    pub fn worked(&mut self) {
        *self = Pause::default();
    }

    /// Whether the last try failed.
    pub fn is_on(&self) -> bool {
        self.wait_ms > 0
    }

    /// Whether it may be tried now.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }
}

#[cfg(test)]
mod tests;
