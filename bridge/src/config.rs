//! What the MQTT door can be told: `[mqtt]`, `[[mqtt.listener]]` and `[[route]]`.
//!
//! Plain data with the defaults of the reference file; the program reads it from TOML. What a
//! value may be is checked in [`BridgeConfig::check`], before anything is bound.

use edge_site::{AckLevel, Priority, TopicWhenFull};
use serde::{Deserialize, Deserializer};

use crate::error::StartError;

/// Everything the door is told at its start.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Name of the site: what `{site}` stands for in templates.
    pub site_name: String,
    /// The `[mqtt]` section.
    pub mqtt: MqttConfig,
    /// The `[[route]]` sections in order; the built-in last one is added by the door.
    pub routes: Vec<RouteConfig>,
    /// `log.repeat_s`: the same refusal of one client is said at most this often; 0 = always.
    pub log_repeat_s: u64,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        BridgeConfig {
            site_name: String::new(),
            mqtt: MqttConfig::default(),
            routes: Vec::new(),
            log_repeat_s: 60,
        }
    }
}

/// The `[mqtt]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// Clients connected at once.
    pub connections_max: usize,
    /// Sockets before CONNECT; when there are more, the oldest closes.
    pub pre_auth_max: usize,
    /// How long a socket may take to send its CONNECT.
    pub connect_timeout_s: u64,
    /// The largest packet taken; announced in MQTT 5.
    pub packet_bytes_max: usize,
    /// Receive maximum per client; announced in MQTT 5.
    pub in_flight_max: u16,
    /// Subscriptions per client.
    pub subscriptions_max: usize,
    /// Levels in a topic or filter.
    pub topic_levels_max: usize,
    /// What the index of retained messages may take, in bytes; beyond it a retained message for
    /// another topic is delivered and stored, and not kept.
    pub retained_index_bytes_max: usize,
    /// An unacknowledged 3.1.1 publish is held this long before its connection is closed.
    pub hold_s_max: u64,
    /// The `[[mqtt.listener]]` sections.
    pub listener: Vec<ListenerConfig>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        MqttConfig {
            connections_max: 10_000,
            pre_auth_max: 256,
            connect_timeout_s: 5,
            packet_bytes_max: 1_000_000,
            in_flight_max: 64,
            subscriptions_max: 1000,
            topic_levels_max: 64,
            retained_index_bytes_max: 8 << 20,
            hold_s_max: 60,
            listener: vec![ListenerConfig::default()],
        }
    }
}

/// One `[[mqtt.listener]]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerConfig {
    /// `localhost:1883` is 127.0.0.1 and ::1; `:1883` is every address; port 0 is any free one.
    pub address: String,
    /// Who may connect without an account.
    pub allow_anonymous: Anonymous,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        ListenerConfig {
            address: "localhost:1883".to_owned(),
            allow_anonymous: Anonymous::Loopback,
        }
    }
}

/// Who may connect without an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Programs on this machine.
    #[default]
    Loopback,
    /// Everybody who can reach the listener.
    Yes,
    /// Nobody.
    No,
}

/// One `[[route]]` section: which topic an MQTT topic goes to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteConfig {
    /// MQTT filter; here `#` also matches topics that start with `$`.
    pub filter: String,
    /// Topic, with placeholders `{site}`, `{client}`, `{1}`, `{2}`… and `{mqtt_topic}`.
    pub topic: String,
    /// Key, with the same placeholders.
    pub key: String,
    /// `memory` or `disk`.
    #[serde(deserialize_with = "ack_level")]
    pub ack: AckLevel,
    /// Whether the topic goes to the central cluster. `None`, like for the next two: as the topic
    /// has it, so that `topic set` decides.
    pub forward: Option<bool>,
    /// `normal` or `high`.
    #[serde(deserialize_with = "priority")]
    pub priority: Option<Priority>,
    /// `inherit`, `drop-oldest` or `refuse`.
    #[serde(deserialize_with = "when_full")]
    pub when_full: Option<TopicWhenFull>,
}

impl Default for RouteConfig {
    fn default() -> Self {
        RouteConfig {
            filter: "#".to_owned(),
            topic: "mqtt".to_owned(),
            key: "{mqtt_topic}".to_owned(),
            ack: AckLevel::Disk,
            forward: None,
            priority: None,
            when_full: None,
        }
    }
}

impl BridgeConfig {
    /// Refuses values that cannot work, naming the key and what is allowed.
    pub fn check(&self) -> Result<(), StartError> {
        let mqtt = &self.mqtt;
        at_least("mqtt.connections_max", mqtt.connections_max, 1)?;
        at_least("mqtt.pre_auth_max", mqtt.pre_auth_max, 1)?;
        at_least("mqtt.connect_timeout_s", mqtt.connect_timeout_s as usize, 1)?;
        at_least("mqtt.packet_bytes_max", mqtt.packet_bytes_max, 128)?;
        at_least("mqtt.in_flight_max", mqtt.in_flight_max.into(), 1)?;
        at_least("mqtt.subscriptions_max", mqtt.subscriptions_max, 1)?;
        at_least("mqtt.topic_levels_max", mqtt.topic_levels_max, 1)?;
        if mqtt.topic_levels_max > TOPIC_LEVELS_CAP {
            return Err(StartError::config(
                "mqtt.topic_levels_max",
                format!("must be at most {TOPIC_LEVELS_CAP}"),
                mqtt.topic_levels_max,
            ));
        }
        if mqtt.packet_bytes_max > PACKET_BYTES_CAP {
            return Err(StartError::config(
                "mqtt.packet_bytes_max",
                format!("must be at most {PACKET_BYTES_CAP}"),
                mqtt.packet_bytes_max,
            ));
        }
        crate::routes::Routes::compile(&self.site_name, &self.routes).map(drop)
    }
}

/// Each level of a topic takes stack while subscriptions are looked for.
const TOPIC_LEVELS_CAP: usize = 1024;

/// The store takes 16 MiB per record at most.
const PACKET_BYTES_CAP: usize = 16_000_000;

fn at_least(key: &'static str, value: usize, min: usize) -> Result<(), StartError> {
    if value >= min {
        return Ok(());
    }
    Err(StartError::config(
        key,
        format!("must be at least {min}"),
        value,
    ))
}

fn ack_level<'de, D: Deserializer<'de>>(from: D) -> Result<AckLevel, D::Error> {
    match String::deserialize(from)?.as_str() {
        "memory" => Ok(AckLevel::Memory),
        "disk" => Ok(AckLevel::Disk),
        other => Err(serde::de::Error::unknown_variant(
            other,
            &["memory", "disk"],
        )),
    }
}

fn priority<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Priority>, D::Error> {
    match String::deserialize(from)?.as_str() {
        "normal" => Ok(Some(Priority::Normal)),
        "high" => Ok(Some(Priority::High)),
        other => Err(serde::de::Error::unknown_variant(
            other,
            &["normal", "high"],
        )),
    }
}

fn when_full<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TopicWhenFull>, D::Error> {
    match String::deserialize(from)?.as_str() {
        "inherit" => Ok(Some(TopicWhenFull::Inherit)),
        "drop-oldest" => Ok(Some(TopicWhenFull::DropOldest)),
        "refuse" => Ok(Some(TopicWhenFull::Refuse)),
        other => {
            let names = &["inherit", "drop-oldest", "refuse"];
            Err(serde::de::Error::unknown_variant(other, names))
        }
    }
}
