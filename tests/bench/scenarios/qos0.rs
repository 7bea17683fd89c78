//! QoS 0: how fast it passes while the disk is slow, and how seldom it asks for a sync.

use std::fs;
use std::io;
use std::time::Duration;

use super::fresh;
use crate::Options;
use crate::load;
use crate::peers::gateway::Setup;
use crate::process::Syncs;
use crate::table::Table;

const SLOW: Duration = Duration::from_millis(500);
const RATE: f64 = 100.0;
const QUIET_RATE: f64 = 20.0;

/// `qos0`.
pub fn run(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("qos0");
    let time = Duration::from_secs(options.seconds);
    {
        let setup = Setup {
            syncs: Syncs::Slowed(SLOW),
            ..Setup::default()
        };
        let (gateway, _folder) = fresh(options, "qos0", &setup)?;
        let passage = load::qos0(gateway.address, RATE, time)?;
        let p99_ms = passage.latency.quantile_us(0.99) as f64 / 1e3;
        let p50_ms = passage.latency.quantile_us(0.5) as f64 / 1e3;
        let more = format!("{} of {} arrived", passage.arrived, passage.sent);
        table.row("end to end p50, syncs of 500 ms", p50_ms, "ms", more);
        table.goal("end to end p99", (p99_ms, "ms"), "< 5", p99_ms < 5.0);
        let lost = (passage.sent - passage.arrived.min(passage.sent)) as f64;
        table.goal("not delivered", (lost, ""), "0", lost == 0.0);
    }
    let list = std::env::temp_dir().join(format!("edge-broker-syncs-{}", std::process::id()));
    let setup = Setup {
        syncs: Syncs::Counted(list.clone()),
        ..Setup::default()
    };
    let (gateway, _folder) = fresh(options, "qos0-syncs", &setup)?;
    std::thread::sleep(Duration::from_secs(3)); // what the start itself syncs
    let before = slice_syncs(&list)?;
    load::qos0(gateway.address, QUIET_RATE, time)?;
    let syncs = slice_syncs(&list)? - before;
    drop(gateway);
    fs::remove_file(list)?;
    // The load ends with a pause of 1.5 s in which the last records are stored.
    let per_s = syncs as f64 / (time.as_secs_f64() + 1.5);
    let goal = "<= 1 a second";
    table.goal(
        "slice syncs at 20 msg/s of QoS 0",
        (per_s, "/s"),
        goal,
        per_s <= 1.05,
    );
    Ok(table)
}

/// Syncs of a slice's own file so far.
fn slice_syncs(list: &std::path::Path) -> io::Result<usize> {
    let text = fs::read_to_string(list)?;
    let of_slice = |line: &&str| line.contains("/slices/") && line.contains("/db>");
    Ok(text.lines().filter(of_slice).count())
}
