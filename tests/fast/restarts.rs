//! Stopping, killing and starting again, and what a second process is told.

use std::path::Path;
use std::time::Duration;

use edge_log::{SledDisk, Store, StoreConfig};

use crate::support::gateway::{Gateway, Setup, command_on, serve_once};
use crate::support::load::{self, Load, Plan};
use crate::support::mqtt::{Client, Hello};
use crate::support::{eventually, proved, scratch};

#[test]
fn offsets_retained_messages_and_topics_outlive_a_kill() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    device.publish_acked("a", b"first");
    device.retain_acked("state", b"kept");
    gateway.ask(&["topic", "create", "orders", "--partitions", "3"]);
    gateway.kill9();

    let gateway = Gateway::start(dir.path());
    let mut reader = Client::connect(gateway.mqtt(), &Hello::v3("reader"));
    reader.subscribe(&[("state", 1)]);
    assert_eq!(
        reader.receive(),
        ("state".to_owned(), b"kept".to_vec(), true)
    );
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    let ack = device.publish_acked("a", b"third");
    assert_eq!(
        ack.user("edge-offset"),
        Some("2"),
        "offsets go on where they were"
    );
    assert!(gateway.ask(&["topic", "list"]).contains("orders"));
}

/// The machine does not boot in between, so nothing of the boot may be what makes ids different.
#[test]
fn topics_created_after_a_kill_are_new_ones() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for topic in ["alpha", "gone"] {
        gateway.ask(&["topic", "create", topic]);
        gateway.ask(&["publish", topic, "old"]);
    }
    gateway.ask(&["topic", "delete", "gone"]);
    gateway.kill9();

    let gateway = Gateway::start(dir.path());
    for topic in ["beta", "gamma", "delta"] {
        let said = gateway.ask(&["topic", "create", topic]);
        assert!(said.contains(topic), "{topic}: {said}");
        assert_eq!(gateway.log(topic), [], "{topic}");
        gateway.ask(&["publish", topic, "new"]);
        assert_eq!(gateway.log(topic).len(), 1, "{topic}");
    }
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    device.retain_acked("state", b"kept");
}

#[test]
fn sigterm_under_load_ends_in_order_within_five_seconds() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let load = Load::start(gateway.mqtt(), Plan::default());
    load.wait_for(200, Duration::from_secs(20));
    let (status, took) = gateway.stop();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let report = load.stop();
    let gateway = Gateway::start(dir.path());
    let log = gateway.log("mqtt");
    let bytes = Plan::default().payload_bytes;
    load::check(&log, report.acked.iter().copied(), &report.repeated, bytes).insist("after stop");
    let (acked, ms) = (report.acked.len(), took.as_millis());
    proved(
        "fast",
        &format!("SIGTERM under load: {acked} acked, 0 lost, ended in {ms} ms"),
    );
}

/// A slice that somebody removed, or that a filesystem check took: `status` said OK and lost 0.
#[test]
fn a_slice_that_is_gone_is_told_by_its_offsets() {
    let dir = scratch();
    let config = "[storage]\nslice_bytes = \"1MiB\"\nwear_gb_per_day = 0\n";
    let setup = || Setup::on(dir.path()).config(config);
    let gateway = setup().start();
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    let mut rng = fastrand::Rng::with_seed(1);
    let payload: String = (0..20_000).map(|_| rng.alphanumeric()).collect();
    (0..400).for_each(|_| drop(device.publish_acked("a", payload.as_bytes())));
    gateway.stop();
    std::fs::remove_dir_all(dir.path().join("slices/3")).unwrap();

    for start in 0..2 {
        let gateway = setup().start();
        let status = eventually("the loss in status", Duration::from_secs(10), || {
            let status = gateway.status();
            (status["ledger"]["lost"].as_u64() > Some(0)).then_some(status)
        });
        let lost = &status["ledger"]["lost_offsets"][0];
        let (first, last) = (lost["first"].as_i64(), lost["last"].as_i64());
        let (first, last) = (first.unwrap(), last.unwrap());
        assert_eq!(status["ledger"]["lost"], last - first + 1, "start {start}");
        let offsets: Vec<i64> = gateway.log("mqtt").iter().map(|r| r.offset).collect();
        let there: Vec<i64> = (0..400).filter(|o| !(first..=last).contains(o)).collect();
        assert_eq!(offsets, there);
        if start == 0 {
            let text = status["alarms"][0]["message"].as_str().unwrap();
            let expected = format!("the disk lost records: mqtt[0] {first} to {last}");
            assert!(text.contains(&expected), "{text}");
        }
        gateway.stop();
    }
}

#[test]
fn a_second_gateway_on_the_folder_is_refused() {
    let dir = scratch();
    let first = Gateway::start(dir.path());
    let ended = Setup::on(dir.path()).try_start().err().expect("refused");
    assert_eq!(ended.status.code(), Some(75), "{ended:#?}");
    let mut client = Client::connect(first.mqtt(), &Hello::v3("c"));
    client.publish_acked("still", b"served");
}

#[test]
fn a_port_in_use_is_named() {
    let (dir, other) = (scratch(), scratch());
    let first = Gateway::start(dir.path());
    let address = first.mqtt().to_string();
    let out = serve_once(other.path(), &["--mqtt", &address]);
    assert_eq!(out.status.code(), Some(69), "{out:?}");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

/// Gives the newest checkpoint's state another format, as a newer program would write it.
fn change_checkpoint(dir: &Path, change: impl Fn(u8) -> u8) {
    let config = StoreConfig::default();
    let disk = SledDisk::open(dir, &config).unwrap();
    let (mut store, recovery) = Store::open(disk, config).unwrap();
    let mut checkpoint = recovery.checkpoint.expect("a stop leaves a checkpoint");
    let mut data = checkpoint.data.to_vec();
    data[0] = change(data[0]);
    checkpoint.data = data.into();
    store.save_checkpoint(&checkpoint).unwrap();
    store.close();
}

#[test]
fn an_older_program_says_what_to_install_and_leaves_the_log_alone() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    device.publish_acked("a", b"first");
    gateway.stop();

    change_checkpoint(dir.path(), |format| format + 1);
    let central = "127.0.0.1:9";
    let gateway = Setup::on(dir.path()).central(central).start();
    let said = gateway.said().join("\n");
    let checkpoint = "the checkpoint is of a newer version of the program, format: 2";
    for words in [checkpoint, "install the version", "what waits is not known"] {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
    let logged = format!("storage.readonly: {checkpoint}");
    eventually("the alarm in the log", Duration::from_secs(5), || {
        let said = gateway.said().join("\n");
        said.contains(&logged).then_some(())
    });
    let (code, ready) = gateway.get("/ready");
    assert_eq!((code, ready.trim()), (503, checkpoint));
    let status = gateway.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    for words in ["storage.readonly", checkpoint, "install the version"] {
        assert!(status.contains(words), "{words:?} is missing:\n{status}");
    }
    gateway.stop();

    change_checkpoint(dir.path(), |format| format - 1);
    let gateway = Gateway::start(dir.path());
    let log = gateway.log("mqtt");
    assert_eq!(log.len(), 1, "{log:?}");
}

#[test]
fn commands_without_a_gateway_say_so() {
    let dir = scratch();
    let out = command_on(dir.path(), &["status"]);
    assert_eq!(out.status.code(), Some(3), "{out:?}");
}
