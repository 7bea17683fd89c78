//! `/metrics`: the report as OpenMetrics text, for Prometheus.
//!
//! Made anew for each scrape from the same report as `status`, so the two cannot disagree.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::alarms::CODES;
use super::report::Report;

type Labels = Vec<(&'static str, String)>;
type Table = Family<Labels, Gauge<f64, AtomicU64>>;

/// Name, help, and where in the report it is; a figure that is not known is left out.
type Figure<T> = (&'static str, &'static str, fn(&Report) -> Option<T>);

const GAUGES: &[Figure<f64>] = &[
    ("up_seconds", "Since the start of the process", |r| {
        count(r.up_s)
    }),
    ("devices_connected", "MQTT clients connected", |r| {
        count(r.devices.connected)
    }),
    ("ack_p50_seconds", "PUBLISH to PUBACK, median", |r| {
        seconds(r.devices.ack_us_p50)
    }),
    (
        "ack_p99_seconds",
        "PUBLISH to PUBACK, 99th percentile",
        |r| seconds(r.devices.ack_us_p99),
    ),
    ("sync_p50_seconds", "One fdatasync, median", |r| {
        seconds(r.log.sync_us_p50)
    }),
    ("sync_p99_seconds", "One fdatasync, 99th percentile", |r| {
        seconds(r.log.sync_us_p99)
    }),
    ("log_bytes", "Bytes of the store", |r| {
        count(r.log.bytes_used)
    }),
    ("log_bytes_max", "Limit of the store", |r| {
        count(r.log.bytes_max)
    }),
    ("log_end_index", "Last index of the site log", |r| {
        count(r.log.end)
    }),
    (
        "log_committed_index",
        "Committed index of the site log",
        |r| count(r.log.committed),
    ),
    ("queue_bytes", "Received, not yet on disk", |r| {
        count(r.log.queue_bytes)
    }),
    ("disk_free_bytes", "Free bytes of the filesystem", |r| {
        count(r.disk.free_bytes)
    }),
    ("memory_resident_bytes", "Resident memory", |r| {
        r.memory.resident_bytes.and_then(count)
    }),
    (
        "memory_buffers_bytes",
        "What all big buffers hold of memory.bytes_max",
        |r| count(r.memory.buffers_bytes),
    ),
    ("central_reachable", "1 while central answers", |r| {
        r.forward
            .as_ref()
            .and_then(|forward| count(forward.reachable.into()))
    }),
    ("central_waiting_records", "Records that wait", |r| {
        r.forward
            .as_ref()
            .and_then(|forward| count(forward.waiting))
    }),
    (
        "central_oldest_seconds",
        "Age of the oldest record that waits",
        |r| r.forward.as_ref()?.oldest_age_ms.map(|ms| ms as f64 / 1e3),
    ),
];

const COUNTERS: &[Figure<u64>] = &[
    ("mqtt_publishes", "Messages taken from devices", |r| {
        Some(r.devices.received)
    }),
    ("mqtt_publishes_refused", "Messages refused", |r| {
        Some(r.devices.refused)
    }),
    ("commits", "Commits, one sync each", |r| Some(r.log.commits)),
    ("records", "Records committed", |r| Some(r.log.records)),
    ("disk_written_bytes", "Written by the store", |r| {
        Some(r.disk.written_bytes)
    }),
    (
        "payload_bytes",
        "Bytes of message values in it, as they came",
        |r| Some(r.disk.payload_bytes),
    ),
    ("central_records", "Records acknowledged by central", |r| {
        Some(r.forward.as_ref()?.forwarded)
    }),
    (
        "central_dead_letters",
        "Records that central refused",
        |r| Some(r.forward.as_ref()?.dead_lettered),
    ),
    ("link_sent_bytes", "Sent to central", |r| {
        Some(r.link.as_ref()?.sent_bytes)
    }),
    ("link_received_bytes", "Received from central", |r| {
        Some(r.link.as_ref()?.received_bytes)
    }),
];

fn count(count: u64) -> Option<f64> {
    Some(count as f64)
}

fn seconds(us: Option<u64>) -> Option<f64> {
    us.map(|us| us as f64 / 1e6)
}

/// The whole text.
pub fn text(report: &Report) -> String {
    let mut registry = Registry::with_prefix("edge");
    for (name, help, figure) in GAUGES {
        if let Some(value) = figure(report) {
            registry.register(*name, *help, ConstGauge::new(value));
        }
    }
    for (name, help, figure) in COUNTERS {
        if let Some(value) = figure(report) {
            registry.register(*name, *help, ConstCounter::new(value));
        }
    }
    alarms(&mut registry, report);
    topics(&mut registry, report);
    ledger(&mut registry, report);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn alarms(registry: &mut Registry, report: &Report) {
    let table = Table::default();
    for code in CODES {
        let raised = report
            .alarms
            .iter()
            .filter(|alarm| alarm.code == code)
            .count();
        table
            .get_or_create(&vec![("code", code.to_owned())])
            .set(raised as f64);
    }
    registry.register("alarm", "Alarms raised, by code", table);
}

fn topics(registry: &mut Registry, report: &Report) {
    let (waiting, stored) = (Table::default(), Table::default());
    for topic in &report.topics {
        let labels = vec![("topic", topic.name.clone())];
        stored.get_or_create(&labels).set(topic.stored_bytes as f64);
        if let Some(count) = topic.waiting {
            waiting.get_or_create(&labels).set(count as f64);
        }
    }
    registry.register("topic_stored_bytes", "Bytes of a topic's batches", stored);
    registry.register(
        "topic_waiting_records",
        "Records that central does not have",
        waiting,
    );
}

fn ledger(registry: &mut Registry, report: &Report) {
    let table = Table::default();
    for entry in &report.ledger.entries {
        let labels = vec![
            ("cause", entry.cause.clone()),
            ("topic", entry.topic.clone()),
        ];
        table.get_or_create(&labels).inc_by(entry.count as f64);
    }
    registry.register(
        "ledger_records",
        "Records gone without delivery, by cause",
        table,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::report::{Alarm, Forward};

    #[test]
    fn every_alarm_is_a_line_raised_or_not() {
        let alarm = Alarm {
            code: "topic.parked".into(),
            ..Alarm::default()
        };
        let report = Report {
            alarms: vec![alarm.clone(), alarm],
            ..Report::default()
        };
        let text = text(&report);
        assert!(
            text.contains("edge_alarm{code=\"topic.parked\"} 2.0\n"),
            "{text}"
        );
        assert!(
            text.contains("edge_alarm{code=\"storage.full\"} 0.0\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut report = Report::default();
        assert!(!text(&report).contains("central_reachable"));
        assert!(!text(&report).contains("ack_p50"));
        report.forward = Some(Forward {
            waiting: 7,
            ..Forward::default()
        });
        assert!(text(&report).contains("edge_central_waiting_records 7.0\n"));
    }
}
