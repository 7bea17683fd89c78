//! One local topic: whether central has it, takes it, or has refused it.

use super::types::{LocalTopic, Ms};

/// Kafka's default for `max.message.bytes`, used where it cannot be learned.
pub(crate) const BATCH_BYTES_DEFAULT: usize = 1_048_588;
const PARK_MS_MIN: Ms = 30_000;
const PARK_MS_MAX: Ms = 900_000;

/// How long a batch that was refused as too large says what central takes.
const REFUSED_BYTES_MS: Ms = 600_000;

/// State of one topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub local: LocalTopic,
    pub phase: Phase,
    pub limits: Limits,
    /// Half of the smallest batch that was too large lately, and when that was.
    taken_bytes: Option<(usize, Ms)>,
    /// The refusal that parked it; kept until central takes a record again.
    pub refusal: Option<Refusal>,
    /// It has something to send.
    pub wanted: bool,
}

/// How well central knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Ask for it.
    Unknown,
    /// Central has none of that name: create it, not before that time.
    Missing { not_before: Ms, failures: u32 },
    /// Its partitions' leaders are known as far as there are any.
    Known,
    /// Refused; tried again at that time.
    Parked { retry_at: Ms },
}

/// Why and since when a topic is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: String,
    pub since: Ms,
    pub times: u32,
    /// The partition it was about; none = the whole topic.
    pub partition: Option<u32>,
}

/// What one batch may weigh at central.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    Unknown,
    Known { batch_bytes_max: usize, at: Ms },
}

impl Topic {
    pub fn new(local: LocalTopic) -> Self {
        Self {
            local,
            phase: Phase::Unknown,
            limits: Limits::Unknown,
            taken_bytes: None,
            refusal: None,
            wanted: false,
        }
    }

    pub fn central_name(&self) -> &str {
        self.local.central.as_deref().unwrap_or(&self.local.name)
    }

    pub fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked { .. })
    }

    /// Parks it; how long until the next try.
    pub fn park(&mut self, partition: Option<u32>, reason: String, now: Ms) -> Ms {
        let refusal = self.refusal.get_or_insert(Refusal {
            reason: String::new(),
            since: now,
            times: 0,
            partition,
        });
        let wait = (PARK_MS_MIN << refusal.times.min(10)).min(PARK_MS_MAX);
        refusal.times += 1;
        refusal.reason = reason;
        refusal.partition = partition;
        self.phase = Phase::Parked {
            retry_at: now + wait,
        };
        wait
    }

    /// Tries it again: everything about it is asked anew.
    pub fn resume(&mut self) {
        self.phase = Phase::Unknown;
        self.limits = Limits::Unknown;
    }

    pub fn batch_bytes_max(&self) -> usize {
        match self.limits {
            Limits::Unknown => BATCH_BYTES_DEFAULT,
            Limits::Known {
                batch_bytes_max, ..
            } => batch_bytes_max,
        }
    }

    /// Central refused a batch of so many bytes: the next ones have half, for a while. Trying more
    /// after each success would send most records twice.
    pub fn note_too_large(&mut self, bytes: usize, now: Ms) {
        let half = (bytes / 2).min(self.taken_bytes_max(now));
        self.taken_bytes = Some((half, now));
    }

    /// What batches of several records may weigh: less than the limit where central refused that.
    pub fn taken_bytes_max(&self, now: Ms) -> usize {
        let known = self.taken_bytes;
        let known = known.filter(|(_, at)| now - at < REFUSED_BYTES_MS);
        let limit = self.batch_bytes_max();
        known.map_or(limit, |(bytes, _)| bytes.min(limit))
    }

    /// Partitions may be read and sent.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Known && self.limits != Limits::Unknown
    }
}
