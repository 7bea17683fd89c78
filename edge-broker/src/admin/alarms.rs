//! Alarms of all parts in one list: the site's own, and what central and the machine give rise to.
//!
//! Names are the contract: the same in status, log, the metric `edge_alarm{code}` and the
//! documentation. Pure.

use cloud_sync::{CentralStatus, TopicState};
use edge_site::SiteStatus;

use super::report::{Alarm, Report};
use crate::config::units::{show_bytes, show_count, show_time};

/// Every alarm there is, for the metric: one that is not raised is 0, not missing.
pub const CODES: [&str; 13] = [
    "central.unreachable",
    "central.auth",
    "central.tls",
    "topic.parked",
    "storage.filling",
    "storage.full",
    "storage.poisoned",
    "storage.readonly",
    "storage.quarantined",
    "clock.unsynced",
    "config.rejected",
    "memory.pressure",
    "link.budget",
];

/// What is the matter now.
pub fn gather(site: &SiteStatus, central: &CentralStatus, report: &Report) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = site.alarms.iter().map(of_site).collect();
    alarms.extend(of_central(central, report.time_ms));
    alarms.extend(of_parked(central, report.time_ms));
    alarms.extend(of_memory(report));
    alarms.extend(of_clock(report));
    alarms
}

fn of_site(alarm: &edge_site::Alarm) -> Alarm {
    Alarm {
        code: alarm.code.into(),
        since_ms: alarm.since_ms,
        message: alarm.message.clone(),
        fix: alarm.fix.clone(),
    }
}

fn of_central(central: &CentralStatus, now_ms: i64) -> Option<Alarm> {
    let failure = central
        .failure
        .as_ref()
        .filter(|_| central.configured && !central.reachable)?;
    let tries = match failure.tries {
        0 | 1 => String::new(),
        tries => format!(", {} tries", show_count(tries)),
    };
    Some(Alarm {
        code: failure.code.into(),
        since_ms: now_ms - central.since_ms as i64,
        message: format!("{}{tries}", failure.message),
        fix: failure.hint.clone(),
    })
}

fn of_parked(central: &CentralStatus, now_ms: i64) -> impl Iterator<Item = Alarm> {
    let parked = central
        .topics
        .iter()
        .filter(|topic| topic.state == TopicState::Parked);
    parked.map(move |topic| Alarm {
        code: "topic.parked".into(),
        since_ms: now_ms - topic.parked_ms.unwrap_or(0) as i64,
        message: format!(
            "{}: {}",
            topic.topic,
            topic.reason.as_deref().unwrap_or("central refuses it")
        ),
        fix: format!("repair it, then: edge-broker central retry {}", topic.topic),
    })
}

fn of_memory(report: &Report) -> Option<Alarm> {
    let memory = &report.memory;
    let resident = memory
        .resident_bytes
        .filter(|bytes| *bytes > memory.bytes_max)?;
    Some(Alarm {
        code: "memory.pressure".into(),
        since_ms: report.time_ms,
        message: format!(
            "the process uses {}, memory.bytes_max is {}",
            show_bytes(resident),
            show_bytes(memory.bytes_max)
        ),
        fix: "fewer clients or smaller queues, or raise memory.bytes_max".into(),
    })
}

fn of_clock(report: &Report) -> Option<Alarm> {
    if report.clock.trusted {
        return None;
    }
    Some(Alarm {
        code: "clock.unsynced".into(),
        since_ms: report.time_ms - (report.up_s * 1000) as i64,
        message: format!(
            "the clock says {}: no time service yet",
            show_time(report.time_ms)
        ),
        fix: "nothing for devices; stamps of records are mended once it is set".into(),
    })
}
