//! System calls of the real process: no PUBACK leaves before the sync that covers it, and one sync
//! serves many messages.
//!
//! strace prints calls in the order the kernel saw them; a call that was interrupted by another
//! thread's is completed by its `resumed` line, and only then it counts as done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use crate::support::gateway::Setup;
use crate::support::load::{Load, Plan};
use crate::support::mqtt::{Client, Hello};
use crate::support::{proved, scratch, tools};

const CALLS: &str = "trace=fdatasync,fsync,write,pwrite64,writev,sendto,sendmsg,recvfrom,read";

/// What matters of a trace, in order.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// Bytes of a PUBLISH came in: so many messages began.
    Received(usize),
    /// A sync began.
    SyncBegan,
    /// A sync returned 0.
    SyncDone,
    /// So many PUBACKs left.
    Acked(usize),
}

/// Runs 100 publishes, and then a load, under strace; gives the trace.
fn traced() -> (String, usize) {
    tools::output_of("strace", &["-V"]);
    let scratch = scratch();
    let dir = scratch.path().join("data");
    let trace = scratch.path().join("trace");
    let trace_path = trace.to_str().unwrap();
    let strace = [
        "strace", "-f", "-qq", "-xx", "-s", "70000", "-e", CALLS, "-o", trace_path,
    ];
    let gateway = Setup::on(&dir)
        .config("[storage]\nwear_gb_per_day = 0\n")
        .under(&strace)
        .start();
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("one-by-one"));
    for n in 0..100 {
        device.publish_acked("strace", format!("{MARK}{n}").as_bytes());
    }
    let plan = Plan {
        clients: 4,
        window: 50,
        messages_each: 250,
        ..Plan::default()
    };
    let load = Load::start(gateway.mqtt(), plan);
    let loaded = load.finish(Duration::from_secs(60)).acked.len();
    drop(device);
    let pid = gateway.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let child = fs::read_to_string(children).unwrap();
    let child = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    gateway.wait();
    (fs::read_to_string(trace).unwrap(), loaded)
}

const MARK: &str = "message-";

/// One line of a trace with its call whole: strace splits calls of several threads.
fn whole_calls(trace: &str) -> Vec<(String, bool)> {
    let mut begun: BTreeMap<String, String> = BTreeMap::new();
    let mut out = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            out.push((start.to_owned(), false));
            begun.insert(thread.to_owned(), start.to_owned());
        } else if rest.starts_with("<... ") {
            let start = begun.remove(thread).unwrap_or_default();
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            out.push((format!("{start}{end}"), true));
        } else {
            out.push((rest.to_owned(), false));
            out.push((rest.to_owned(), true));
        }
    }
    out
}

/// The bytes that a call carries, from strace's `\x..` text.
fn bytes(call: &str) -> Vec<u8> {
    let texts = call.split('"').skip(1).step_by(2);
    texts
        .flat_map(|t| {
            t.split("\\x")
                .skip(1)
                .filter_map(|h| u8::from_str_radix(h, 16).ok())
        })
        .collect()
}

fn returned_ok(call: &str) -> bool {
    call.rsplit_once("= ")
        .is_some_and(|(_, result)| !result.starts_with('-'))
}

/// The order of receives, syncs and acks. A send counts where it begins, a sync where it ends.
fn calls(trace: &str) -> Vec<Call> {
    let mut out = Vec::new();
    for (call, done) in whole_calls(trace) {
        let name = call.split('(').next().unwrap_or_default();
        match name {
            "fdatasync" | "fsync" if done && returned_ok(&call) => out.push(Call::SyncDone),
            "fdatasync" | "fsync" if !done => out.push(Call::SyncBegan),
            "sendto" | "sendmsg" | "write" | "writev" if !done => {
                let acks = bytes(&call)
                    .chunks(4)
                    .filter(|c| c.starts_with(&[0x40, 2]))
                    .count();
                if acks > 0 {
                    out.push(Call::Acked(acks));
                }
            }
            "recvfrom" | "read" if done => {
                let data = bytes(&call);
                let marks = data
                    .windows(MARK.len())
                    .filter(|w| *w == MARK.as_bytes())
                    .count();
                if marks > 0 {
                    out.push(Call::Received(marks));
                }
            }
            _ => {}
        }
    }
    out
}

#[test]
fn no_puback_leaves_before_its_sync_and_one_sync_serves_many() {
    let (trace, loaded) = traced();
    let calls = calls(&trace);
    // One by one: between a message's arrival and its PUBACK a sync began and returned.
    let mut state = BTreeSet::new();
    let mut one_by_one = 0;
    for call in &calls {
        match call {
            Call::Received(_) => state = BTreeSet::from(["received"]),
            Call::SyncBegan if state.contains("received") => drop(state.insert("began")),
            Call::SyncDone if state.contains("began") => drop(state.insert("done")),
            Call::Acked(n) if state.contains("received") && one_by_one < 100 => {
                assert!(
                    state.contains("done"),
                    "PUBACK {one_by_one} left before its sync"
                );
                one_by_one += n;
                state.clear();
            }
            _ => {}
        }
    }
    assert_eq!(one_by_one, 100, "every PUBACK of the 100 was seen");
    let acked: usize = calls
        .iter()
        .map(|c| if let Call::Acked(n) = c { *n } else { 0 })
        .sum();
    assert_eq!(acked, 100 + loaded);
    let syncs = calls.iter().filter(|c| **c == Call::SyncDone).count();
    let under_load = syncs.saturating_sub(100).max(1);
    let each = loaded as f64 / under_load as f64;
    assert!(
        each > 2.0,
        "{loaded} messages of 4 × 50 in flight took {under_load} syncs"
    );
    proved(
        "fast",
        &format!(
            "strace: 100 PUBACKs each after its sync; under load {each:.0} messages for one sync"
        ),
    );
}
