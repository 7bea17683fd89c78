//! Says in the log when an alarm is raised, becomes another, or ends; remembers since when it is.
//!
//! Pure: the alarms of each second come in, lines go out. Called by the sampling task, so that the
//! log tells what happened while nobody asked for `status`.

use std::collections::BTreeMap;

use log::Level;

use super::report::Alarm;
use super::verdict::is_note;
use crate::config::units::show_age;

/// What was raised when it was looked at last.
#[derive(Debug, Default)]
pub struct AlarmLog {
    raised: BTreeMap<Key, Raised>,
}

/// A code, and the topic where an alarm is about one.
type Key = (String, String);

#[derive(Debug)]
struct Raised {
    since_ms: i64,
    /// Without its figures, which change all the time.
    words: String,
    noted_at_ms: u64,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// What to say.
    pub text: String,
}

impl AlarmLog {
    /// Compares with the last look. `now_ms` never goes back.
    pub fn handle_alarms(&mut self, now_ms: u64, alarms: &[Alarm]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut before = std::mem::take(&mut self.raised);
        for alarm in alarms {
            let words = words(&alarm.message);
            let known = before.remove(&key(alarm));
            if known.as_ref().is_none_or(|known| known.words != words) {
                lines.push(raised(alarm));
            }
            let (since_ms, noted_at_ms) =
                known.map_or((alarm.since_ms, now_ms), |k| (k.since_ms, k.noted_at_ms));
            let raised = Raised {
                since_ms,
                words,
                noted_at_ms,
            };
            self.raised.insert(key(alarm), raised);
        }
        lines.extend(before.iter().map(|(key, known)| ended(key, known, now_ms)));
        lines
    }

    /// Since when an alarm is raised, by the first look that met it.
    pub fn since_ms(&self, alarm: &Alarm) -> Option<i64> {
        self.raised.get(&key(alarm)).map(|raised| raised.since_ms)
    }
}

fn key(alarm: &Alarm) -> Key {
    let topic = match alarm.code.as_str() {
        "topic.parked" => alarm.message.split(':').next().unwrap_or_default(),
        _ => "",
    };
    (alarm.code.clone(), topic.to_owned())
}

fn words(message: &str) -> String {
    let words: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
    // The first try is not counted in words: the second is no other alarm.
    words
        .trim_end_matches(" tries")
        .trim_end_matches([',', ' '])
        .to_owned()
}

fn raised(alarm: &Alarm) -> Line {
    let level = match alarm.code.as_str() {
        code if is_note(code) => Level::Info,
        _ => Level::Warn,
    };
    let text = match alarm.fix.is_empty() {
        true => format!("alarm {}: {}", alarm.code, alarm.message),
        false => format!("alarm {}: {}; {}", alarm.code, alarm.message, alarm.fix),
    };
    Line { level, text }
}

fn ended((code, topic): &Key, known: &Raised, now_ms: u64) -> Line {
    let after = show_age(now_ms - known.noted_at_ms);
    let about = if topic.is_empty() {
        String::new()
    } else {
        format!(" of {topic}")
    };
    let text = format!("alarm {code}{about} is over after {after}");
    let level = Level::Info;
    Line { level, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(code: &str, message: &str) -> Alarm {
        Alarm {
            code: code.into(),
            since_ms: 7,
            message: message.into(),
            fix: "do it".into(),
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn an_alarm_is_said_when_it_begins_changes_and_ends_and_not_in_between() {
        let mut log = AlarmLog::default();
        let refused = alarm("central.unreachable", "connection refused");
        let again = alarm("central.unreachable", "connection refused, 12 tries");
        let other = alarm("central.unreachable", "no such host");
        let lines = log.handle_alarms(0, std::slice::from_ref(&refused));
        let said = "alarm central.unreachable: connection refused; do it";
        assert_eq!(texts(lines), [said]);
        assert!(log.handle_alarms(1000, &[again]).is_empty());
        let lines = log.handle_alarms(2000, &[other]);
        assert_eq!(
            texts(lines),
            ["alarm central.unreachable: no such host; do it"]
        );
        let lines = log.handle_alarms(3000, &[]);
        let said = "alarm central.unreachable is over after 3 s";
        assert_eq!(texts(lines), [said]);
        assert!(log.handle_alarms(4000, &[]).is_empty());
    }

    #[test]
    fn two_parked_topics_are_two_alarms() {
        let mut log = AlarmLog::default();
        let both = [
            alarm("topic.parked", "a: gone"),
            alarm("topic.parked", "b: gone"),
        ];
        assert_eq!(log.handle_alarms(0, &both).len(), 2);
        let lines = log.handle_alarms(60_000, &both[..1]);
        assert_eq!(
            texts(lines),
            ["alarm topic.parked of b is over after 1 min"]
        );
    }

    #[test]
    fn an_alarm_is_raised_since_it_was_met_first() {
        let mut log = AlarmLog::default();
        let mut pressure = alarm("memory.pressure", "full");
        log.handle_alarms(0, std::slice::from_ref(&pressure));
        pressure.since_ms = 99;
        log.handle_alarms(1000, std::slice::from_ref(&pressure));
        assert_eq!(log.since_ms(&pressure), Some(7));
    }
}
