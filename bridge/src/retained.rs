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
//! Nobody gets a message twice, as a retained one and live. A subscription notes the `Moment` it
//! was made: what the index had by then it gets from here, what came later it gets live. The
//! dispatcher may still be behind that moment; `known_since` tells it when the index had a record,
//! so a subscription remembers no more than its moment.
//!
//! What could not be read of the log when the index was built is not in it: `loading` tries again,
//! and until it had success nothing is compacted away.
//!
//! Pure: appending and reading are the caller's business.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use edge_site::TopicId;

use crate::message::Message;
use crate::trie::filter_matches;

/// Name of the internal topic.
pub(crate) const TOPIC: &str = "_retained";

/// Topic → where its retained message is.
#[derive(Default)]
pub(crate) struct RetainedIndex {
    /// The topic of the log that the offsets are of.
    log: Option<TopicId>,
    entries: BTreeMap<Bytes, Entry>,
    /// What the entries take in memory.
    index_bytes: usize,
    live: usize,
    live_bytes: u64,
    /// Bytes of all records in the log, live or not.
    log_bytes: u64,
    /// Counts what became visible.
    moment: Moment,
    /// The dispatcher has passed the records before this offset.
    passed: i64,
    /// The newest records that the index had before the dispatcher came to them, and since when.
    ahead: BTreeMap<i64, (Bytes, Moment)>,
    /// Offsets that could not be read.
    missing: Vec<Range<i64>>,
}

/// A place in the order in which retained messages became visible.
pub(crate) type Moment = u64;

#[derive(Default)]
struct Entry {
    /// The newest record known to be committed.
    logged: Option<Logged>,
    pending: Vec<Pending>,
    /// Compaction has appended a copy whose place is not known yet.
    is_moving: bool,
}

struct Logged {
    offset: i64,
    bytes: u64,
    is_message: bool,
    /// When it became visible; a copy keeps it.
    since: Moment,
}

struct Pending {
    token: u64,
    since: Moment,
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

impl Source {
    fn offset(&self) -> Option<i64> {
        match self {
            Source::Logged(offset) => Some(*offset),
            Source::Memory(_) => None,
        }
    }
}

/// What an entry takes beside its topic: itself, its publishes under way, its place in the tree.
const ENTRY_BYTES: usize = 160;

/// How much is looked up at once.
pub(crate) struct PageLimits {
    /// Messages found.
    pub(crate) count_max: usize,
    /// Their topics, and the one that goes beyond it.
    pub(crate) topic_bytes_max: usize,
    /// Topics looked at.
    pub(crate) looked_at_max: usize,
}

/// Some of the retained messages that a subscription gets.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Their topics, and where the log has them; `None` = in memory, not committed yet.
    pub(crate) found: Vec<(Bytes, Option<i64>)>,
    pub(crate) topic_bytes: usize,
    pub(crate) looked_at: usize,
    /// The rest comes after this topic; `None` = that was all.
    pub(crate) rest_after: Option<Bytes>,
}

/// So many are told apart; with a dispatcher, or a session, further behind, older ones may come
/// twice.
const AHEAD_COUNT_MAX: usize = 1024;
/// Gaps that are told apart; neighbours beyond that are one.
const MISSING_COUNT_MAX: usize = 64;
/// Compaction begins when the log is larger than this and less than half of it is live.
const COMPACT_BYTES_MIN: u64 = 1 << 20;

fn bytes_of(topic: &Bytes) -> usize {
    topic.len() + ENTRY_BYTES
}

impl RetainedIndex {
    /// Retained messages there are.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The records are in this topic from here on: of another one before it nothing is left.
    pub(crate) fn follow(&mut self, log: TopicId) {
        if self.log.replace(log).is_none_or(|before| before == log) {
            return;
        }
        (self.live, self.live_bytes, self.log_bytes) = (0, 0, 0);
        (self.passed, self.ahead) = (0, BTreeMap::new());
        self.missing = Vec::new();
        self.entries.retain(|_, entry| {
            (entry.logged, entry.is_moving) = (None, false);
            !entry.pending.is_empty()
        });
        self.index_bytes = self.entries.keys().map(bytes_of).sum();
    }

    /// The topic whose offsets it has.
    pub(crate) fn log(&self) -> Option<TopicId> {
        self.log
    }

    /// Nothing is known about the records at these offsets.
    pub(crate) fn miss(&mut self, offsets: Range<i64>) {
        let is_full = self.missing.len() >= MISSING_COUNT_MAX;
        match self.missing.last_mut() {
            Some(last) if last.end == offsets.start || is_full => last.end = offsets.end,
            _ => self.missing.push(offsets),
        }
    }

    /// Offsets of records that are not in the index.
    pub(crate) fn missing(&self) -> &[Range<i64>] {
        &self.missing
    }

    /// Takes over what was found in the log before `end`; false = the dispatcher has gone on
    /// from there, and what it cleared is in the way no more: find that, too.
    #[must_use]
    pub(crate) fn adopt(&mut self, found: &RetainedIndex, end: i64) -> bool {
        if let Some(log) = found.log {
            self.follow(log);
        }
        if self.passed > end {
            return false;
        }
        self.drop_cleared(found, end);
        for (topic, entry) in &found.entries {
            if let Some(Logged {
                offset,
                bytes,
                is_message,
                ..
            }) = entry.logged
            {
                self.note(topic, offset, bytes, is_message);
            }
        }
        self.passed = end;
        self.log_bytes = self.log_bytes.max(found.log_bytes);
        self.missing.clone_from(&found.missing);
        true
    }

    /// What it has that was cleared where nothing could be read before: `found` knows only what
    /// is left.
    fn drop_cleared(&mut self, found: &RetainedIndex, end: i64) {
        let was_read = |offset| {
            let is_missing = found.missing.iter().any(|range| range.contains(&offset));
            offset < end && !is_missing
        };
        self.entries.retain(|topic, entry| {
            // One that says it is cleared stays: the dispatcher may meet an older message.
            let cleared = entry.logged.take_if(|logged| {
                logged.is_message && was_read(logged.offset) && !found.entries.contains_key(topic)
            });
            let Some(cleared) = cleared else {
                return true;
            };
            self.live -= 1;
            self.live_bytes -= cleared.bytes;
            if entry.pending.is_empty() {
                self.index_bytes -= bytes_of(topic);
            }
            !entry.pending.is_empty()
        });
    }

    /// A publish is about to be appended. `visible` at QoS 0: the message, or that it is cleared.
    pub(crate) fn begin(
        &mut self,
        topic: &Bytes,
        token: u64,
        visible: Option<Option<Arc<Message>>>,
    ) {
        let pending = Pending {
            token,
            since: self.next_moment(),
            visible,
        };
        match self.entries.get_mut(topic) {
            Some(entry) => entry.pending.push(pending),
            None => {
                let entry = Entry {
                    pending: vec![pending],
                    ..Entry::default()
                };
                self.insert(topic, entry);
            }
        }
    }

    /// Whether a topic may get a retained message: it has one, or there is room for its name.
    pub(crate) fn has_room(&self, topic: &Bytes, index_bytes_max: usize) -> bool {
        self.index_bytes + bytes_of(topic) <= index_bytes_max || self.entries.contains_key(topic)
    }

    fn insert(&mut self, topic: &Bytes, entry: Entry) {
        self.index_bytes += bytes_of(topic);
        self.entries.insert(Bytes::copy_from_slice(topic), entry);
    }

    fn remove(&mut self, topic: &Bytes) {
        if self.entries.remove(topic).is_some() {
            self.index_bytes -= bytes_of(topic);
        }
    }

    /// Its outcome is known; `committed` = offset in `log`, size and whether it is a message.
    pub(crate) fn end(
        &mut self,
        topic: &Bytes,
        token: u64,
        log: TopicId,
        committed: Option<(i64, u64, bool)>,
    ) {
        let committed = committed.filter(|_| self.log == Some(log));
        if let Some((offset, bytes, is_message)) = committed {
            self.note(topic, offset, bytes, is_message);
            if offset >= self.passed {
                let known = (Bytes::copy_from_slice(topic), self.moment);
                self.ahead.insert(offset, known);
                if self.ahead.len() > AHEAD_COUNT_MAX {
                    self.ahead.pop_first();
                }
            }
        }
        let Some(entry) = self.entries.get_mut(topic) else {
            return;
        };
        let Some(at) = entry.pending.iter().position(|p| p.token == token) else {
            return;
        };
        let pending = entry.pending.remove(at);
        // One at QoS 0 was visible from its beginning.
        if let (Some(logged), Some((offset, ..)), Some(_)) =
            (&mut entry.logged, committed, pending.visible)
            && logged.offset == offset
        {
            logged.since = pending.since;
        }
        // A cleared topic stays known until the dispatcher has passed it (`apply`), so that an
        // older record that the dispatcher meets later does not bring it back.
        if entry.pending.is_empty() && entry.logged.is_none() {
            self.remove(topic);
        }
    }

    /// A record of `_retained` was committed; called in the order of offsets.
    pub(crate) fn apply(&mut self, topic: &Bytes, offset: i64, bytes: u64, is_message: bool) {
        self.log_bytes += bytes;
        self.passed = self.passed.max(offset + 1);
        let copied = self.entries.get_mut(topic).and_then(|entry| {
            let is_copy = std::mem::take(&mut entry.is_moving);
            entry.logged.as_ref().filter(|_| is_copy).map(|l| l.since)
        });
        self.note(topic, offset, bytes, is_message);
        let Some(entry) = self.entries.get_mut(topic) else {
            return;
        };
        if let Some(logged) = &mut entry.logged
            && logged.offset == offset
        {
            logged.since = copied.unwrap_or(logged.since);
            if !logged.is_message && entry.pending.is_empty() {
                self.remove(topic);
            }
        }
    }

    fn note(&mut self, topic: &Bytes, offset: i64, bytes: u64, is_message: bool) {
        let since = self.next_moment();
        if !self.entries.contains_key(topic) {
            if !is_message {
                return;
            }
            self.insert(topic, Entry::default());
        }
        let Some(entry) = self.entries.get_mut(topic) else {
            return;
        };
        match &entry.logged {
            Some(known) if known.offset >= offset => return,
            Some(old) if old.is_message => {
                self.live -= 1;
                self.live_bytes -= old.bytes;
            }
            _ => {}
        }
        entry.logged = Some(Logged {
            offset,
            bytes,
            is_message,
            since,
        });
        if is_message {
            self.live += 1;
            self.live_bytes += bytes;
        }
    }

    fn next_moment(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    /// Now, and the first offset that the dispatcher has yet to come to: what a new subscription
    /// remembers.
    pub(crate) fn now(&self) -> (Moment, i64) {
        (self.moment, self.passed)
    }

    /// Since when the index has this record of the topic, or a later one: it may have heard of it
    /// before the dispatcher came to it.
    pub(crate) fn known_since(&self, topic: &[u8], offset: i64) -> Moment {
        let later = self.ahead.range(offset..).map(|(_, known)| known);
        let same = later.filter(|(other, _)| other == topic);
        same.map(|(_, since)| *since).min().unwrap_or(Moment::MAX)
    }

    /// Retained messages that a subscription made at `moment` gets: the first ones after a topic,
    /// in the order of their topics, as many as the limits allow.
    pub(crate) fn page(
        &self,
        filter: &[u8],
        moment: Moment,
        after: Option<&Bytes>,
        limits: &PageLimits,
    ) -> Page {
        let prefix = literal_prefix(filter);
        let from = match after {
            Some(topic) => Bound::Excluded(&topic[..]),
            None => Bound::Included(prefix),
        };
        let from = self.entries.range::<[u8], _>((from, Bound::Unbounded));
        let mut page = Page::default();
        for (topic, entry) in from.take_while(|(topic, _)| topic.starts_with(prefix)) {
            page.looked_at += 1;
            if filter_matches(filter, topic)
                && let Some(source) = entry.source(moment)
            {
                page.topic_bytes += topic.len();
                page.found.push((topic.clone(), source.offset()));
            }
            let is_full = page.found.len() >= limits.count_max
                || page.topic_bytes >= limits.topic_bytes_max
                || page.looked_at >= limits.looked_at_max;
            if is_full {
                page.rest_after = Some(topic.clone());
                break;
            }
        }
        page
    }

    /// Where one of them is now: in memory it is committed soon, compaction may have moved it.
    pub(crate) fn find(&self, topic: &[u8], moment: Moment) -> Option<Source> {
        self.entries.get(topic)?.source(moment)
    }

    /// Whether it is time to move live records from the front of the log to its end.
    pub(crate) fn wants_compaction(&self) -> bool {
        // A record that is missing here may be the newest of its topic.
        self.missing.is_empty()
            && self.log_bytes > COMPACT_BYTES_MIN
            && self.live_bytes * 2 < self.log_bytes
    }

    /// What to do with a record at the front of the log.
    pub(crate) fn judge(&self, topic: &Bytes, offset: i64) -> Judgement {
        // The index may not know what it is.
        if offset >= self.passed {
            return Judgement::Wait;
        }
        let Some(entry) = self.entries.get(topic) else {
            return Judgement::Dead;
        };
        match &entry.logged {
            // A copy would come behind what is under way. One that was replaced has no copy.
            Some(logged) if logged.is_message && logged.offset == offset => {
                match entry.pending.is_empty() {
                    true => Judgement::Live,
                    false => Judgement::Wait,
                }
            }
            _ => Judgement::Dead,
        }
    }

    /// The record of a topic is appended again.
    pub(crate) fn moving(&mut self, topic: &[u8]) {
        if let Some(entry) = self.entries.get_mut(topic) {
            entry.is_moving = true;
        }
    }

    /// It is at this offset now, or that failed. The original may be cut off from here on, so this
    /// cannot wait for the dispatcher.
    pub(crate) fn moved(&mut self, topic: &[u8], offset: Option<i64>) {
        let entry = self.entries.get_mut(topic);
        let Some(entry) = entry.filter(|entry| entry.is_moving) else {
            return;
        };
        entry.is_moving = false;
        if let (Some(logged), Some(offset)) = (&mut entry.logged, offset) {
            logged.offset = logged.offset.max(offset);
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
    /// It is the newest and a publish to its topic is under way, or the index has to hear of it:
    /// come back later.
    Wait,
}

impl Entry {
    /// What was visible at a moment, unless something newer is: that came by the live path.
    fn source(&self, moment: Moment) -> Option<Source> {
        let visible = self
            .pending
            .iter()
            .rev()
            .find_map(|pending| Some((pending.since, pending.visible.as_ref()?)));
        match (visible, &self.logged) {
            (Some((since, Some(message))), _) if since <= moment => {
                Some(Source::Memory(message.clone()))
            }
            (Some(_), _) => None,
            (None, Some(logged)) if logged.is_message && logged.since <= moment => {
                Some(Source::Logged(logged.offset))
            }
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
