//! Bytes on the device: per payload byte, and a day, projected and counted.

use std::io;
use std::time::Instant;

use super::{fresh, paced};
use crate::Options;
use crate::load;
use crate::peers::gateway::{Gateway, Setup};
use crate::table::Table;

const RATE: f64 = 2_000.0;
const MESSAGE_BYTES: usize = 200;
const DAY_S: f64 = 86_400.0;
const FULL_S: u64 = 600;
/// Before that the gateway projects nothing.
const PROJECTED_AFTER_S: u64 = 65;

/// `device`.
pub fn device(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("device");
    // A budget that is spent at once makes every commit wait its longest.
    let fixed =
        |ms: u32| format!("[storage]\nwear_gb_per_day = 0.001\ncommit_interval_ms_max = {ms}\n");
    let cases = [
        ("default", String::new(), None),
        ("never wait", super::NEVER_WAIT.to_owned(), None),
        ("20 ms", fixed(20), Some(3.0)),
        ("100 ms", fixed(100), Some(2.0)),
    ];
    for (name, config, goal) in cases {
        let setup = Setup {
            config: &config,
            ..Setup::default()
        };
        let (gateway, _folder) = fresh(options, "device", &setup)?;
        load::run(paced(&gateway, 10, RATE, MESSAGE_BYTES, 2))?; // the first slices are made
        let before = Counted::of(&gateway);
        let outcome = load::run(paced(&gateway, 10, RATE, MESSAGE_BYTES, options.seconds))?;
        let counted = Counted::of(&gateway).since(before);
        let stored = gateway.number("/topics/0/stored_bytes");
        let ratio = counted.written / (counted.records * MESSAGE_BYTES as f64);
        let more = format!(
            "{} {:.1} records and {:.0} B a commit, stored {:.2} x",
            outcome.latencies(),
            counted.records / counted.commits,
            counted.written / counted.commits,
            stored / (gateway.number("/log/records") * MESSAGE_BYTES as f64),
        );
        table.row(
            format!("device bytes per payload byte, {name}"),
            ratio,
            "x",
            more,
        );
        if let Some(goal) = goal {
            table.goal(name, (ratio, "x"), format!("<= {goal}"), ratio <= goal);
        }
    }
    table.note("2 000 msg/s of 200 B JSON, lz4; write_bytes of the process");
    Ok(table)
}

/// `wear`.
pub fn projected(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("wear");
    let seconds = if options.full {
        FULL_S
    } else {
        options.seconds.max(PROJECTED_AFTER_S)
    };
    for rate in [5.0, 100.0, 2_000.0] {
        let begun = Instant::now();
        let (gateway, _folder) = fresh(options, "wear", &Setup::default())?;
        let clients = if rate < 10.0 { 1 } else { 10 };
        let load = paced(&gateway, clients, rate, MESSAGE_BYTES, seconds);
        let outcome = load::run(load)?;
        // Both count from the start of the process.
        let counted = Counted::of(&gateway);
        let elapsed_s = begun.elapsed().as_secs_f64();
        let counted_gb = counted.written / elapsed_s * DAY_S / 1e9;
        let projected_gb = gateway.number("/disk/written_bytes_per_day") / 1e9;
        let payload_gb = counted.records * MESSAGE_BYTES as f64 / elapsed_s * DAY_S / 1e9;
        let more = format!("{} payload {payload_gb:.2} GB a day", outcome.latencies());
        table.row(
            format!("counted at {rate} msg/s"),
            counted_gb,
            "GB/day",
            more,
        );
        table.row(
            format!("projected at {rate} msg/s"),
            projected_gb,
            "GB/day",
            String::new(),
        );
        let off = (projected_gb / counted_gb - 1.0).abs();
        let what = format!("projection off at {rate} msg/s");
        table.goal(what, (off * 100.0, "%"), "<= 10", off <= 0.1);
        let budget_gb = gateway.number("/disk/written_bytes_per_day_max") / 1e9;
        if payload_gb < budget_gb {
            let what = format!("counted / budget of {budget_gb:.0} GB at {rate} msg/s");
            let ratio = counted_gb / budget_gb;
            table.goal(what, (ratio, "x"), "<= 1.1", ratio <= 1.1);
        }
    }
    table.note(format!(
        "{seconds} s each, default configuration; ten minutes with --full"
    ));
    Ok(table)
}

/// Counters of a gateway at one moment.
#[derive(Debug, Clone, Copy)]
struct Counted {
    written: f64,
    records: f64,
    commits: f64,
}

impl Counted {
    fn of(gateway: &Gateway) -> Counted {
        Counted {
            written: gateway.server.written() as f64,
            records: gateway.number("/log/records"),
            commits: gateway.number("/log/commits"),
        }
    }

    fn since(self, before: Counted) -> Counted {
        Counted {
            written: self.written - before.written,
            records: (self.records - before.records).max(1.0),
            commits: (self.commits - before.commits).max(1.0),
        }
    }
}
