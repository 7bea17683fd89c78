//! Messages a second at full speed, on this disk and on a slow card.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::fresh;
use crate::Options;
use crate::load::{self, Load, Outcome, Until};
use crate::payload::{BOTH, Kind};
use crate::peers::gateway::Setup;
use crate::peers::{mosquitto, nats};
use crate::process::Syncs;
use crate::table::Table;

/// An SD card, roughly.
const CARD: Duration = Duration::from_millis(10);
/// Of a client of NATS on a slow card.
const SLOW_WINDOW: usize = 4;
const MEMORY: &str = "[[route]]\nfilter = \"#\"\ntopic = \"mqtt\"\nack = \"memory\"\n";

fn measure(address: SocketAddr, kind: Kind, options: &Options) -> io::Result<Outcome> {
    load::run(Load::full_speed(address, kind, options.seconds))
}

fn ours(options: &Options, kind: Kind, setup: &Setup<'_>) -> io::Result<(Outcome, String)> {
    let (gateway, _folder) = fresh(options, "speed", setup)?;
    let outcome = measure(gateway.address, kind, options)?;
    let commits = gateway.number("/log/commits").max(1.0);
    let more = format!(
        "{} {:.0} messages a sync, {:.0} MB peak",
        outcome.latencies(),
        gateway.number("/log/records") / commits,
        super::megabytes(gateway.server.resident_max()),
    );
    Ok((outcome, more))
}

/// `speed`.
pub fn speed(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("speed");
    for kind in BOTH {
        let (disk, more) = ours(options, kind, &Setup::default())?;
        table.row(
            format!("edge-broker, disk, {kind}"),
            disk.rate(),
            "msg/s",
            more,
        );
        let memory = Setup {
            config: MEMORY,
            ..Setup::default()
        };
        let (memory, more) = ours(options, kind, &memory)?;
        table.row(
            format!("edge-broker, memory, {kind}"),
            memory.rate(),
            "msg/s",
            more,
        );
        if options.alone {
            continue;
        }
        let rate = beside_mosquitto(&mut table, kind, options)?;
        ratio(
            &mut table,
            "disk / Mosquitto",
            kind,
            disk.rate() / rate,
            2.0,
        );
        let rate = beside_nats(&mut table, kind, options, &Syncs::Plain)?;
        ratio(&mut table, "disk / NATS", kind, disk.rate() / rate, 40.0);
    }
    if !options.alone {
        table.note(format!(
            "{}; {}",
            mosquitto::version(),
            nats::version(options)
        ));
    }
    Ok(table)
}

fn ratio(table: &mut Table, what: &str, kind: Kind, ratio: f64, goal: f64) {
    let wanted = format!(">= {goal} x");
    table.goal(
        format!("{what}, {kind}"),
        (ratio, "x"),
        wanted,
        ratio >= goal,
    );
}

/// `peers`.
pub fn peers(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("peers");
    for kind in BOTH {
        beside_mosquitto(&mut table, kind, options)?;
        beside_nats(&mut table, kind, options, &Syncs::Plain)?;
    }
    Ok(table)
}

fn beside_mosquitto(table: &mut Table, kind: Kind, options: &Options) -> io::Result<f64> {
    let mosquitto = mosquitto::start(options)?;
    let outcome = measure(mosquitto.address, kind, options)?;
    let more = outcome.latencies();
    table.row(
        format!("Mosquitto, memory, {kind}"),
        outcome.rate(),
        "msg/s",
        more,
    );
    Ok(outcome.rate())
}

fn beside_nats(table: &mut Table, kind: Kind, options: &Options, syncs: &Syncs) -> io::Result<f64> {
    let nats = nats::start(options, syncs)?;
    let mut load = Load::full_speed(nats.address, kind, options.seconds);
    let mut more = String::new();
    if *syncs != Syncs::Plain {
        // One sync for each message, so the window makes no difference, but 1,280 messages under
        // way would take longer than the whole measurement.
        load.window = SLOW_WINDOW;
        load.until = Until::Time(Duration::from_secs(options.seconds.max(20)));
        more = format!("window {SLOW_WINDOW}  ");
    }
    let outcome = load::run(load)?;
    more.insert_str(0, &outcome.latencies());
    table.row(
        format!("NATS, sync always, {kind}"),
        outcome.rate(),
        "msg/s",
        more,
    );
    Ok(outcome.rate())
}

/// `slow-card`.
pub fn slow_card(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("slow-card");
    let syncs = Syncs::Slowed(CARD);
    for kind in BOTH {
        let setup = Setup {
            syncs: syncs.clone(),
            ..Setup::default()
        };
        let (outcome, more) = ours(options, kind, &setup)?;
        table.row(
            format!("edge-broker, disk, {kind}"),
            outcome.rate(),
            "msg/s",
            more,
        );
        let rate = outcome.rate();
        table.goal(
            format!("rate, {kind}"),
            (rate, "msg/s"),
            ">= 40 000",
            rate >= 40_000.0,
        );
        let p99_ms = outcome.latency.quantile_us(0.99) as f64 / 1e3;
        table.goal(
            format!("p99, {kind}"),
            (p99_ms, "ms"),
            "<= 50",
            p99_ms <= 50.0,
        );
        if !options.alone {
            beside_nats(&mut table, kind, options, &syncs)?;
        }
    }
    table.note("every fsync and fdatasync returns 10 ms later (strace --inject)");
    Ok(table)
}
