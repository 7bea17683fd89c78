//! Fills the report: asks site, MQTT door, forwarder and machine, each once.
//!
//! Decides nothing but which figures are known; the verdict is `verdict`'s.

use cloud_sync::{CentralStatus, TopicState};
use edge_site::{Marks, SiteStatus};

use super::alarms;
use super::rates::Rates;
use super::report::*;
use super::verdict::{sort_alarms, verdict};
use super::{App, Facts};
use crate::machine;

/// Below this many acknowledged messages a percentile says nothing.
const SYNCS_MIN: u64 = 1;

/// A wear figure of less than this long is a start-up artefact.
const WEAR_S_MIN: u64 = 60;

/// Everything at this moment.
pub async fn report(app: &App) -> Report {
    let site = app.site.status().await;
    let central = app.central.status();
    let now_ms = machine::wall_ms();
    let up_s = app.started.elapsed().as_secs();
    let rates = app.rates();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        site: site.name.clone(),
        node: app.facts.node.clone(),
        up_s,
        time_ms: now_ms,
        clock: Clock {
            synced: machine::clock_synced(),
            trusted: machine::clock_trusted(),
        },
        doors: app.doors(),
        devices: devices(app, &rates),
        log: log(&site),
        forward: forward(&site, &central, &rates, now_ms),
        disk: disk(&app.facts, &site, &rates, up_s),
        link: link(&central),
        memory: Memory {
            resident_bytes: machine::resident_bytes(),
            buffers_bytes: app.site.memory().bytes() as u64,
            bytes_max: app.facts.memory_bytes_max,
        },
        topics: topics(&site, &central, &rates),
        ledger: ledger(&site),
        ..Report::default()
    };
    report.alarms = alarms::gather(&site, &central, &report);
    alarms::add_files(&mut report.alarms, &app.file_problems(), now_ms);
    let known = app.alarms();
    for alarm in &mut report.alarms {
        // Some do not know since when they are; then it is since they were met first.
        let met_ms = known.since_ms(alarm).unwrap_or(alarm.since_ms);
        alarm.since_ms = alarm.since_ms.min(met_ms);
    }
    drop(known);
    sort_alarms(&mut report.alarms);
    report.verdict = verdict(&report, site.ready);
    report
}

fn devices(app: &App, rates: &Rates) -> Devices {
    let Some(stats) = app.device_stats() else {
        return Devices::default();
    };
    let known = |us: u64| (us > 0).then_some(us);
    Devices {
        connected: stats.connected,
        in_per_s: rates.received_per_s(),
        received: stats.publishes_in,
        refused: stats.publishes_refused,
        ack_us_p50: known(stats.puback_p50_us),
        ack_us_p99: known(stats.puback_p99_us),
    }
}

fn log(site: &SiteStatus) -> Log {
    let synced = site.sync.commits >= SYNCS_MIN;
    Log {
        end: site.last_index,
        durable: site.durable_index,
        committed: site.committed_index,
        bytes_used: site.storage.bytes_used,
        bytes_max: site.storage.bytes_max,
        slices: site.storage.slices as u64,
        oldest_age_ms: site.storage.oldest_age_ms,
        sync_us_p50: synced.then_some(site.sync.sync_us_p50),
        sync_us_p99: synced.then_some(site.sync.sync_us_p99),
        commits: site.sync.commits,
        records: site.sync.records,
        queue_bytes: site.queue.bytes as u64,
        queue_bytes_max: site.queue.bytes_max as u64,
        opened_clean: site.open.clean,
        opened_in_ms: site.open.opened_in_ms,
    }
}

fn forward(
    site: &SiteStatus,
    central: &CentralStatus,
    rates: &Rates,
    now_ms: i64,
) -> Option<Forward> {
    if !central.configured {
        return None;
    }
    let waits = |topic: &&edge_site::TopicStatus| topic.topic.config.forward;
    let oldest = site
        .topics
        .iter()
        .filter(waits)
        .filter_map(|topic| topic.waiting_since_ms)
        .min();
    let waiting = central
        .topics
        .iter()
        .map(|topic| topic.waiting_records)
        .sum();
    let guarantee = serde_json::to_value(central.guarantee).unwrap_or_default();
    Some(Forward {
        reachable: central.reachable,
        since_ms: central.since_ms,
        guarantee: guarantee.as_str().unwrap_or_default().to_owned(),
        forwarded: central.records_forwarded,
        waiting,
        out_per_s: rates.forwarded_per_s(),
        oldest_age_ms: age(oldest, now_ms).filter(|_| waiting > 0),
        next_try_ms: central.next_try_ms,
        dead_lettered: central.records_dead_lettered,
    })
}

fn disk(facts: &Facts, site: &SiteStatus, rates: &Rates, up_s: u64) -> Disk {
    let (bytes, free_bytes) = machine::filesystem(&facts.data).unwrap_or_default();
    let room = site
        .storage
        .bytes_max
        .saturating_sub(site.storage.bytes_used);
    let free_room = free_bytes.saturating_sub(site.storage.free_bytes_min);
    let per_day = (site.wear.gb_per_day * 1e9) as u64;
    Disk {
        free_bytes,
        bytes,
        free_bytes_min: site.storage.free_bytes_min,
        written_bytes: site.wear.bytes_written,
        payload_bytes: site.wear.bytes_payload,
        written_bytes_per_day: (up_s >= WEAR_S_MIN).then_some(per_day),
        written_bytes_per_day_max: (site.wear.gb_per_day_max * 1e9) as u64,
        room_s: rates.room_s(room.min(free_room)),
    }
}

fn link(central: &CentralStatus) -> Option<Link> {
    let link = &central.link;
    let projected = link.month_projected_bytes;
    central.configured.then_some(Link {
        sent_bytes: link.sent_bytes,
        received_bytes: link.received_bytes,
        month_bytes: link.month_bytes,
        month_projected_bytes: (projected > 0).then_some(projected),
        month_bytes_max: (link.month_bytes_max > 0).then_some(link.month_bytes_max),
    })
}

fn topics(site: &SiteStatus, central: &CentralStatus, rates: &Rates) -> Vec<Topic> {
    let one = |status: &edge_site::TopicStatus| {
        let name = status.topic.name.to_string();
        let forwarded = central.topics.iter().find(|topic| topic.topic == name);
        let forwarded = forwarded.filter(|_| status.topic.config.forward);
        Topic {
            in_per_s: rates.topic_per_s(&name),
            stored_bytes: status.bytes_stored,
            waiting: forwarded.map(|topic| topic.waiting_records),
            central_topic: forwarded.map(|topic| topic.central_topic.clone()),
            state: forwarded
                .map_or("local", |topic| state(topic.state))
                .to_owned(),
            reason: forwarded.and_then(|topic| topic.reason.clone()),
            parked_ms: forwarded.and_then(|topic| topic.parked_ms),
            partitions: partitions(&status.partitions),
            name,
        }
    };
    site.topics.iter().map(one).collect()
}

fn state(state: TopicState) -> &'static str {
    match state {
        TopicState::Idle => "idle",
        TopicState::Waiting => "waiting",
        TopicState::Sending => "sending",
        TopicState::Parked => "parked",
    }
}

/// Marks in the shape of the report.
pub fn partitions(marks: &[Marks]) -> Vec<Partition> {
    let one = |(number, marks): (usize, &Marks)| Partition {
        partition: number as u32,
        start: marks.start,
        committed_end: marks.committed_end,
        end: marks.end,
        forwarded: marks.forwarded,
    };
    marks.iter().enumerate().map(one).collect()
}

fn lost_offsets(lost: &edge_site::LostOffsets) -> LostOffsets {
    LostOffsets {
        topic: lost.topic_name.clone(),
        partition: lost.partition,
        first: lost.first,
        last: lost.last,
    }
}

fn ledger(site: &SiteStatus) -> Ledger {
    let sum = |on_purpose: bool| {
        let entries = site
            .ledger
            .iter()
            .filter(|entry| entry.cause.is_on_purpose() == on_purpose);
        entries.map(|entry| entry.count).sum()
    };
    let one = |entry: &edge_site::LossEntry| LedgerEntry {
        cause: entry.cause.to_string(),
        words: entry.cause.words().to_owned(),
        topic: entry.topic_name.clone(),
        count: entry.count,
        first_ms: entry.first_ms,
        last_ms: entry.last_ms,
    };
    Ledger {
        lost: sum(false),
        shed: sum(true),
        entries: site.ledger.iter().map(one).collect(),
        lost_offsets: site.lost.iter().map(lost_offsets).collect(),
    }
}

fn age(since_ms: Option<i64>, now_ms: i64) -> Option<u64> {
    since_ms.map(|since| (now_ms - since).max(0) as u64)
}
