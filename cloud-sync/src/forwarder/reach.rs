//! Whether central can be reached: each source of failures is counted by itself.
//!
//! With three brokers one may be down while the others answer; forwarding is disturbed then, and
//! an answer of another broker must not hide it.

use std::collections::BTreeMap;

use super::types::{LinkId, Ms};
use crate::error::ConnectError;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Control,
    /// The cluster answers, but gives no producer id.
    Producer,
    Link(LinkId),
}

/// Failures that stand.
#[derive(Debug)]
pub(crate) struct Reach {
    failing: BTreeMap<Source, (ConnectError, u64)>,
    since: Ms,
    answered: bool,
}

impl Reach {
    pub fn new(now: Ms) -> Self {
        Self {
            failing: BTreeMap::new(),
            since: now,
            answered: false,
        }
    }

    /// Notes a failure; true if everything worked before.
    pub fn note_failure(&mut self, source: Source, error: ConnectError, now: Ms) -> bool {
        let first = self.failing.is_empty();
        if first && self.answered {
            self.since = now;
        }
        let tries = self.failing.get(&source).map_or(0, |(_, tries)| *tries);
        self.failing.insert(source, (error, tries + 1));
        first
    }

    /// Notes that a source works; the length of the disturbance if it was the last that did not.
    pub fn note_success(&mut self, source: Source, now: Ms) -> Option<Ms> {
        let failed = self.failing.remove(&source).is_some();
        let over = self.failing.is_empty() && (failed || !self.answered);
        let first_answer = !std::mem::replace(&mut self.answered, true);
        if !over {
            return None;
        }
        let lasted = now - self.since;
        self.since = now;
        (failed || first_answer).then_some(lasted)
    }

    /// Forgets a source that is of no more concern.
    pub fn forget(&mut self, source: Source, now: Ms) {
        if self.failing.remove(&source).is_some() && self.failing.is_empty() {
            self.since = now;
        }
    }

    /// Reachable, for how long, and what stands in the way.
    pub fn snapshot(&self, now: Ms) -> (bool, Ms, Option<(&ConnectError, u64)>) {
        let failure = self
            .failing
            .values()
            .next()
            .map(|(error, tries)| (error, *tries));
        let reachable = self.answered && failure.is_none();
        (reachable, now.saturating_sub(self.since), failure)
    }
}
