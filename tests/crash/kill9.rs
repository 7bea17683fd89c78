//! kill -9 at any moment: under load, between the two writes of a new slice's `conf`, while sealed
//! slices are opened. The kernel's cache survives, so everything acked is there after a restart.

use std::time::Duration;

use crate::support::gateway::{Gateway, Setup, Stored};
use crate::support::load::{self, Load, Plan, Report};
use crate::support::shim::Shim;
use crate::support::{proved, scratch, setting};

const PAYLOAD_BYTES: usize = 400;
const CONFIG: &str = "[storage]\nslice_bytes = \"1MiB\"\nwear_gb_per_day = 0\n";

fn plan() -> Plan {
    Plan {
        payload_bytes: PAYLOAD_BYTES,
        clients: 6,
        window: 32,
        ..Plan::default()
    }
}

fn check(gateway: &Gateway, report: &Report) -> load::Verdict {
    let log = gateway.log("mqtt");
    let acked = report.acked.iter().copied();
    load::check(&log, acked, &report.repeated, PAYLOAD_BYTES)
}

#[test]
fn twenty_kills_under_load_lose_nothing() {
    let kills = setting("EDGE_KILLS", 20);
    let dir = scratch();
    let setup = Setup::on(dir.path()).config(CONFIG);
    let mut gateway = setup.start();
    let load = Load::start(
        gateway.mqtt(),
        Plan {
            rate: 3000,
            ..plan()
        },
    );
    let mut before: Vec<Stored> = Vec::new();
    for _ in 0..kills {
        load.wait_for(300 + fastrand::u64(..900), Duration::from_secs(30));
        // Whoever has read a record finds it at the same offset ever after.
        let log = gateway.log("mqtt");
        assert_eq!(log.get(..before.len()), Some(&before[..]), "what was read");
        before = log;
        gateway.kill9();
        gateway = setup.start();
        load.moved_to(gateway.mqtt());
    }
    load.wait_for(300, Duration::from_secs(30));
    let report = load.stop();
    let verdict = check(&gateway, &report);
    verdict.insist("after the last kill");
    let (acked, repeats) = (report.acked.len(), verdict.repeats);
    let gap = report.longest_gap.as_millis();
    proved(
        "crash",
        &format!(
            "{kills} kill -9 under load: {acked} acked, 0 lost, {repeats} repeated by devices, \
         longest gap {gap} ms"
        ),
    );
}

/// Starts with a kill point, loads until it strikes, restarts without it; gives the acked count.
fn killed_at(op: &str, part: &str, n: u32) -> Option<usize> {
    let dir = scratch();
    let shim = Shim::watching(dir.path()).killing_before(op, part, n);
    let setup = Setup::on(dir.path()).config(CONFIG);
    let mut report = Report::default();
    match Setup::on(dir.path()).config(CONFIG).shim(&shim).try_start() {
        Err(_) => {} // It struck before the gateway was ready: nothing was acknowledged.
        Ok(mut gateway) => {
            let load = Load::start(gateway.mqtt(), plan());
            let struck = gateway.was_killed_within(Duration::from_secs(20));
            report = load.stop();
            if !struck {
                return None;
            }
        }
    }
    let gateway = setup.start();
    let log = gateway.ask(&["topic", "list"]);
    if report.acked.is_empty() && !log.contains("mqtt") {
        return Some(0);
    }
    check(&gateway, &report).insist(&format!("killed before {op} {n} of {part}"));
    Some(report.acked.len())
}

/// Kill points of one kind; every one has to strike.
fn killed_at_each(op: &str, part: &str, ns: impl Iterator<Item = u32>) -> (usize, usize) {
    let mut acked = 0;
    let mut kills = 0;
    for n in ns {
        let here = killed_at(op, part, n);
        acked += here.unwrap_or_else(|| panic!("no {n}. {op} of {part} under load"));
        kills += 1;
    }
    (kills, acked)
}

#[test]
fn a_kill_between_the_writes_of_conf_loses_nothing() {
    // sled writes the conf of a Db in two writes, so every second kill falls between them.
    let (kills, acked) = killed_at_each("write", "/conf", 1..=8);
    proved(
        "crash",
        &format!("{kills} kills around the two writes of a slice's conf: {acked} acked, 0 lost"),
    );
}

#[test]
fn a_kill_while_sealed_slices_are_opened_loses_nothing() {
    let (opens, first) = killed_at_each("open", "/db", [2, 3, 5, 7, 10, 13].into_iter());
    let (names, second) = killed_at_each("rename", "/", [1, 2, 4, 7].into_iter());
    let (syncs, third) = killed_at_each("synced", "/", [3, 9, 15, 40].into_iter());
    let (kills, acked) = (opens + names + syncs, first + second + third);
    proved(
        "crash",
        &format!("{kills} kills at opens, renames and syncs of slices: {acked} acked, 0 lost"),
    );
}
