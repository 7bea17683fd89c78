//! From alarms and figures to one word and one sentence.
//!
//! Pure. Called by `gather`.

use super::report::{Alarm, Degree, Forward, Report, Verdict};
use crate::config::units::{show_age, show_count};

/// Codes that alone do not make a gateway degraded: notes.
const NOTES: [&str; 1] = ["clock.unsynced"];

/// Whether an alarm is nothing but a note.
pub fn is_note(code: &str) -> bool {
    NOTES.contains(&code)
}

/// Codes that mean that devices are refused.
const STORAGE_STOPPED: [&str; 3] = ["storage.full", "storage.poisoned", "storage.readonly"];

/// Worst first, then the oldest first.
pub fn sort_alarms(alarms: &mut [Alarm]) {
    let rank = |alarm: &Alarm| match alarm.code.as_str() {
        code if STORAGE_STOPPED.contains(&code) => 0,
        code if code.starts_with("storage.") => 1,
        code if code.starts_with("central.") => 2,
        code if is_note(code) => 9,
        _ => 3,
    };
    alarms.sort_by_key(|alarm| (rank(alarm), alarm.since_ms));
}

/// How it is. `ready`: appends can be stored now. `alarms` sorted.
pub fn verdict(report: &Report, ready: bool) -> Verdict {
    let serious = |alarm: &&Alarm| !is_note(&alarm.code);
    let worst = report.alarms.iter().find(serious);
    let (degree, text) = match (worst, ready) {
        (None, true) => (Degree::Ok, all_well(report)),
        (None, false) => (Degree::NotStoring, starting()),
        (Some(worst), false) => {
            let text = format!("{} Messages are not stored.", full_stop(&worst.message));
            (Degree::NotStoring, text)
        }
        (Some(worst), true) if worst.code.starts_with("central.") => {
            (Degree::Degraded, link_down(report, worst))
        }
        (Some(worst), true) => (Degree::Degraded, served(report, worst)),
    };
    Verdict { degree, text }
}

/// Something is wrong that devices do not notice.
fn served(report: &Report, worst: &Alarm) -> String {
    let room = room(report)
        .map(|room| format!(" {room}"))
        .unwrap_or_default();
    format!("{} Devices are served.{room}", full_stop(&worst.message))
}

fn starting() -> String {
    "Messages are not stored yet: the store is not ready.".into()
}

fn all_well(report: &Report) -> String {
    match &report.forward {
        None => "Devices are served and stored; nothing is forwarded: central.bootstrap is empty."
            .into(),
        Some(Forward { waiting: 0, .. }) => {
            "Devices are served and stored; central has everything.".into()
        }
        Some(forward) => format!(
            "Devices are served and stored; {} on the way to central.",
            messages(forward.waiting)
        ),
    }
}

/// `central unreachable for 3 h 12 min. Devices are served; … wait on disk; room for …; next try …`
fn link_down(report: &Report, alarm: &Alarm) -> String {
    let since = (report.time_ms - alarm.since_ms).max(0) as u64;
    let what = match alarm.code.as_str() {
        "central.auth" => "central refuses this gateway",
        "central.tls" => "no TLS to central",
        _ => "central unreachable",
    };
    let mut parts = vec![format!(
        "{what} for {}. Devices are served",
        show_age(since)
    )];
    if let Some(forward) = &report.forward {
        parts.push(match forward.waiting {
            0 => "nothing waits".into(),
            waiting => format!("{} wait on disk", messages(waiting)),
        });
    }
    parts.extend(room(report).map(|room| room.trim_end_matches('.').to_owned()));
    let next_try = report
        .forward
        .as_ref()
        .and_then(|forward| forward.next_try_ms);
    parts.extend(next_try.map(|ms| format!("next try in {}", whole_seconds(ms))));
    full_stop(&parts.join("; "))
}

fn room(report: &Report) -> Option<String> {
    let room_s = report.disk.room_s?;
    Some(format!(
        "room for {} at this rate.",
        show_age(room_s.saturating_mul(1000))
    ))
}

fn whole_seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1000))
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".into(),
        _ => format!("{} messages", show_count(count)),
    }
}

fn full_stop(text: &str) -> String {
    if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::report::Disk;

    const HOUR_MS: i64 = 3_600_000;

    fn alarm(code: &str, since_ms: i64, message: &str) -> Alarm {
        Alarm {
            code: code.into(),
            since_ms,
            message: message.into(),
            fix: String::new(),
        }
    }

    fn report(alarms: Vec<Alarm>) -> Report {
        let forward = Forward {
            waiting: 182_311,
            next_try_ms: Some(20_400),
            ..Forward::default()
        };
        Report {
            time_ms: 10 * HOUR_MS,
            alarms,
            forward: Some(forward),
            disk: Disk {
                room_s: Some(19 * 86_400),
                ..Disk::default()
            },
            ..Report::default()
        }
    }

    #[test]
    fn an_outage_says_what_waits_and_for_how_long_there_is_room() {
        let report = report(vec![alarm("central.unreachable", 7 * HOUR_MS, "timed out")]);
        let verdict = verdict(&report, true);
        assert_eq!(verdict.degree, Degree::Degraded);
        assert_eq!(
            verdict.text,
            "central unreachable for 3 h. Devices are served; 182 311 messages wait on disk; room \
             for 19 d at this rate; next try in 21 s."
        );
    }

    #[test]
    fn an_unsynchronised_clock_alone_is_a_note() {
        let mut report = report(vec![alarm("clock.unsynced", 0, "no time service")]);
        assert_eq!(verdict(&report, true).degree, Degree::Ok);
        report.forward = None;
        assert!(
            verdict(&report, true)
                .text
                .contains("central.bootstrap is empty")
        );
    }

    #[test]
    fn a_stopped_store_outranks_everything() {
        let mut alarms = vec![
            alarm("clock.unsynced", 0, "no time service"),
            alarm("central.unreachable", 1, "timed out"),
            alarm("storage.full", 2, "the filesystem is full"),
        ];
        sort_alarms(&mut alarms);
        assert_eq!(alarms[0].code, "storage.full");
        assert_eq!(alarms[2].code, "clock.unsynced");
        let verdict = verdict(&report(alarms), false);
        assert_eq!(verdict.degree, Degree::NotStoring);
        assert_eq!(
            verdict.text,
            "the filesystem is full. Messages are not stored."
        );
    }

    #[test]
    fn a_parked_topic_degrades() {
        let report = report(vec![alarm(
            "topic.parked",
            0,
            "recipes: central refuses Write",
        )]);
        let verdict = verdict(&report, true);
        assert_eq!(verdict.degree, Degree::Degraded);
        assert!(
            verdict
                .text
                .starts_with("recipes: central refuses Write. Devices are served.")
        );
    }
}
