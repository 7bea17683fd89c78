//! The last message of each topic that was published with the retain flag.
//!
//! They live as records of the internal topic `_retained` (key = MQTT topic, null = cleared);
//! here is only the index: topic → offset. A payload is read when somebody subscribes. The index
//! is rebuilt at the start, and follows the committed frames.
//!
//! A publish registers itself before it is appended (`begin`) and after its outcome is known
//! (`end`). In between, one at QoS 0 can be seen from memory, because QoS 0 is live before it is
//! in the log; and compaction leaves its topic alone.
//!
//! Pure: appending and reading are the caller's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::Message;
use crate::trie::filter_matches;

/// Name of the internal topic.
pub(crate) const TOPIC: &str = "_retained";

/// Topic → where its retained message is.
#[derive(Default)]
pub(crate) struct RetainedIndex {
    entries: BTreeMap<Bytes, Entry>,
    live: usize,
    live_bytes: u64,
    /// Bytes of all records in the log, live or not.
    log_bytes: u64,
}

#[derive(Default)]
struct Entry {
    /// Offset of the newest record known to be committed, its size, and whether it is a message.
    logged: Option<(i64, u64, bool)>,
    pending: Vec<Pending>,
}

struct Pending {
    token: u64,
    /// QoS 0: what subscribers see until the record is committed; `None` inside = cleared.
    visible: Option<Option<Arc<Message>>>,
}

/// Where a retained message is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the log, at this offset.
    Logged(i64),
    /// In memory, not committed yet.
    Memory(Arc<Message>),
}

/// Compaction begins when the log is larger than this and less than half of it is live.
const COMPACT_BYTES_MIN: u64 = 1 << 20;

impl RetainedIndex {
    /// Retained messages there are.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// A publish is about to be appended. `visible` at QoS 0: the message, or that it is cleared.
    pub(crate) fn begin(
        &mut self,
        topic: &Bytes,
        token: u64,
        visible: Option<Option<Arc<Message>>>,
    ) {
        let pending = Pending { token, visible };
        match self.entries.get_mut(topic) {
            Some(entry) => entry.pending.push(pending),
            None => {
                let entry = Entry {
                    logged: None,
                    pending: vec![pending],
                };
                self.entries.insert(Bytes::copy_from_slice(topic), entry);
            }
        }
    }

    /// Its outcome is known; `committed` = offset, size and whether it is a message.
    pub(crate) fn end(&mut self, topic: &Bytes, token: u64, committed: Option<(i64, u64, bool)>) {
        if let Some((offset, bytes, is_message)) = committed {
            self.note(topic, offset, bytes, is_message);
        }
        let Some(entry) = self.entries.get_mut(topic) else {
            return;
        };
        entry.pending.retain(|pending| pending.token != token);
        // A cleared topic stays known until the dispatcher has passed it (`apply`), so that an
        // older record that the dispatcher meets later does not bring it back.
        if entry.pending.is_empty() && entry.logged.is_none() {
            self.entries.remove(topic);
        }
    }

    /// A record of `_retained` was committed; called in the order of offsets.
    pub(crate) fn apply(&mut self, topic: &Bytes, offset: i64, bytes: u64, is_message: bool) {
        self.log_bytes += bytes;
        self.note(topic, offset, bytes, is_message);
        let cleared = |entry: &Entry| {
            entry.pending.is_empty() && entry.logged.is_some_and(|(at, _, m)| at == offset && !m)
        };
        if self.entries.get(topic).is_some_and(cleared) {
            self.entries.remove(topic);
        }
    }

    fn note(&mut self, topic: &Bytes, offset: i64, bytes: u64, is_message: bool) {
        if !self.entries.contains_key(topic) {
            if !is_message {
                return;
            }
            self.entries
                .insert(Bytes::copy_from_slice(topic), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(topic) else {
            return;
        };
        match entry.logged {
            Some((known, ..)) if known >= offset => return,
            Some((_, old_bytes, true)) => {
                self.live -= 1;
                self.live_bytes -= old_bytes;
            }
            _ => {}
        }
        entry.logged = Some((offset, bytes, is_message));
        if is_message {
            self.live += 1;
            self.live_bytes += bytes;
        }
    }

    /// The retained messages that a new subscription gets, in the order of their topics.
    pub(crate) fn matching(&self, filter: &[u8]) -> Vec<(Bytes, Source)> {
        let prefix = literal_prefix(filter);
        let from = self.entries.range::<[u8], _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ));
        from.take_while(|(topic, _)| topic.starts_with(prefix))
            .filter(|(topic, _)| filter_matches(filter, topic))
            .filter_map(|(topic, entry)| Some((topic.clone(), entry.source()?)))
            .collect()
    }

    /// Whether it is time to move live records from the front of the log to its end.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.log_bytes > COMPACT_BYTES_MIN && self.live_bytes * 2 < self.log_bytes
    }

    /// What to do with a record at the front of the log.
    pub(crate) fn judge(&self, topic: &Bytes, offset: i64) -> Judgement {
        match self.entries.get(topic) {
            None => Judgement::Dead,
            Some(entry) if !entry.pending.is_empty() => Judgement::Wait,
            Some(entry) => match entry.logged {
                Some((at, _, true)) if at == offset => Judgement::Live,
                _ => Judgement::Dead,
            },
        }
    }

    /// The front of the log was cut off.
    pub(crate) fn trimmed(&mut self, bytes: u64) {
        self.log_bytes = self.log_bytes.saturating_sub(bytes);
    }
}

/// Verdict about one record at the front of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Move it to the end.
    Live,
    /// Leave it behind.
    Dead,
    /// A publish to its topic is under way: come back later.
    Wait,
}

impl Entry {
    fn source(&self) -> Option<Source> {
        let visible = self
            .pending
            .iter()
            .rev()
            .find_map(|pending| pending.visible.as_ref());
        match (visible, self.logged) {
            (Some(Some(message)), _) => Some(Source::Memory(message.clone())),
            (Some(None), _) => None,
            (None, Some((offset, _, true))) => Some(Source::Logged(offset)),
            (None, _) => None,
        }
    }
}

/// What every topic that matches begins with.
fn literal_prefix(filter: &[u8]) -> &[u8] {
    match filter.iter().position(|b| matches!(b, b'+' | b'#')) {
        // `a/#` also matches `a`.
        Some(at) if filter[at] == b'#' => filter[..at].strip_suffix(b"/").unwrap_or(&filter[..at]),
        Some(at) => &filter[..at],
        None => filter,
    }
}

#[cfg(test)]
mod tests;
