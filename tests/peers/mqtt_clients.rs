//! mosquitto_pub, mosquitto_sub and paho-mqtt against our listener, in both versions.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::mqtt::{Client, Hello};
use crate::support::{eventually, proved, scratch, tools};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// A mosquitto command against the gateway.
fn mosquitto(program: &str, gateway: &Gateway, version: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &gateway.mqtt().port().to_string(),
        "-V",
        version,
    ]);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn publish(gateway: &Gateway, version: &str, args: &[&str]) {
    let out = mosquitto("mosquitto_pub", gateway, version, args).output();
    let out = out.expect("mosquitto_pub; tests/run installs it");
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{version} {args:?}: {out:?}"
    );
}

#[test]
fn mosquitto_publishes_a_thousand_lines_and_reads_them_back() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for version in VERSIONS {
        let topic = format!("lines/{version}");
        let reader = [
            "-q", "1", "-t", &topic, "-C", "1000", "-W", "30", "-F", "%t %p",
        ];
        let reader = mosquitto("mosquitto_sub", &gateway, version, &reader)
            .spawn()
            .unwrap();
        eventually("mosquitto_sub subscribes", Duration::from_secs(10), || {
            let said = gateway.get("/metrics").1;
            let connected = said
                .lines()
                .find(|l| l.starts_with("edge_devices_connected "));
            connected.is_some_and(|l| !l.ends_with(" 0")).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        let args = ["-q", "1", "-t", &topic, "-l"];
        let mut writer = mosquitto("mosquitto_pub", &gateway, version, &args)
            .spawn()
            .unwrap();
        let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        let mut stdin = writer.stdin.take().unwrap();
        stdin
            .write_all((lines.join("\n") + "\n").as_bytes())
            .unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        let got = reader.wait_with_output().unwrap();
        let got = String::from_utf8(got.stdout).unwrap();
        let expected: String = lines.iter().map(|l| format!("{topic} {l}\n")).collect();
        assert_eq!(got, expected, "{version}");
    }
    proved(
        "peers",
        "mosquitto_pub and _sub 3.1.1 and 5: 2,000 lines at QoS 1, in order",
    );
}

#[test]
fn mosquitto_retains_clears_and_leaves_a_will() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for version in VERSIONS {
        publish(
            &gateway,
            version,
            &["-q", "1", "-r", "-t", "state/lamp", "-m", "on"],
        );
        let read = [
            "-q", "1", "-t", "state/#", "-C", "1", "-W", "10", "-F", "%t %p %r",
        ];
        let out = mosquitto("mosquitto_sub", &gateway, version, &read)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "state/lamp on 1\n",
            "{version}"
        );
        publish(
            &gateway,
            version,
            &["-q", "1", "-r", "-t", "state/lamp", "-n"],
        );
        let mut watcher = Client::connect(gateway.mqtt(), &Hello::v3("watcher"));
        watcher.subscribe(&[("#", 1)]);
        let with_will = [
            "-t",
            "x",
            "--will-topic",
            "will/sub",
            "--will-payload",
            "gone",
            "--will-qos",
            "1",
        ];
        let mut dying = mosquitto("mosquitto_sub", &gateway, version, &with_will)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        dying.kill().unwrap();
        dying.wait().unwrap();
        assert_eq!(
            watcher.receive(),
            ("will/sub".into(), b"gone".to_vec(), false),
            "{version}"
        );
    }
    publish(
        &gateway,
        "mqttv311",
        &["-q", "2", "-t", "two", "-m", "once"],
    );
    let twos = gateway
        .log("mqtt")
        .iter()
        .filter(|r| r.key == "two")
        .count();
    assert_eq!(twos, 1, "QoS 2 of 3.1.1");
    proved(
        "peers",
        "mosquitto 3.1.1 and 5: retained, cleared, will; QoS 2 in 3.1.1",
    );
}

#[test]
fn paho_works_in_both_versions() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/paho_client.py");
    let mut said = Vec::new();
    for version in ["3.1.1", "5"] {
        let mut python = Command::new(tools::python());
        let out = python
            .arg(script)
            .arg(gateway.mqtt().port().to_string())
            .arg(version)
            .output();
        let out = out.unwrap();
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "paho {version}: {text}\n{errors}");
        said.push(format!("{version}: {text}"));
    }
    proved("peers", &format!("paho-mqtt {}", said.join("; ")));
}
