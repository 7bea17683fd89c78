//! Which events are written, and how.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use log::{Level, LevelFilter};

use super::repeats::{Repeats, Verdict};
use super::{Event, Format, Levels};
use crate::config;

fn levels(level: &str, modules: &[(&str, &str)]) -> Levels {
    let modules: BTreeMap<String, String> = modules
        .iter()
        .map(|(name, level)| ((*name).into(), (*level).into()))
        .collect();
    Levels::new(&config::Log {
        level: level.into(),
        modules,
        format: "auto".into(),
        repeat_s: 60,
    })
}

fn event(message: &str, repeated: u64) -> Event<'_> {
    Event {
        unix_ms: 0,
        level: Level::Warn,
        module: "bridge",
        message,
        repeated,
    }
}

#[test]
fn the_longest_module_name_decides() {
    let levels = levels("info", &[("bridge", "debug"), ("bridge::codec", "error")]);
    assert_eq!(levels.of("bridge"), LevelFilter::Debug);
    assert_eq!(levels.of("bridge::session"), LevelFilter::Debug);
    assert_eq!(levels.of("bridge::codec"), LevelFilter::Error);
    assert_eq!(levels.of("bridged"), LevelFilter::Warn);
    assert_eq!(levels.of("edge_site::core"), LevelFilter::Info);
    assert_eq!(levels.most(), LevelFilter::Debug);
}

#[test]
fn package_names_fit_with_their_hyphen() {
    assert_eq!(
        levels("info", &[("cloud-sync", "trace")]).of("cloud_sync"),
        LevelFilter::Trace
    );
}

#[test]
fn other_peoples_crates_are_quiet_unless_named() {
    assert_eq!(levels("info", &[]).of("sled::pagecache"), LevelFilter::Warn);
    assert_eq!(
        levels("debug", &[("sled", "debug")]).of("sled::pagecache"),
        LevelFilter::Debug
    );
    assert_eq!(levels("off", &[]).of("sled"), LevelFilter::Off);
}

#[test]
fn a_line_is_one_line_whatever_a_client_sends() {
    let line = event("client \"a\nb\u{1b}[31m\" refused", 0).line(Format::Text);
    assert_eq!(
        line,
        "1970-01-01T00:00:00.000Z warn  bridge: client \"a\\nb\\u{1b}[31m\" refused\n"
    );
}

#[test]
fn the_journal_gets_a_priority_and_no_time() {
    assert_eq!(
        event("full", 3).line(Format::Journal),
        "<4>bridge: full (and 3 times before, left out)\n"
    );
}

#[test]
fn json_is_one_object_per_line() {
    let line = event("a\nb", 2).line(Format::Json);
    let object: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
    assert_eq!(object["message"], "a\nb");
    assert_eq!(object["level"], "warn");
    assert_eq!(object["left_out_before"], 2);
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn the_same_warning_is_said_once_an_interval() {
    let mut repeats = Repeats::new(Duration::from_secs(60));
    let at = Duration::from_secs;
    assert_eq!(
        repeats.meet("bridge", "a", at(0)),
        Verdict::Say { left_out: 0 }
    );
    assert_eq!(repeats.meet("bridge", "a", at(1)), Verdict::LeaveOut);
    assert_eq!(
        repeats.meet("bridge", "b", at(1)),
        Verdict::Say { left_out: 0 }
    );
    assert_eq!(repeats.meet("bridge", "a", at(59)), Verdict::LeaveOut);
    assert_eq!(
        repeats.meet("bridge", "a", at(60)),
        Verdict::Say { left_out: 2 }
    );
}

#[test]
fn many_different_warnings_stay_within_memory() {
    let mut repeats = Repeats::new(Duration::from_secs(60));
    for number in 0..5_000 {
        repeats.meet("bridge", &number.to_string(), Duration::from_millis(number));
    }
    let last = repeats.meet("bridge", "4999", Duration::from_secs(5));
    assert_eq!(last, Verdict::LeaveOut);
    let forgotten = repeats.meet("bridge", "0", Duration::from_secs(5));
    assert_eq!(forgotten, Verdict::Say { left_out: 0 });
}
