//! Counters become rates: messages a second, room at this rate.
//!
//! Pure: the time is an argument. Fed once a second by the admin task, read by `gather`.

use std::collections::{BTreeMap, VecDeque};

use edge_site::state::INCARNATION_JUMP;

use super::report::{Report, Topic};

/// Rates are over this long.
const RATE_WINDOW_MS: u64 = 10_000;

/// Growth of the store is over this long, from samples this far apart.
const GROWTH_WINDOW_MS: u64 = 3_600_000;
const GROWTH_STEP_MS: u64 = 60_000;

/// A growth over less than this is noise: slices are created and dropped whole.
const GROWTH_SPAN_MS_MIN: u64 = 600_000;

/// Counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Messages taken from devices.
    pub received: u64,
    /// Records acknowledged by central.
    pub forwarded: u64,
    /// Bytes of the store.
    pub bytes_used: u64,
    /// Committed ends of all partitions, by topic.
    pub topics: BTreeMap<String, Vec<u64>>,
}

impl Sample {
    /// What a report says.
    pub fn of(report: &Report) -> Sample {
        let ends = |topic: &Topic| {
            let ends = topic.partitions.iter();
            let ends = ends.map(|partition| partition.committed_end.max(0) as u64);
            (topic.name.clone(), ends.collect())
        };
        Sample {
            received: report.devices.received,
            forwarded: report.forward.as_ref().map_or(0, |to| to.forwarded),
            bytes_used: report.log.bytes_used,
            topics: report.topics.iter().map(ends).collect(),
        }
    }
}

/// The newest samples.
#[derive(Debug, Default)]
pub struct Rates {
    recent: VecDeque<(u64, Sample)>,
    /// Bytes of the store, a minute apart.
    growth: VecDeque<(u64, u64)>,
}

impl Rates {
    /// Takes a sample at `now_ms`.
    pub fn handle_sample(&mut self, now_ms: u64, sample: Sample) {
        let due = |last: &(u64, u64)| now_ms.saturating_sub(last.0) >= GROWTH_STEP_MS;
        if self.growth.back().is_none_or(due) {
            self.growth.push_back((now_ms, sample.bytes_used));
        }
        self.recent.push_back((now_ms, sample));
        // The oldest one that is kept spans the whole window.
        while self
            .recent
            .get(1)
            .is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= RATE_WINDOW_MS)
        {
            self.recent.pop_front();
        }
        while self
            .growth
            .get(1)
            .is_some_and(|(at, _)| now_ms - at >= GROWTH_WINDOW_MS)
        {
            self.growth.pop_front();
        }
    }

    /// Messages from devices in a second.
    pub fn received_per_s(&self) -> f64 {
        self.rate(|sample| sample.received)
    }

    /// Records to central in a second.
    pub fn forwarded_per_s(&self) -> f64 {
        self.rate(|sample| sample.forwarded)
    }

    /// Records of a topic in a second.
    pub fn topic_per_s(&self, name: &str) -> f64 {
        let (Some((_, first)), Some((_, last))) = (self.recent.front(), self.recent.back()) else {
            return 0.0;
        };
        let ends = |sample: &Sample| sample.topics.get(name).cloned().unwrap_or_default();
        let first = ends(first);
        let appended = |(at, end): (usize, u64)| {
            let before = first.get(at).copied().unwrap_or(0);
            // A new incarnation leaves offsets out: they are no records.
            end.saturating_sub(before) % INCARNATION_JUMP.unsigned_abs()
        };
        let appended = ends(last).into_iter().enumerate().map(appended).sum();
        self.per_s(appended)
    }

    /// Seconds until `room_bytes` are gone; none while the store does not grow or it is too early.
    pub fn room_s(&self, room_bytes: u64) -> Option<u64> {
        let ((first_at, first), (last_at, last)) = (self.growth.front()?, self.growth.back()?);
        let (span_ms, grown) = (last_at - first_at, last.checked_sub(*first)?);
        if span_ms < GROWTH_SPAN_MS_MIN || grown == 0 {
            return None;
        }
        let seconds = u128::from(room_bytes) * u128::from(span_ms) / u128::from(grown) / 1000;
        u64::try_from(seconds).ok()
    }

    fn rate(&self, counter: impl Fn(&Sample) -> u64) -> f64 {
        let (Some((_, first)), Some((_, last))) = (self.recent.front(), self.recent.back()) else {
            return 0.0;
        };
        self.per_s(counter(last).saturating_sub(counter(first)))
    }

    /// So many within the samples that are kept.
    fn per_s(&self, count: u64) -> f64 {
        let at = |sample: Option<&(u64, Sample)>| sample.map_or(0, |(at_ms, _)| *at_ms);
        match at(self.recent.back()) - at(self.recent.front()) {
            0 => 0.0,
            span_ms => count as f64 * 1000.0 / span_ms as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rates, Sample};

    fn received(count: u64) -> Sample {
        Sample {
            received: count,
            topics: [("mqtt".into(), vec![count])].into(),
            ..Sample::default()
        }
    }

    #[test]
    fn a_rate_is_over_the_newest_ten_seconds() {
        let mut rates = Rates::default();
        assert_eq!(rates.received_per_s(), 0.0);
        for second in 0..=60_u64 {
            // 5 a second for half a minute, then 200.
            let count = if second <= 30 {
                second * 5
            } else {
                150 + (second - 30) * 200
            };
            rates.handle_sample(second * 1000, received(count));
        }
        assert_eq!(rates.received_per_s(), 200.0);
        assert_eq!(rates.topic_per_s("mqtt"), 200.0);
        assert_eq!(rates.topic_per_s("unknown"), 0.0);
        assert!(rates.recent.len() <= 12);
    }

    #[test]
    fn a_counter_that_went_back_is_no_rate() {
        let mut rates = Rates::default();
        rates.handle_sample(0, received(100));
        rates.handle_sample(1000, received(0));
        assert_eq!(rates.received_per_s(), 0.0);
    }

    /// After a loss offsets go on 4 294 967 296 higher: the column showed that as messages.
    #[test]
    fn a_jump_of_the_offsets_is_no_rate() {
        let mut rates = Rates::default();
        rates.handle_sample(0, received(7));
        rates.handle_sample(1000, received(7 + (1 << 32) + 5));
        assert_eq!(rates.topic_per_s("mqtt"), 5.0);
    }

    #[test]
    fn room_is_told_after_ten_minutes_of_growth() {
        let mut rates = Rates::default();
        for minute in 0..=9 {
            let bytes_used = minute * 1_000_000;
            rates.handle_sample(
                minute * 60_000,
                Sample {
                    bytes_used,
                    ..Sample::default()
                },
            );
        }
        assert_eq!(rates.room_s(1_000_000_000), None);
        for minute in 10..=200 {
            let bytes_used = minute * 1_000_000;
            rates.handle_sample(
                minute * 60_000,
                Sample {
                    bytes_used,
                    ..Sample::default()
                },
            );
        }
        assert_eq!(rates.room_s(1_000_000_000), Some(60_000));
        assert!(rates.growth.len() <= 62);
    }
}
