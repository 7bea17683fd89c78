//! How fast a stored backlog reaches Kafka, beside Kafka's own producer on the same road.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{NEVER_WAIT, fill};
use crate::Options;
use crate::load::{self, Load, Until};
use crate::payload::Kind;
use crate::peers::gateway::{Gateway, Setup};
use crate::peers::kafka::{self, Kafka};
use crate::peers::{Folder, gateway};
use crate::relay::Relay;
use crate::table::Table;

const RECORD_BYTES: usize = 200;
const RECORDS: u64 = 1_000_000;
/// Before anything is measured, so that the broker's code is compiled for everybody.
const RECORDS_WARM: u64 = 200_000;
/// One-record batches take a sync for every few records.
const SMALL_SHORT: u64 = 50_000;
const ROUND_TRIP: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// `drain`.
pub fn local(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("drain");
    let kafka = kafka::start(options)?;
    warm(&kafka)?;
    let records = RECORDS;
    for partitions in [1, 16] {
        let name = format!("drain-{partitions}");
        let folder = Folder::create(options, &name)?;
        let config = config(partitions, &name);
        store(options, &folder, &config, records)?;
        kafka.create(&format!("{name}-mqtt"), partitions)?;
        let ours = drain(options, &folder, &config, kafka.address, records)?;
        arrived(&kafka, &format!("{name}-mqtt"), records)?;
        let more = format!("{records} records of {RECORD_BYTES} B");
        table.row(
            format!("edge-broker, {partitions} partitions"),
            ours,
            "rec/s",
            more,
        );
        compare(&mut table, &kafka, kafka.address, partitions, records, ours)?;
    }
    Ok(table)
}

/// `drain-far`.
pub fn far(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("drain-far");
    let kafka = kafka::start(options)?;
    warm(&kafka)?;
    let _relay = Relay::start(kafka.relay_port, kafka.behind_relay, ROUND_TRIP)?;
    let bootstrap = SocketAddr::from(([127, 0, 0, 1], kafka.relay_port));
    let records = if options.full { RECORDS } else { SMALL_SHORT };
    let partitions = 16;
    let folder = Folder::create(options, "drain-far")?;
    let config = config(partitions, "drain-far");
    let per_batch = store_small(options, &folder, &config, records)?;
    kafka.create("drain-far-mqtt", partitions)?;
    let ours = drain(options, &folder, &config, bootstrap, records)?;
    arrived(&kafka, "drain-far-mqtt", records)?;
    let more =
        format!("{records} records, {per_batch:.1} in a commit over {partitions} partitions");
    table.row("edge-broker, round trip 100 ms", ours, "rec/s", more);
    compare(&mut table, &kafka, bootstrap, partitions, records, ours)?;
    Ok(table)
}

fn warm(kafka: &Kafka) -> io::Result<()> {
    kafka.create("warm", 4)?;
    kafka
        .producer_perf(kafka.address, "warm", RECORDS_WARM, RECORD_BYTES)
        .map(drop)
}

fn config(partitions: u32, central: &str) -> String {
    format!(
        "{NEVER_WAIT}[topics]\npartitions = {partitions}\n\
         [central]\ntopic = \"{central}-{{topic}}\"\ndrain_jitter_s = 0\n"
    )
}

fn compare(
    table: &mut Table,
    kafka: &Kafka,
    bootstrap: SocketAddr,
    partitions: u32,
    records: u64,
    ours: f64,
) -> io::Result<()> {
    let topic = format!("perf-{partitions}");
    kafka.create(&topic, partitions)?;
    let theirs = kafka.producer_perf(bootstrap, &topic, records, RECORD_BYTES)?;
    let more = "acks=all, its defaults, starting up included".to_owned();
    table.row(
        format!("producer-perf, {partitions} partitions"),
        theirs,
        "rec/s",
        more,
    );
    let ratio = ours / theirs;
    let what = format!("edge-broker / producer-perf, {partitions} partitions");
    table.goal(what, (ratio, "x"), ">= 0.8 x", ratio >= 0.8);
    Ok(())
}

/// Stores a backlog at full speed while there is no central.
fn store(options: &Options, folder: &Folder, config: &str, records: u64) -> io::Result<()> {
    let setup = Setup {
        config,
        ..Setup::default()
    };
    let gateway = gateway::start(options, folder, &setup)?;
    fill(&gateway, Kind::Random, RECORD_BYTES, records)?;
    gateway.server.stop();
    Ok(())
}

/// The same with at most one message of each client in a commit; records per commit.
fn store_small(options: &Options, folder: &Folder, config: &str, records: u64) -> io::Result<f64> {
    let setup = Setup {
        config,
        ..Setup::default()
    };
    let gateway = gateway::start(options, folder, &setup)?;
    let load = Load {
        window: 1,
        bytes: RECORD_BYTES,
        warm_up: Duration::ZERO,
        until: Until::Count(records),
        ..Load::full_speed(gateway.address, Kind::Random, 0)
    };
    load::run(load)?;
    let per_commit = gateway.number("/log/records") / gateway.number("/log/commits").max(1.0);
    gateway.server.stop();
    Ok(per_commit)
}

/// Starts the gateway with central and takes the time from that until nothing waits.
fn drain(
    options: &Options,
    folder: &Folder,
    config: &str,
    central: SocketAddr,
    records: u64,
) -> io::Result<f64> {
    let central = Some(central.to_string());
    let setup = Setup {
        config,
        central,
        ..Setup::default()
    };
    let begun = Instant::now();
    let gateway = gateway::start(options, folder, &setup)?;
    wait_drained(&gateway)?;
    Ok(records as f64 / begun.elapsed().as_secs_f64())
}

/// Asks Kafka itself: a drain that leaves records behind is not fast.
fn arrived(kafka: &Kafka, topic: &str, records: u64) -> io::Result<()> {
    match kafka.records(topic)? {
        found if found >= records => Ok(()),
        found => Err(io::Error::other(format!(
            "{found} of {records} records arrived"
        ))),
    }
}

/// Until central has everything.
pub fn wait_drained(gateway: &Gateway) -> io::Result<()> {
    let begun = Instant::now();
    let mut last = f64::NAN;
    loop {
        let status = gateway.status()?;
        let number = |pointer| status.pointer(pointer).and_then(serde_json::Value::as_f64);
        let waiting = number("/forward/waiting").unwrap_or(f64::NAN);
        // The status may be older than the start of forwarding: nothing waits only after
        // something did.
        if waiting == 0.0 && number("/forward/forwarded").unwrap_or(0.0) > 0.0 {
            return Ok(());
        }
        if begun.elapsed() > DRAIN_MAX {
            return Err(io::Error::other(format!(
                "not drained: {waiting} wait, {last} before"
            )));
        }
        last = waiting;
        std::thread::sleep(Duration::from_millis(20));
    }
}
