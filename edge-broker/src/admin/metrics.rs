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

/// The whole text.
pub fn text(report: &Report) -> String {
    let mut registry = Registry::with_prefix("edge");
    gauges(&mut registry, report);
    counters(&mut registry, report);
    tables(&mut registry, report);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn gauges(registry: &mut Registry, report: &Report) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            registry.register(name, help, ConstGauge::new(value));
        }
    };
    let count = |count: u64| Some(count as f64);
    let seconds = |us: Option<u64>| us.map(|us| us as f64 / 1e6);
    let (log, disk, devices) = (&report.log, &report.disk, &report.devices);
    gauge(
        "up_seconds",
        "Since the start of the process",
        count(report.up_s),
    );
    gauge(
        "devices_connected",
        "MQTT clients connected",
        count(devices.connected),
    );
    gauge(
        "ack_p50_seconds",
        "PUBLISH to PUBACK, median of the newest",
        seconds(devices.ack_us_p50),
    );
    gauge(
        "ack_p99_seconds",
        "PUBLISH to PUBACK, 99th percentile",
        seconds(devices.ack_us_p99),
    );
    gauge(
        "sync_p50_seconds",
        "One write and sync, median",
        seconds(log.sync_us_p50),
    );
    gauge(
        "sync_p99_seconds",
        "One write and sync, 99th percentile",
        seconds(log.sync_us_p99),
    );
    gauge("log_bytes", "Bytes of the store", count(log.bytes_used));
    gauge("log_bytes_max", "Limit of the store", count(log.bytes_max));
    gauge(
        "log_end_index",
        "Last index of the site log",
        count(log.end),
    );
    gauge(
        "log_committed_index",
        "Committed index of the site log",
        count(log.committed),
    );
    gauge(
        "queue_bytes",
        "Received, not yet on disk",
        count(log.queue_bytes),
    );
    gauge(
        "disk_free_bytes",
        "Free bytes of the filesystem",
        count(disk.free_bytes),
    );
    gauge(
        "memory_resident_bytes",
        "Resident memory",
        report.memory.resident_bytes.map(|b| b as f64),
    );
    let forward = report.forward.as_ref();
    let up = |forward: &super::report::Forward| f64::from(u8::from(forward.reachable));
    gauge(
        "central_reachable",
        "1 while central answers",
        forward.map(up),
    );
    gauge(
        "central_waiting_records",
        "Records that wait",
        forward.map(|f| f.waiting as f64),
    );
    let oldest = forward
        .and_then(|forward| forward.oldest_age_ms)
        .map(|ms| ms as f64 / 1e3);
    gauge(
        "central_oldest_seconds",
        "Age of the oldest record that waits",
        oldest,
    );
}

fn counters(registry: &mut Registry, report: &Report) {
    let mut counter = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            registry.register(name, help, ConstCounter::new(value));
        }
    };
    let (log, disk, devices) = (&report.log, &report.disk, &report.devices);
    counter(
        "mqtt_publishes",
        "Messages taken from devices",
        Some(devices.received),
    );
    counter(
        "mqtt_publishes_refused",
        "Messages refused",
        Some(devices.refused),
    );
    counter("commits", "Commits, one sync each", Some(log.commits));
    counter("records", "Records committed", Some(log.records));
    counter(
        "disk_written_bytes",
        "Written by the store",
        Some(disk.written_bytes),
    );
    counter(
        "payload_bytes",
        "Bytes of batches in it",
        Some(disk.payload_bytes),
    );
    let forward = report.forward.as_ref();
    counter(
        "central_records",
        "Records acknowledged by central",
        forward.map(|f| f.forwarded),
    );
    counter(
        "central_dead_letters",
        "Records central refused",
        forward.map(|f| f.dead_lettered),
    );
    let link = report.link.as_ref();
    counter(
        "link_sent_bytes",
        "Sent to central",
        link.map(|link| link.sent_bytes),
    );
    counter(
        "link_received_bytes",
        "Received from central",
        link.map(|link| link.received_bytes),
    );
}

fn tables(registry: &mut Registry, report: &Report) {
    let alarm = Table::default();
    for code in CODES {
        let raised = report
            .alarms
            .iter()
            .filter(|alarm| alarm.code == code)
            .count();
        alarm
            .get_or_create(&vec![("code", code.to_owned())])
            .set(raised as f64);
    }
    registry.register("alarm", "Alarms raised, by code", alarm);
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
    let lost = Table::default();
    for entry in &report.ledger.entries {
        let labels = vec![
            ("cause", entry.cause.clone()),
            ("topic", entry.topic.clone()),
        ];
        lost.get_or_create(&labels).inc_by(entry.count as f64);
    }
    registry.register(
        "ledger_records",
        "Records gone without delivery, by cause",
        lost,
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
