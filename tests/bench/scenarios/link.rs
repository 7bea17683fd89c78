//! What the link to central costs: bytes of the sockets, both ways, per payload byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{fresh, paced};
use crate::Options;
use crate::load;
use crate::peers::gateway::Setup;
use crate::peers::kafka;
use crate::relay::Relay;
use crate::table::Table;

const PAYLOAD_BYTES: usize = 176;
const CONFIG: &str = "[central]\nlinger_ms = 1000\n";
const MONTH_S: f64 = 30.0 * 86_400.0;

/// `link`.
pub fn run(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("link");
    let kafka = kafka::start(options)?;
    let relay = Relay::start(kafka.relay_port, kafka.behind_relay, Duration::ZERO)?;
    let central = Some(SocketAddr::from(([127, 0, 0, 1], kafka.relay_port)).to_string());
    let setup = Setup {
        config: CONFIG,
        central,
        ..Setup::default()
    };
    let (gateway, _folder) = fresh(options, "link", &setup)?;
    let seconds = if options.full {
        120
    } else {
        options.seconds.max(20)
    };
    for (rate, goal) in [(10.0, 0.65), (100.0, 0.25)] {
        // The load warms up first: connections, topic and producer id are there already.
        load::run(paced(&gateway, 5, rate, PAYLOAD_BYTES, 3))?;
        super::drain::wait_drained(&gateway)?;
        let (bytes, records) = (relay.bytes(), gateway.number("/log/records"));
        load::run(paced(&gateway, 5, rate, PAYLOAD_BYTES, seconds))?;
        super::drain::wait_drained(&gateway)?;
        let records = gateway.number("/log/records") - records;
        let passed = (relay.bytes() - bytes) as f64;
        let ratio = passed / (records * PAYLOAD_BYTES as f64);
        let what = format!("link bytes per payload byte at {rate} msg/s");
        table.goal(what, (ratio, "x"), format!("<= {goal}"), ratio <= goal);
    }
    let idle_s = if options.full { 900 } else { 60 };
    let (before, time) = (relay.bytes(), Duration::from_secs(idle_s));
    std::thread::sleep(time);
    let month_mb = (relay.bytes() - before) as f64 / time.as_secs_f64() * MONTH_S / 1e6;
    table.goal("idle", (month_mb, "MB/month"), "<= 15", month_mb <= 15.0);
    table.note(format!(
        "JSON of 176 B, linger 1 s, zstd; both ways, counted by a relay; idle over {idle_s} s"
    ));
    Ok(table)
}
