//! What is remembered about clients that cost more than they should. Pure and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// How long a client that repeats what is refused for ever is held before it is closed.
///
/// The first refusal costs nothing, the second a second, then two, four, up to the limit.
pub(crate) struct Penalties {
    hold_ms_max: u64,
    /// By the hash of its id: ids may have 65,535 bytes.
    by_client: HashMap<u64, (u32, u64)>,
    hasher: RandomState,
}

/// Clients remembered; beyond it the table begins anew.
const CLIENTS_MAX: usize = 4096;
/// A client that did nothing wrong for so long is forgotten.
const FORGET_MS: u64 = 600_000;

impl Penalties {
    pub(crate) fn new(hold_ms_max: u64) -> Self {
        Penalties {
            hold_ms_max,
            by_client: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// One more refusal: how long to hold the client for it.
    pub(crate) fn hold_ms(&mut self, now_ms: u64, client: &[u8]) -> u64 {
        let client = self.hasher.hash_one(client);
        if self.by_client.len() >= CLIENTS_MAX && !self.by_client.contains_key(&client) {
            self.by_client.clear();
        }
        let entry = self.by_client.entry(client).or_insert((0, now_ms));
        if now_ms > entry.1 + FORGET_MS {
            entry.0 = 0;
        }
        let hold_ms = match entry.0 {
            0 => 0,
            times => 1000_u64.saturating_mul(1 << (times - 1).min(16)),
        };
        *entry = (entry.0.saturating_add(1), now_ms);
        hold_ms.min(self.hold_ms_max)
    }
}

/// Which refusals were said lately, so that each is said once per client and minute.
pub(crate) struct SaidLately {
    repeat_ms: u64,
    /// By the hash of client and words.
    by_client: HashMap<u64, u64>,
    /// With more clients than are remembered: by the words, whoever they are about.
    by_words: HashMap<&'static str, u64>,
    /// Not looked for what may be forgotten before this.
    forget_due_ms: u64,
    hasher: RandomState,
}

/// Looking for what may be forgotten takes all of the table: so often per `repeat_ms`.
const FORGET_PARTS: u64 = 16;

impl SaidLately {
    pub(crate) fn new(repeat_ms: u64) -> Self {
        SaidLately {
            repeat_ms,
            by_client: HashMap::new(),
            by_words: HashMap::new(),
            forget_due_ms: 0,
            hasher: RandomState::new(),
        }
    }

    /// Whether to say it now.
    pub(crate) fn may_say(&mut self, now_ms: u64, client: &[u8], what: &'static str) -> bool {
        let key = self.hasher.hash_one((client, what));
        if let Some(said_ms) = self.by_client.get_mut(&key) {
            return again(said_ms, now_ms, self.repeat_ms);
        }
        if self.by_client.len() >= CLIENTS_MAX && now_ms >= self.forget_due_ms {
            self.forget_due_ms = now_ms + self.repeat_ms / FORGET_PARTS;
            self.by_client
                .retain(|_, said_ms| now_ms < *said_ms + self.repeat_ms);
        }
        if self.by_client.len() < CLIENTS_MAX {
            self.by_client.insert(key, now_ms);
            return true;
        }
        match self.by_words.get_mut(what) {
            Some(said_ms) => again(said_ms, now_ms, self.repeat_ms),
            None => self.by_words.insert(what, now_ms).is_none(),
        }
    }
}

fn again(said_ms: &mut u64, now_ms: u64, repeat_ms: u64) -> bool {
    let may = now_ms >= *said_ms + repeat_ms;
    if may {
        *said_ms = now_ms;
    }
    may
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeating_what_is_refused_costs_more_each_time() {
        let mut penalties = Penalties::new(60_000);
        let holds: Vec<u64> = (0..9).map(|at| penalties.hold_ms(at, b"dev7")).collect();
        let expected = [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(holds, expected);
        assert_eq!(penalties.hold_ms(9, b"other"), 0);
        assert_eq!(penalties.hold_ms(700_000, b"dev7"), 0);
    }

    #[test]
    fn a_refusal_is_said_once_per_client_and_minute() {
        let mut said = SaidLately::new(60_000);
        assert!(said.may_say(0, b"dev7", "full"));
        assert!(!said.may_say(59_999, b"dev7", "full"));
        assert!(said.may_say(59_999, b"dev8", "full"));
        assert!(said.may_say(60_000, b"dev7", "full"));
    }

    #[test]
    fn tables_about_clients_do_not_grow_without_end() {
        let mut penalties = Penalties::new(1);
        let mut said = SaidLately::new(1000);
        for client in 0..10_000_u32 {
            penalties.hold_ms(0, &client.to_be_bytes());
            said.may_say(0, &client.to_be_bytes(), "x");
        }
        assert!(penalties.by_client.len() <= CLIENTS_MAX && said.by_client.len() <= CLIENTS_MAX);
        assert!(said.may_say(5000, b"new", "x"));
    }

    #[test]
    fn clients_beyond_those_remembered_hide_no_kind_of_line() {
        let mut said = SaidLately::new(60_000);
        let mut flood = |now_ms: u64| {
            let clients = 0..10_000_u32;
            let mut may = |client: u32| said.may_say(now_ms, &client.to_be_bytes(), "x");
            let lines = clients.filter(|client| may(*client)).count();
            let other = [1, 2].map(|_| said.may_say(now_ms, b"", "cannot accept"));
            (lines, other)
        };
        assert_eq!(flood(0), (CLIENTS_MAX + 1, [true, false]));
        assert_eq!(flood(1000), (0, [false, false]));
        let (lines, other) = flood(60_000);
        assert!(lines <= CLIENTS_MAX + 1, "{lines}");
        assert_eq!(other, [true, false]);
    }
}
