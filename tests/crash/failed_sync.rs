//! A disk whose syncs fail with EIO, one at a time and 200 times, under load: acks pause for less
//! than 3 s, the process is not restarted, nothing acked is lost. A power cut after them is
//! `power_cut`'s business.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::gateway::Setup;
use crate::support::load::{self, Load, Plan};
use crate::support::shim::{Shim, SyncFaults};
use crate::support::{proved, scratch, setting};

const PAYLOAD_BYTES: usize = 200;
const CONFIG: &str = "[storage]\nslice_bytes = \"1MiB\"\nwear_gb_per_day = 0\n";
const PAUSE_MAX: Duration = Duration::from_secs(3);

#[test]
fn acks_go_on_after_each_failed_sync() {
    let times = setting("EDGE_FAILED_SYNCS", 200);
    let scratch = scratch();
    let dir = scratch.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    let faults = SyncFaults::new(&scratch.path().join("control"));
    let setup = Setup::on(&dir).config(CONFIG);
    let shim = Shim::watching(&dir).steered_by(&faults);
    let mut gateway = Setup::on(&dir).config(CONFIG).shim(&shim).start();
    let plan = Plan {
        payload_bytes: PAYLOAD_BYTES,
        rate: 1000,
        ..Plan::default()
    };
    let load = Load::start(gateway.mqtt(), plan);
    load.wait_for(50, PAUSE_MAX);

    let mut longest = Duration::ZERO;
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for n in 1..=times {
        faults.fail_after(1 + n % 7);
        let wait = "the sync that is to fail";
        crate::support::eventually(wait, Duration::from_secs(20), || {
            (faults.failed() >= n).then_some(())
        });
        *files
            .entry(kind_of_file(&faults.failed_path()))
            .or_default() += 1;
        let begun = Instant::now();
        load.wait_for(30, Duration::from_secs(60));
        longest = longest.max(begun.elapsed());
    }
    assert!(
        gateway.is_running(),
        "the gateway ended: {:#?}",
        gateway.said()
    );
    let report = load.stop();
    assert!(
        longest < PAUSE_MAX,
        "acks paused {longest:?}; failed syncs of {files:?}"
    );
    assert!(
        report.longest_gap < PAUSE_MAX,
        "acks paused {:?}",
        report.longest_gap
    );

    let before = load::check(
        &gateway.log("mqtt"),
        report.acked.iter().copied(),
        &report.repeated,
        PAYLOAD_BYTES,
    );
    before.insist("in the gateway that saw the failures");
    gateway.kill9();
    let gateway = setup.start();
    let after = load::check(
        &gateway.log("mqtt"),
        report.acked.iter().copied(),
        &report.repeated,
        PAYLOAD_BYTES,
    );
    after.insist("after a restart");
    let (acked, gap) = (report.acked.len(), report.longest_gap.as_millis());
    proved(
        "crash",
        &format!(
            "{times} failed syncs ({files:?}) under load: {acked} acked, 0 lost, no restart, \
         longest pause of acks {gap} ms"
        ),
    );
}

/// `slices/17/db` → `db`; enough to see that syncs of every kind were failed.
fn kind_of_file(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    if path.is_empty() || is_number || last == "slices" {
        "folder".to_owned()
    } else {
        last.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    }
}
