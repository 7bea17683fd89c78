//! Programs that others wrote against ours: MQTT clients at the listener, Apache Kafka as central.
//!
//! Needs mosquitto-clients, kcat, Java, Kafka's jars and paho-mqtt: `tests/run peers` brings them.
//! Plain `cargo test` does not run this. `EDGE_OUTAGE_S=60` keeps Kafka away for a full minute.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

#[path = "peers/forwarding.rs"]
mod forwarding;
#[path = "peers/mqtt_clients.rs"]
mod mqtt_clients;
#[path = "peers/outage.rs"]
mod outage;
#[path = "peers/parking.rs"]
mod parking;
#[path = "peers/wrong_clock.rs"]
mod wrong_clock;
