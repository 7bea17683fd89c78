//! What is measured: one file per line of the list of figures.

mod connections;
mod drain;
mod latency;
mod link;
mod memory;
mod qos0;
mod speed;
mod start;
mod wear;

use std::io;
use std::time::Duration;

use crate::Options;
use crate::load::{Load, Until};
use crate::payload::Kind;
use crate::peers::gateway::{Gateway, Setup};
use crate::peers::{Folder, gateway};
use crate::table::Table;

/// One named measurement.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&Options) -> io::Result<Table>,
}

/// All of them, in the order they run in.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "speed",
        about: "20 clients x window 64 x 256 B QoS 1, disk and memory, beside Mosquitto and NATS",
        run: speed::speed,
    },
    Scenario {
        name: "peers",
        about: "only Mosquitto and NATS: what the load generator gets out of others",
        run: speed::peers,
    },
    Scenario {
        name: "slow-card",
        about: "the same with every sync 10 ms slower, beside NATS",
        run: speed::slow_card,
    },
    Scenario {
        name: "qos0",
        about: "QoS 0 end to end while every sync takes 500 ms; syncs at 20 msg/s of QoS 0",
        run: qos0::run,
    },
    Scenario {
        name: "latency",
        about: "acks at 2 000 msg/s over 10 clients, beside one bare fdatasync of this disk",
        run: latency::run,
    },
    Scenario {
        name: "drain",
        about: "a stored backlog to a local Kafka, beside Kafka's own producer",
        run: drain::local,
    },
    Scenario {
        name: "drain-far",
        about: "a backlog of one- and two-record batches through a round trip of 100 ms, beside it",
        run: drain::far,
    },
    Scenario {
        name: "link",
        about: "bytes on the link to central per payload byte, and idle",
        run: link::run,
    },
    Scenario {
        name: "memory",
        about: "resident memory idle, under load, with a backlog, and while it drains",
        run: memory::run,
    },
    Scenario {
        name: "connections",
        about: "resident memory with ten thousand connections, half open to busy",
        run: connections::run,
    },
    Scenario {
        name: "device",
        about: "bytes written to the device per payload byte: default, 20 ms and 100 ms waits",
        run: wear::device,
    },
    Scenario {
        name: "wear",
        about: "GB a day as projected by status, beside what the kernel counted",
        run: wear::projected,
    },
    Scenario {
        name: "start",
        about: "start to the first PUBACK after kill -9 with a large log",
        run: start::run,
    },
];

/// No budget, no wait: for figures of the path itself.
const NEVER_WAIT: &str = "[storage]\nwear_gb_per_day = 0\n";

/// As fast as it goes until so many messages are stored.
fn fill(gateway: &Gateway, kind: Kind, bytes: usize, count: u64) -> io::Result<f64> {
    let load = Load {
        bytes,
        warm_up: Duration::ZERO,
        until: Until::Count(count),
        ..Load::full_speed(gateway.address, kind, 0)
    };
    Ok(crate::load::run(load)?.rate())
}

/// A gateway on a fresh folder.
fn fresh(options: &Options, name: &str, setup: &Setup<'_>) -> io::Result<(Gateway, Folder)> {
    let folder = Folder::create(options, name)?;
    let gateway = gateway::start(options, &folder, setup)?;
    Ok((gateway, folder))
}

/// A paced load of `bytes` at `rate` over `clients`.
fn paced(gateway: &Gateway, clients: usize, rate: f64, bytes: usize, seconds: u64) -> Load {
    Load {
        clients,
        bytes,
        rate: Some(rate),
        warm_up: Duration::from_secs(2),
        ..Load::full_speed(gateway.address, Kind::Json, seconds)
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
