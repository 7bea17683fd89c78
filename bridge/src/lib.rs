//! The MQTT door of the gateway: devices and local applications speak MQTT 3.1.1 and 5 here.
//!
//! ```text
//!  socket ──▶ codec ──▶ session core ──▶ routes ──▶ Site::append ──▶ log
//!    ▲      (strict)       (pure)                        │ ticket
//!    └───────── acks, in order, many per write ◀─────────┘
//!    ▲
//!    └── deliveries ◀── subscriptions ◀── live dispatcher ◀── Site::frames (committed)
//!                            ▲
//!                            └── QoS 0, at once, from memory
//! ```
//!
//! Nothing is acknowledged before its ticket is spent. This package never writes a file and
//! leaves durability, topics and offsets to `edge-site`.

mod codec;
mod compaction;
mod config;
mod connection;
mod dispatcher;
mod error;
mod hub;
mod limits;
mod listener;
mod loading;
mod mailbox;
mod message;
mod publish;
mod retained;
mod retaining;
mod routes;
mod session;
mod stats;
mod trie;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use edge_site::{Site, TopicError};
use smol::channel::Receiver;
use smol::{Async, Task};

pub use config::{Anonymous, BridgeConfig, ListenerConfig, MqttConfig, RouteConfig};
pub use error::StartError;
pub use publish::Published;
pub use routes::RouteSetting;
pub use stats::BridgeStats;

use codec::packet::{Publish, PublishProperties, QoS};
use hub::{Hub, lock};
use listener::PreAuth;
use routes::Routes;

/// The running door.
pub struct Bridge {
    hub: Arc<Hub>,
    pre_auth: Arc<PreAuth>,
    addresses: Vec<(SocketAddr, Anonymous)>,
    /// Dropped, they end: the accept loops and the housekeeping.
    doors: Mutex<Vec<Task<()>>>,
    /// Closes when the last connection is gone.
    all_gone: Receiver<()>,
    _dispatcher: Task<()>,
}

/// What messages carry as `mqtt.client_id` that no client sent.
const OWN_CLIENT_ID: &[u8] = b"edge-broker";

/// How long a stopping door waits for its connections.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens the listeners and starts serving on smol's global executor.
///
/// Routes are checked, their topics are created where they can be, and the retained messages
/// are found before the first connection is taken.
pub async fn start(config: BridgeConfig, site: Site) -> Result<Bridge, StartError> {
    config.check()?;
    let routes = Routes::compile(&config.site_name, &config.routes)?;
    let mut bound = Vec::new();
    for listener in &config.mqtt.listener {
        for socket in listener::bind(listener)? {
            bound.push((socket, listener.allow_anonymous));
        }
    }
    let hub = Arc::new(Hub::new(config, routes, site));
    create_topics(&hub).await;
    let dispatcher = hub.site.spawn("dispatcher", dispatcher::run(hub.clone()));
    loading::load(&hub).await;
    let pre_auth = Arc::new(PreAuth::default());
    let (alive, all_gone) = smol::channel::bounded(1);
    let mut addresses = Vec::new();
    let mut doors = vec![
        hub.site
            .spawn("bridge's housekeeping", keep_house(hub.clone())),
        hub.site.spawn(
            "compaction of retained messages",
            compaction::run(hub.clone()),
        ),
        hub.site.spawn(
            "loading of retained messages",
            loading::complete(hub.clone()),
        ),
    ];
    for (socket, anonymous) in bound {
        let bind_error = |error| StartError::Bind {
            address: String::new(),
            resolved: socket.local_addr().ok(),
            error,
        };
        addresses.push((socket.local_addr().map_err(bind_error)?, anonymous));
        let listener = Async::new(socket).map_err(|error| StartError::Bind {
            address: String::new(),
            resolved: None,
            error,
        })?;
        let (pre_auth, alive) = (pre_auth.clone(), alive.clone());
        let accept = listener::accept(hub.clone(), pre_auth, listener, anonymous, alive);
        doors.push(hub.site.spawn("MQTT listener", accept));
    }
    Ok(Bridge {
        hub,
        pre_auth,
        addresses,
        doors: Mutex::new(doors),
        all_gone,
        _dispatcher: dispatcher,
    })
}

/// Topics that the routes name are there from the start; one that cannot be is no reason not
/// to start, it is tried again with its first message.
async fn create_topics(hub: &Hub) {
    for name in hub.routes.fixed_topics() {
        if let Err(error) = hub.prepare_topic(name).await {
            log::warn!("topic {name} of a route is not there yet: {error}");
        }
    }
}

/// Once a second: what was shed goes to the ledger.
async fn keep_house(hub: Arc<Hub>) {
    loop {
        smol::Timer::after(Duration::from_secs(1)).await;
        hub.report_shed().await;
    }
}

impl Bridge {
    /// The addresses that listen, with their real ports, and who may connect without account.
    pub fn addresses(&self) -> Vec<(SocketAddr, Anonymous)> {
        self.addresses.clone()
    }

    /// Figures at this moment.
    pub fn stats(&self) -> BridgeStats {
        BridgeStats {
            connected: self.hub.connected() as u64,
            pre_auth: self.pre_auth.len() as u64,
            subscriptions: self.hub.subscriptions() as u64,
            retained: lock(&self.hub.retained).len() as u64,
            ..self.hub.counters.snapshot()
        }
    }

    /// What the configuration says about a setting of a topic; `None` = the topic decides.
    pub fn route_setting(&self, topic: &str, setting: &str) -> Option<RouteSetting> {
        let settings = self.hub.routes.settings_of(topic)?;
        settings.get(setting).cloned()
    }

    /// Stores a QoS 1 message as if a client had published it; returns when it is stored.
    ///
    /// The routes say where it goes. Dropped midway, it may be stored or not.
    pub async fn publish(
        &self,
        mqtt_topic: &str,
        payload: Bytes,
        user: Vec<(Bytes, Bytes)>,
        retain: bool,
    ) -> Result<Published, TopicError> {
        let bad = mqtt_topic.is_empty() || mqtt_topic.contains(['+', '#', '\0']);
        if bad || mqtt_topic.len() > usize::from(u16::MAX) {
            return Err(TopicError::InvalidName(mqtt_topic.to_owned()));
        }
        let properties = PublishProperties {
            user,
            ..PublishProperties::default()
        };
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            retain,
            topic: Bytes::copy_from_slice(mqtt_topic.as_bytes()),
            payload,
            properties: Some(Box::new(properties)),
            ..Publish::default()
        };
        publish::store(&self.hub, &publish, &Bytes::from_static(OWN_CLIENT_ID)).await
    }

    /// Stops accepting, acknowledges what is stored, closes every connection. Idempotent.
    ///
    /// Takes three seconds at most. Safe to drop midway; connections then end on their own.
    pub async fn stop(&self) {
        lock(&self.doors).clear();
        self.pre_auth.clear();
        self.hub.stop();
        let timeout = async {
            smol::Timer::after(STOP_TIMEOUT).await;
        };
        let gone = async {
            let _ = self.all_gone.recv().await;
        };
        smol::future::or(gone, timeout).await;
        self.hub.report_shed().await;
    }
}

#[cfg(test)]
mod tests;
