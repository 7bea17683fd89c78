//! The first minutes of the clients people really have, as their sources say they behave: retained
//! discovery, retained wills, subscriptions at QoS 2, sessions that should outlive a connection.
//!
//! Each goes through its script, loses its connection, comes back, and stays. What is asked of the
//! gateway: no connection is closed by it, and what one announces the other finds.

use std::time::{Duration, Instant};

use crate::support::gateway::Gateway;
use crate::support::mqtt::{Client, End, Hello, Packet};
use crate::support::{proved, scratch};

/// One kind of client.
struct Kind {
    name: &'static str,
    hello: Hello,
    subscriptions: Vec<(&'static str, u8)>,
    /// topic, payload, QoS, retained
    publications: Vec<(&'static str, &'static str, u8, bool)>,
}

fn tasmota() -> Kind {
    Kind {
        name: "Tasmota",
        hello: Hello {
            keep_alive_s: 30,
            ..Hello::v3("DVES_8A1F2C").will("tele/plug1/LWT", "Offline", 1, true)
        },
        subscriptions: vec![
            ("cmnd/plug1/#", 0),
            ("cmnd/tasmotas/#", 0),
            ("cmnd/DVES_8A1F2C_fb/#", 0),
        ],
        publications: vec![
            ("tele/plug1/LWT", "Online", 0, true),
            ("cmnd/plug1/POWER", "", 0, false),
            (
                "tasmota/discovery/C45BBE8A1F2C/config",
                r#"{"ip":"10.0.0.7","dn":"plug1"}"#,
                0,
                true,
            ),
            (
                "tasmota/discovery/C45BBE8A1F2C/sensors",
                r#"{"sn":{"Time":"1970"}}"#,
                0,
                true,
            ),
            ("stat/plug1/RESULT", r#"{"POWER":"OFF"}"#, 0, false),
            ("tele/plug1/STATE", r#"{"Uptime":"0T00:00:10"}"#, 0, false),
            ("tele/plug1/SENSOR", r#"{"ENERGY":{"Total":1.2}}"#, 0, false),
        ],
    }
}

fn esphome() -> Kind {
    Kind {
        name: "ESPHome",
        hello: Hello {
            keep_alive_s: 15,
            ..Hello::v3("greenhouse-a0b1c2").will("greenhouse/status", "offline", 0, true)
        },
        subscriptions: vec![
            ("greenhouse/switch/pump/command", 0),
            ("greenhouse/light/lamp/command", 0),
            ("esphome/discover", 2),
            ("esphome/ping/greenhouse", 2),
        ],
        publications: vec![
            ("greenhouse/status", "online", 0, true),
            (
                "homeassistant/sensor/greenhouse/temp/config",
                r#"{"name":"temp"}"#,
                0,
                true,
            ),
            (
                "homeassistant/switch/greenhouse/pump/config",
                r#"{"name":"pump"}"#,
                0,
                true,
            ),
            (
                "esphome/discover/greenhouse",
                r#"{"ip":"10.0.0.8"}"#,
                2,
                false,
            ),
            ("greenhouse/sensor/temp/state", "21.5", 0, true),
            (
                "greenhouse/debug",
                "\u{1b}[0;36m[D][sensor:094]\u{1b}[0m",
                0,
                false,
            ),
        ],
    }
}

fn zigbee2mqtt() -> Kind {
    Kind {
        name: "zigbee2mqtt",
        hello: Hello::v3("mqttjs_0a1b2c3d").will(
            "zigbee2mqtt/bridge/state",
            r#"{"state":"offline"}"#,
            1,
            true,
        ),
        subscriptions: vec![
            ("zigbee2mqtt/#", 0),
            ("homeassistant/status", 0),
            ("hass/status", 0),
        ],
        publications: vec![
            ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#, 1, true),
            (
                "zigbee2mqtt/bridge/info",
                r#"{"version":"1.40.1"}"#,
                0,
                true,
            ),
            ("zigbee2mqtt/bridge/devices", "[]", 0, true),
            (
                "homeassistant/sensor/0x00158d/battery/config",
                r#"{"name":"battery"}"#,
                1,
                true,
            ),
            ("zigbee2mqtt/Küche Tür", r#"{"contact":true}"#, 0, true),
            ("homeassistant/sensor/0x00158d/old/config", "", 1, true),
        ],
    }
}

fn home_assistant(version: u8) -> Kind {
    let hello = Hello::v3("ha-1f2e3d4c5b").will("homeassistant/status", "offline", 0, false);
    Kind {
        name: if version == 5 {
            "Home Assistant (5)"
        } else {
            "Home Assistant"
        },
        hello: Hello { version, ..hello },
        subscriptions: vec![
            ("homeassistant/+/+/config", 0),
            ("homeassistant/+/+/+/config", 0),
            ("tasmota/discovery/#", 2),
            ("tele/plug1/LWT", 1),
            ("homeassistant/status", 0),
        ],
        publications: vec![
            ("homeassistant/status", "online", 0, false),
            ("cmnd/plug1/POWER", "ON", 0, false),
            ("greenhouse/switch/pump/command", "ON", 0, false),
        ],
    }
}

fn node_red() -> Kind {
    Kind {
        name: "Node-RED",
        hello: Hello::v3("nodered_7f3a")
            .will("nodered/state", "gone", 0, false)
            .persistent(),
        subscriptions: vec![
            ("zigbee2mqtt/+", 2),
            ("tele/+/SENSOR", 2),
            ("greenhouse/#", 2),
        ],
        publications: vec![
            ("nodered/state", "here", 0, true),
            ("flow/out", r#"{"v":1}"#, 2, false),
            ("flow/out", r#"{"v":2}"#, 1, false),
        ],
    }
}

impl Kind {
    /// Everything it says after power-on; answers what it gets as the standard asks.
    fn first_minute(&self, gateway: &Gateway) -> Client {
        let mut client = Client::connect(gateway.mqtt(), &self.hello);
        for chunk in self.subscriptions.chunks(2) {
            let granted = client.subscribe(chunk);
            assert!(
                granted.iter().all(|code| *code <= 2),
                "{}: {granted:x?}",
                self.name
            );
        }
        for (topic, payload, qos, retain) in &self.publications {
            let id = client.publish(topic, payload.as_bytes(), *qos, *retain);
            match qos {
                1 => drop(client.wait(|p| matches!(p, Packet::Puback { id: i, .. } if *i == id))),
                2 => {
                    client.wait(|p| *p == Packet::Pubrec { id, reason: 0 });
                    client.ack(0x62, id);
                    client.wait(|p| *p == Packet::Pubcomp { id });
                }
                _ => {}
            }
        }
        assert!(
            client.is_alive(),
            "{}: closed in its first minute",
            self.name
        );
        client
    }
}

/// Takes and acknowledges whatever has come; fails when the connection was closed.
fn settle(client: &mut Client, name: &str) -> Vec<(String, Vec<u8>, bool)> {
    let mut got = Vec::new();
    loop {
        match client.next(Duration::from_millis(200)) {
            Ok(Packet::Publish {
                topic,
                payload,
                qos,
                retain,
                id,
                ..
            }) => {
                assert!(qos <= 1, "{name}: QoS 2 was granted as 1");
                if qos == 1 {
                    client.ack(0x40, id);
                }
                got.push((topic, payload, retain));
            }
            Ok(_) => {}
            Err(End::Silent) => return got,
            Err(End::Closed) => panic!("{name}: the gateway closed the connection"),
        }
    }
}

#[test]
fn no_client_ends_in_a_reconnect_loop() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let kinds = [
        tasmota(),
        esphome(),
        zigbee2mqtt(),
        home_assistant(4),
        node_red(),
    ];
    // First power-on, in this order; then everything is cut off without a word and comes back.
    let mut clients: Vec<Client> = kinds.iter().map(|k| k.first_minute(&gateway)).collect();
    for (kind, client) in kinds.iter().zip(&mut clients) {
        settle(client, kind.name);
    }
    drop(clients);
    let mut clients: Vec<Client> = kinds.iter().map(|k| k.first_minute(&gateway)).collect();
    for _ in 0..5 {
        for (kind, client) in kinds.iter().zip(&mut clients) {
            settle(client, kind.name);
            assert!(client.is_alive(), "{}: no answer to a ping", kind.name);
        }
    }
    let said = gateway.said();
    let panics: Vec<_> = said.iter().filter(|l| l.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    proved(
        "fast",
        &format!(
            "{} kinds of clients came, were cut off, came back and stayed",
            kinds.len()
        ),
    );
}

#[test]
fn home_assistant_finds_what_was_discovered_and_who_is_gone() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for kind in [tasmota(), esphome(), zigbee2mqtt()] {
        drop(kind.first_minute(&gateway));
    }
    std::thread::sleep(Duration::from_millis(300));
    for version in [4, 5] {
        let kind = home_assistant(version);
        let mut client = kind.first_minute(&gateway);
        let got = settle(&mut client, kind.name);
        let has = |topic: &str, payload: &str| {
            got.iter()
                .any(|(t, p, retain)| t == topic && p == payload.as_bytes() && *retain)
        };
        assert!(has(
            "homeassistant/sensor/greenhouse/temp/config",
            r#"{"name":"temp"}"#
        ));
        assert!(has(
            "homeassistant/sensor/0x00158d/battery/config",
            r#"{"name":"battery"}"#
        ));
        assert!(
            has("tele/plug1/LWT", "Offline"),
            "the retained will: {got:?}"
        );
        let old = |g: &(String, Vec<u8>, bool)| g.0 == "homeassistant/sensor/0x00158d/old/config";
        assert!(
            !got.iter().any(|g| old(g) && g.2),
            "a cleared one is not retained"
        );
    }
}

#[test]
fn a_persistent_client_is_accepted_and_told_that_nothing_was_kept() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for _ in 0..2 {
        let (_, answer) = Client::try_connect(gateway.mqtt(), &node_red().hello);
        let fine = matches!(
            answer,
            Ok(Packet::Connack {
                code: 0,
                session_present: false,
                ..
            })
        );
        assert!(fine, "{answer:?}");
    }
    assert_eq!(
        said_about(&gateway, "nodered_7f3a", 1),
        ["its session ends with the connection"]
    );
}

/// All that the log says about a client, once there are so many lines and for a moment longer.
fn said_about(gateway: &Gateway, id: &str, count: usize) -> Vec<String> {
    let begin = format!("client {id}: ");
    let lines = || -> Vec<String> {
        let said = gateway.said();
        let ours = said.iter().filter_map(|line| line.split_once(&begin));
        ours.map(|(_, words)| words.to_owned()).collect()
    };
    let until = Instant::now() + Duration::from_secs(5);
    while lines().len() < count && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    lines()
}

/// What it gets less of with CONNECT and its first SUBSCRIBE is one line, and what comes later is
/// another; a client that comes back again and again does not fill the log.
#[test]
fn the_log_says_once_what_a_client_does_not_get_in_full() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for _ in 0..3 {
        drop(node_red().first_minute(&gateway));
    }
    let first = "its session ends with the connection; QoS 2 subscriptions are granted QoS 1";
    let later = "its QoS 2 publishes are stored once per connection, not over a reconnect";
    assert_eq!(said_about(&gateway, "nodered_7f3a", 2), [first, later]);
    drop(tasmota().first_minute(&gateway));
    let nothing = Vec::<String>::new();
    assert_eq!(said_about(&gateway, "DVES_8A1F2C", 0), nothing);
}
