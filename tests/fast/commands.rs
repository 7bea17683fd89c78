//! Commands and configuration: exit codes, errors with their place, answers for machines.

use std::fs;
use std::process::Command;

use crate::support::gateway::{Gateway, Setup};
use crate::support::mqtt::{Client, Hello};
use crate::support::scratch;

fn check_config(toml: &str) -> (Option<i32>, String) {
    let dir = scratch();
    let file = dir.path().join("edge-broker.toml");
    fs::write(&file, toml).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_edge-broker"));
    let out = check.arg("check-config").arg(&file).output().unwrap();
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let cases = [
        (
            "[storage]\n\nslice_byte = \"1MiB\"\n",
            ":3",
            "slice_byte",
            "slice_bytes",
        ),
        ("[mqtt]\nhold_s_max = \"long\"\n", ":2", "hold_s_max", ""),
        (
            "[storage]\nwhen_full = \"explode\"\n",
            ":2",
            "when_full",
            "drop-oldest",
        ),
        (
            "[storage]\nslice_bytes = \"1GiB\"\n",
            ":2",
            "slice_bytes",
            "64MiB",
        ),
        ("[storrage]\n", ":1", "storrage", "storage"),
    ];
    for (toml, line, key, remedy) in cases {
        let (code, said) = check_config(toml);
        assert_eq!(code, Some(78), "{toml}: {said}");
        for part in [line, key, remedy, "edge-broker.toml"] {
            assert!(said.contains(part), "{toml}: {part} is not in: {said}");
        }
    }
}

#[test]
fn routes_that_disagree_about_a_topic_are_refused() {
    let toml = "[[route]]\nfilter = \"a/#\"\ntopic = \"t\"\nforward = true\n\
                [[route]]\nfilter = \"b/#\"\ntopic = \"t\"\nforward = false\n";
    let (code, said) = check_config(toml);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("forward"), "{said}");
}

#[test]
fn serve_refuses_what_check_config_refuses() {
    let dir = scratch();
    let ended = Setup::on(dir.path())
        .config("[mqtt]\nno_such = 1\n")
        .try_start();
    let ended = ended.err().expect("refused");
    assert_eq!(ended.status.code(), Some(78), "{ended:#?}");
}

#[test]
fn wrong_usage_is_64() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-broker"));
    let out = command.args(["topic", "creates", "x"]).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{out:?}");
}

#[test]
fn topics_are_created_described_changed_and_deleted() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    gateway.ask(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "retention.ms=1000",
    ]);
    let described = gateway.ask(&["topic", "describe", "orders"]);
    assert!(
        described.contains("retention.ms") && described.contains("1000"),
        "{described}"
    );
    gateway.ask(&["topic", "set", "orders", "retention.ms=2000"]);
    assert!(
        gateway
            .ask(&["topic", "describe", "orders"])
            .contains("2000")
    );
    gateway.ask(&["topic", "delete", "orders"]);
    assert!(!gateway.ask(&["topic", "list"]).contains("orders"));
    let again = gateway.run(&["topic", "describe", "orders"]);
    assert!(!again.status.success(), "{again:?}");
}

#[test]
fn a_setting_that_a_route_names_is_not_changed_behind_its_back() {
    let dir = scratch();
    let routes = "[[route]]\nfilter = \"a/#\"\ntopic = \"a\"\nforward = false\n";
    let setup = Setup::on(dir.path()).config(routes);
    let gateway = setup.start();
    let refused = gateway.run(&["topic", "set", "a", "edge.forward=true"]);
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for words in [
        "edge.forward of a is decided by the configuration: route[0].forward = false",
        "the route with filter \"a/#\"",
        "take the key out",
    ] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    // What no route names stays as it was set, also of the topic of the built-in route.
    for topic in ["a", "mqtt"] {
        gateway.ask(&["topic", "set", topic, "edge.priority=high"]);
    }
    gateway.ask(&["topic", "set", "mqtt", "edge.forward=false"]);
    gateway.stop();
    let gateway = setup.start();
    for topic in ["a", "mqtt"] {
        let described = gateway.ask(&["topic", "describe", topic]);
        for setting in ["edge.forward=false", "edge.priority=high"] {
            assert!(described.contains(setting), "{topic}: {described}");
        }
    }
}

#[test]
fn topics_of_the_gateway_itself_are_not_deleted() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("d"));
    device.retain_acked("state", b"kept");
    let refused = gateway.run(&["topic", "delete", "_retained"]);
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("not deleted: _retained"), "{said}");
    // The way out that it names.
    assert!(
        said.contains("publish --mqtt --retain TOPIC \"\""),
        "{said}"
    );
    gateway.ask(&["publish", "--mqtt", "--retain", "state", ""]);
    let mut late = Client::connect(gateway.mqtt(), &Hello::v3("late"));
    late.subscribe(&[("state", 1)]);
    device.publish_acked("state", b"live");
    assert_eq!(
        late.receive(),
        ("state".to_owned(), b"live".to_vec(), false)
    );
}

/// One could be made that could not be deleted, and retained messages be put in by hand.
#[test]
fn topics_of_the_gateway_itself_are_not_made_written_or_changed() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("d"));
    device.retain_acked("state", b"kept");
    let refused = |arguments: &[&str], words: &str| {
        let refused = gateway.run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(words), "{words:?} is missing: {said}");
    };
    refused(&["topic", "create", "_foo"], "edge-broker topic create foo");
    refused(
        &["publish", "_retained", "evil"],
        "is not written: _retained",
    );
    let policy = ["topic", "set", "_retained", "cleanup.policy=delete"];
    refused(&policy, "is not changed: _retained");
    refused(
        &["topic", "set", "_dead_letter", "edge.forward=true"],
        "is not changed",
    );
}

#[test]
fn what_a_command_suggests_can_be_done() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let said = |arguments: &[&str]| {
        let refused = gateway.run(arguments);
        assert!(!refused.status.success(), "{refused:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    assert!(!said(&["publish", "bad name", "x"]).contains("topic create bad name"));
    assert!(said(&["publish", "good", "x"]).contains("topic create good"));
    gateway.ask(&["topic", "create", "t", "partitions=4"]);
    let near = said(&["topic", "set", "t", "retention.msx=1"]);
    assert!(near.contains("did you mean retention.ms?"), "{near}");
    let fewer = said(&["topic", "set", "t", "partitions=2"]);
    assert!(fewer.contains("never fewer"), "{fewer}");
    let small = said(&["topic", "create", "u", "max.message.bytes=1"]);
    assert!(small.contains("1024 to 8388608"), "{small}");
}

#[test]
fn a_path_that_reads_refuses_other_methods_and_says_which_it_takes() {
    use std::io::{Read, Write};
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let answer = |head: &str| {
        let mut stream = std::net::TcpStream::connect(gateway.http()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.to_lowercase()
    };
    let end = "connection: close\r\ncontent-length: 0\r\n\r\n";
    let posted = answer(&format!(
        "POST /status HTTP/1.1\r\nhost: localhost\r\n{end}"
    ));
    assert!(posted.starts_with("http/1.1 405"), "{posted}");
    assert!(posted.contains("allow: get, head"), "{posted}");
    let named = answer(&format!(
        "GET /status HTTP/1.1\r\nhost: evil.example\r\n{end}"
    ));
    assert!(named.starts_with("http/1.1 421"), "{named}");
    assert!(named.contains("by localhost"), "{named}");
}

#[test]
fn publish_and_tail_meet() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let said = gateway.ask(&["publish", "plant/press1/temp", "71.3"]);
    assert!(said.starts_with("acked disk mqtt[0]@0"), "{said}");
    let line = gateway.ask(&["tail", "mqtt", "--from-beginning", "-e"]);
    assert!(
        line.contains("mqtt[0]@0") && line.contains("71.3"),
        "{line}"
    );
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("d"));
    device.publish_acked("plant/press2/temp", &[0xff, 0x00]);
    let json = gateway.ask(&["tail", "mqtt", "-n", "1", "--offset", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["offset"], 1, "{json}");
}

#[test]
fn health_ready_metrics_and_status_answer_over_http() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("d"));
    device.publish_acked("a", b"1");
    assert_eq!(gateway.get("/health").0, 200);
    assert_eq!(gateway.get("/ready").0, 200);
    let (code, metrics) = gateway.get("/metrics");
    assert_eq!(code, 200);
    assert!(
        metrics.lines().any(|l| l.starts_with("# TYPE edge_")),
        "{metrics}"
    );
    let (code, status) = gateway.get("/status");
    assert_eq!(code, 200);
    let _: serde_json::Value = serde_json::from_str(&status).expect("/status is JSON");
    assert_eq!(
        gateway.get("/topics").0,
        404,
        "what changes something is not here"
    );
}
