//! One connection for records, as the core sees it: its window, its waits.

use edge_site::TopicPartition;

use super::{tries::Tries, types::Ms};

const WINDOW_BYTES_START: usize = 256 << 10;
const WINDOW_BYTES_MIN: usize = 16 << 10;

/// State of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub state: LinkState,
    pub tries: Tries,
    /// Since when it does not work, for the wait before a drain; none while it does.
    pub down_since: Option<Ms>,
    /// A backlog is not drained before that time.
    pub drain_at: Ms,
    pub throttled_until: Ms,
    /// When the oldest record that waits for company was seen.
    pub lingering_since: Option<Ms>,
    /// Bytes that may be unanswered; grows with answers, shrinks when none come.
    pub window_bytes: usize,
}

/// Whether it is there.
#[derive(Debug)]
pub(crate) enum LinkState {
    Down { not_before: Ms },
    Connecting,
    Up { in_flight: Vec<InFlight> },
}

/// A request without an answer yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub number: u64,
    pub bytes: usize,
    pub parts: Vec<TopicPartition>,
}

impl Link {
    pub fn new(now: Ms) -> Self {
        Self {
            state: LinkState::Down { not_before: 0 },
            tries: Tries::default(),
            down_since: Some(now),
            drain_at: 0,
            throttled_until: 0,
            lingering_since: None,
            window_bytes: WINDOW_BYTES_START,
        }
    }

    /// Whatever kept it down was the whole cluster's, and is over.
    pub fn try_now(&mut self) {
        if let LinkState::Down { not_before } = &mut self.state
            && self.tries.only_early()
        {
            *not_before = 0;
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up { .. })
    }

    pub fn in_flight(&self) -> &[InFlight] {
        match &self.state {
            LinkState::Up { in_flight } => in_flight,
            _ => &[],
        }
    }

    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight().iter().map(|request| request.bytes).sum()
    }

    /// Room for one more request.
    pub fn has_room(&self, in_flight_max: usize) -> bool {
        let count = self.in_flight().len();
        count == 0 || (count < in_flight_max && self.in_flight_bytes() < self.window_bytes)
    }

    pub fn push(&mut self, request: InFlight) {
        if let LinkState::Up { in_flight } = &mut self.state {
            in_flight.push(request);
        }
    }

    /// Takes an answered request out and lets the window grow.
    pub fn answered(&mut self, number: u64, window_bytes_max: usize) -> Option<InFlight> {
        let LinkState::Up { in_flight } = &mut self.state else {
            return None;
        };
        let index = in_flight
            .iter()
            .position(|request| request.number == number)?;
        let request = in_flight.remove(index);
        self.tries = Tries::default();
        self.window_bytes = (self.window_bytes + request.bytes).min(window_bytes_max);
        Some(request)
    }

    /// Shrinks the window after answers did not come.
    pub fn shrink(&mut self) {
        self.window_bytes = (self.window_bytes / 4).max(WINDOW_BYTES_MIN);
    }
}
