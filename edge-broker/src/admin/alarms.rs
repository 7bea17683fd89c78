//! Alarms of all parts in one list: the site's own, and what central and the machine give rise to.
//!
//! Names are the contract: the same in status, log, the metric `edge_alarm{code}` and the
//! documentation. Pure.

use cloud_sync::{CentralStatus, FileProblem, TopicState};
use edge_site::{SHED_AT_PERCENT, SiteStatus};

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
    alarms.extend(of_link(report));
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

/// Files that no connection could use: known before one is made. One that was made says more.
pub fn add_files(alarms: &mut Vec<Alarm>, problems: &[FileProblem], now_ms: i64) {
    for problem in problems {
        if alarms.iter().any(|known| known.code == problem.alarm_code) {
            continue;
        }
        alarms.push(Alarm {
            code: problem.alarm_code.into(),
            since_ms: now_ms,
            message: problem.message.clone(),
            fix: problem.hint().into(),
        });
    }
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

/// The month's budget is used up, or will be at this rate.
fn of_link(report: &Report) -> Option<Alarm> {
    let link = report.link.as_ref()?;
    let budget = link.month_bytes_max?;
    let projected = link.month_projected_bytes.unwrap_or(0);
    let message = match (link.month_bytes, projected) {
        (used, _) if used > budget => format!(
            "{} went over the link to central this month, the budget is {}",
            show_bytes(used),
            show_bytes(budget)
        ),
        (used, projected) if projected > budget => format!(
            "{} of the link's {} are used, the month will come to {}",
            show_bytes(used),
            show_bytes(budget),
            show_bytes(projected)
        ),
        _ => return None,
    };
    Some(Alarm {
        code: "link.budget".into(),
        since_ms: report.time_ms,
        message,
        fix: "raise central.linger_ms, forward fewer topics, or raise \
              central.link_gb_per_month_max; nothing is held back"
            .into(),
    })
}

fn of_memory(report: &Report) -> Option<Alarm> {
    let memory = &report.memory;
    let is_over = |bytes: &u64| *bytes > memory.bytes_max;
    let sheds = memory.buffers_bytes >= memory.bytes_max / 100 * SHED_AT_PERCENT as u64;
    let what = match memory.resident_bytes.filter(is_over) {
        Some(resident) => format!("the process uses {}", show_bytes(resident)),
        None if sheds => format!("buffers hold {}", show_bytes(memory.buffers_bytes)),
        None => return None,
    };
    Some(Alarm {
        code: "memory.pressure".into(),
        since_ms: report.time_ms,
        message: format!(
            "{what}, memory.bytes_max is {}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::report::Link;

    fn with(used: u64, projected: Option<u64>, budget: Option<u64>) -> Option<Alarm> {
        of_link(&Report {
            link: Some(Link {
                month_bytes: used,
                month_projected_bytes: projected,
                month_bytes_max: budget,
                ..Link::default()
            }),
            ..Report::default()
        })
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_alarm_before_central_is_reached() {
        let problem = FileProblem {
            alarm_code: "central.auth",
            key: "central.sasl.password_file",
            message: "missing".into(),
        };
        let mut alarms = Vec::new();
        add_files(&mut alarms, std::slice::from_ref(&problem), 5);
        let codes = |alarms: &[Alarm]| alarms.iter().map(|a| a.code.clone()).collect::<Vec<_>>();
        assert_eq!(codes(&alarms), ["central.auth"]);
        add_files(&mut alarms, &[problem], 5);
        assert_eq!(alarms.len(), 1, "once");
    }

    #[test]
    fn the_links_budget_is_an_alarm_before_it_is_used_up() {
        const GB: u64 = 1_000_000_000;
        assert_eq!(with(9 * GB, Some(20 * GB), None), None, "no budget");
        assert_eq!(with(2 * GB, Some(9 * GB), Some(10 * GB)), None);
        let early = with(2 * GB, Some(12 * GB), Some(10 * GB));
        let early = early.map(|alarm| (alarm.code, alarm.message));
        let text = "2.0 GB of the link's 10 GB are used, the month will come to 12 GB";
        assert_eq!(early, Some(("link.budget".into(), text.into())));
        assert!(with(11 * GB, None, Some(10 * GB)).is_some());
    }
}
