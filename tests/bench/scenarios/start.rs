//! How long devices wait for a gateway that lost its power with a full log.

use std::io;

use super::{fill, megabytes};
use crate::Options;
use crate::payload::Kind;
use crate::peers::gateway::Setup;
use crate::peers::{Folder, gateway};
use crate::table::Table;

const LOG_BYTES: u64 = 2_000_000_000;
const LOG_BYTES_SHORT: u64 = 200_000_000;
const MESSAGE_BYTES: usize = 256;

/// `start`.
pub fn run(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("start");
    let folder = Folder::create(options, "start")?;
    let wanted = if options.full {
        LOG_BYTES
    } else {
        LOG_BYTES_SHORT
    };
    let gateway = gateway::start(options, &folder, &Setup::default())?;
    let empty_s = gateway.ready_after.as_secs_f64();
    table.row("first start, empty folder", empty_s, "s", String::new());
    fill(
        &gateway,
        Kind::Random,
        MESSAGE_BYTES,
        wanted / MESSAGE_BYTES as u64,
    )?;
    let used = gateway.number("/log/bytes_used");
    drop(gateway); // SIGKILL
    let gateway = gateway::start(options, &folder, &Setup::default())?;
    let killed_s = gateway.ready_after.as_secs_f64();
    let what = format!(
        "to the first PUBACK after kill -9, {:.0} MB of log",
        used / 1e6
    );
    table.goal(what, (killed_s, "s"), "< 2", killed_s < 2.0);
    let peak = megabytes(gateway.server.resident_max());
    table.row("peak memory of that start", peak, "MB", String::new());
    gateway.server.stop();
    let gateway = gateway::start(options, &folder, &Setup::default())?;
    let clean_s = gateway.ready_after.as_secs_f64();
    table.goal("after SIGTERM", (clean_s, "s"), "< 2", clean_s < 2.0);
    table.note("the page cache is warm: the kernel did not stop");
    Ok(table)
}
