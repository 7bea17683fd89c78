//! The same warning again and again: said once per interval, then with how often it came.
//!
//! Pure: the time is an argument. Called by the logger for warnings and errors.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Different messages remembered; beyond it the oldest is forgotten (and may be said early).
const REMEMBERED_MAX: usize = 1024;

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Say it, and that it was left out so often since it was last said.
    Say {
        /// Times.
        left_out: u64,
    },
    /// It was said a moment ago.
    LeaveOut,
}

/// What was said, when, and how often it came since.
pub struct Repeats {
    interval: Duration,
    said: HashMap<u64, (Duration, u64)>,
}

impl Repeats {
    /// Remembers what was said within `interval`.
    pub fn new(interval: Duration) -> Repeats {
        Repeats {
            interval,
            said: HashMap::new(),
        }
    }

    /// A message comes at `now`.
    pub fn meet(&mut self, target: &str, message: &str, now: Duration) -> Verdict {
        let mut hasher = DefaultHasher::new();
        (target, message).hash(&mut hasher);
        let id = hasher.finish();
        if let Some((said, left_out)) = self.said.get_mut(&id) {
            if now.saturating_sub(*said) < self.interval {
                *left_out += 1;
                return Verdict::LeaveOut;
            }
            let verdict = Verdict::Say {
                left_out: *left_out,
            };
            (*said, *left_out) = (now, 0);
            return verdict;
        }
        self.make_room();
        self.said.insert(id, (now, 0));
        Verdict::Say { left_out: 0 }
    }

    fn make_room(&mut self) {
        if self.said.len() < REMEMBERED_MAX {
            return;
        }
        let oldest = self
            .said
            .iter()
            .min_by_key(|(_, (said, _))| *said)
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.said.remove(&id);
        }
    }
}
