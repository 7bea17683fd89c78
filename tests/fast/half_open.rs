//! Ten thousand connections that never say CONNECT: others are served meanwhile, and the memory
//! comes back.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::gateway::Gateway;
use crate::support::mqtt::{Client, Hello};
use crate::support::{eventually, proved, scratch};

/// Lets this process open so many sockets, if the system allows it.
fn raise_file_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(wanted).min(wanted);
    let raised = Rlimit {
        current: Some(allowed),
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

#[test]
fn ten_thousand_half_open_connections_leave_others_alone() {
    let count = raise_file_limit(10_500).saturating_sub(500).min(10_000);
    let dir = scratch();
    let mut gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    device.publish_acked("before", b"x");
    let before = gateway.memory_bytes();
    let mut slowest = Duration::ZERO;
    let mut open = Vec::new();
    for n in 0..count {
        let mut stream = TcpStream::connect(gateway.mqtt()).expect("the door stays open");
        if n % 2 == 0 {
            use std::io::Write;
            let _ = stream.write_all(&Hello::v3("half").packet()[..9]);
        }
        open.push(stream);
        if n % 200 == 0 {
            let begun = Instant::now();
            device.publish_acked("meanwhile", b"x");
            slowest = slowest.max(begun.elapsed());
        }
    }
    let mut newcomer = Client::connect(gateway.mqtt(), &Hello::v3("newcomer"));
    newcomer.publish_acked("newcomer", b"x");
    assert!(slowest < Duration::from_secs(1), "an ack took {slowest:?}");
    let during = gateway.memory_bytes();
    drop(open);
    let after = eventually("the memory comes back", Duration::from_secs(15), || {
        let now = gateway.memory_bytes();
        (now < before + 16 * 1024 * 1024).then_some(now)
    });
    assert!(gateway.is_running() && device.is_alive());
    let mb = |bytes: u64| bytes / 1024 / 1024;
    let (before, during, after, slowest) = (mb(before), mb(during), mb(after), slowest.as_millis());
    proved(
        "fast",
        &format!(
            "{count} half-open connections: slowest ack of another client {slowest} ms, memory \
         {before} → {during} → {after} MB"
        ),
    );
}
