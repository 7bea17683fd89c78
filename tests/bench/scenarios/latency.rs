//! How long an acknowledgement takes when nobody is in a hurry, beside one bare sync.

use std::io;
use std::time::Duration;

use super::{NEVER_WAIT, fresh, paced};
use crate::Options;
use crate::disk;
use crate::load;
use crate::peers::gateway::Setup;
use crate::table::Table;

/// `latency`.
pub fn run(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("latency");
    for (name, config) in [("wear_gb_per_day = 0", NEVER_WAIT), ("default", "")] {
        let setup = Setup {
            config,
            ..Setup::default()
        };
        let (gateway, folder) = fresh(options, "latency", &setup)?;
        let before = disk::bare_syncs(folder.path(), Duration::from_secs(2))?;
        let outcome = load::run(paced(&gateway, 10, 2_000.0, 200, options.seconds))?;
        let after = disk::bare_syncs(folder.path(), Duration::from_secs(2))?;
        let bare_us = |quantile| {
            let both = [before.quantile_us(quantile), after.quantile_us(quantile)];
            both.into_iter().max().unwrap_or(0).max(1)
        };
        let (p50_us, p99_us) = (
            outcome.latency.quantile_us(0.5),
            outcome.latency.quantile_us(0.99),
        );
        let ms = |us: u64| us as f64 / 1e3;
        let rate = format!("at {:.0} msg/s", outcome.rate());
        table.row(format!("ack p50, {name}"), ms(p50_us), "ms", rate);
        table.row(format!("ack p99, {name}"), ms(p99_us), "ms", String::new());
        let p99 = format!("p99 {:.2} ms", ms(bare_us(0.99)));
        table.row("one bare fdatasync p50", ms(bare_us(0.5)), "ms", p99);
        if config == NEVER_WAIT {
            let ratio = p99_us as f64 / bare_us(0.5) as f64;
            let goal = "<= 3 x";
            table.goal("ack p99 / bare p50", (ratio, "x"), goal, ratio <= 3.0);
            let ratio = p99_us as f64 / bare_us(0.99) as f64;
            table.row("ack p99 / bare p99", ratio, "x", String::new());
        }
    }
    table.note("bare: 4 KB appended and synced every 2 ms for 2 s, before and after, the slower");
    Ok(table)
}
