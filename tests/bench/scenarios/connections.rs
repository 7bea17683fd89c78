//! Resident memory with ten thousand connections: half open, idle, subscribed, after a message.

use std::io;
use std::net::TcpStream as StdStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::{fresh, megabytes};
use crate::peers::gateway::{Gateway, Setup};
use crate::table::Table;
use crate::{Options, client};

const CONNECTIONS: usize = 10_000;
const MEGABYTES_MAX: f64 = 100.0;
const PAYLOAD: &[u8] = &[b'x'; 100];
/// Until a figure stands still; half-open sockets close after five seconds.
const SETTLE: Duration = Duration::from_secs(7);

/// `connections`.
pub fn run(options: &Options) -> io::Result<Table> {
    raise_file_limit()?;
    let mut table = Table::new("connections");
    let (gateway, _folder) = fresh(options, "connections", &Setup::default())?;
    let mut told = Told {
        before: measure(&gateway),
        table: &mut table,
        gateway: &gateway,
    };
    let half_open: Vec<_> = (0..CONNECTIONS)
        .map(|_| StdStream::connect(gateway.address))
        .collect::<io::Result<_>>()?;
    told.resident("half-open sockets, most of them closed again");
    drop(half_open);
    smol::block_on(async {
        let mut clients = Vec::with_capacity(CONNECTIONS);
        for number in 0..CONNECTIONS {
            let id = format!("device-{number:05}");
            clients.push(client::connect(gateway.address, &id).await?);
        }
        told.resident("idle clients");
        for (number, stream) in clients.iter_mut().enumerate() {
            client::subscribe(stream, &format!("device/{number:05}/cmd"), 1).await?;
        }
        told.resident("… with a subscription each");
        for (number, stream) in clients.iter_mut().enumerate() {
            let mut out = Vec::new();
            let topic = format!("device/{number:05}/state");
            client::publish(&mut out, &topic, PAYLOAD, Some(1));
            stream.write_all(&out).await?;
        }
        for stream in &mut clients {
            stream.read_exact(&mut [0; 4]).await?;
        }
        told.resident("… after a message of each");
        io::Result::Ok(())
    })?;
    told.resident("all gone");
    gateway.server.stop();
    Ok(table)
}

/// Rows of the table: how much there is, and how much of it is a connection's.
struct Told<'a> {
    before: f64,
    table: &'a mut Table,
    gateway: &'a Gateway,
}

impl Told<'_> {
    fn resident(&mut self, what: &str) {
        let now = measure(self.gateway);
        let each = (now - self.before) * 1e3 / CONNECTIONS as f64;
        let what = format!("{CONNECTIONS} {what} ({each:.1} KB each)");
        self.table
            .goal(what, (now, "MB"), "< 100", now < MEGABYTES_MAX);
    }
}

fn measure(gateway: &Gateway) -> f64 {
    std::thread::sleep(SETTLE);
    megabytes(gateway.server.resident())
}

/// Each connection is a file here, too.
fn raise_file_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)
}
