//! Forwarding of topics to the central Apache Kafka cluster.
//!
//! ```text
//!  Site ──committed──▶ driver ──▶ Forwarder (pure core: what to read, pack, send, park)
//!   ▲   ◀──read──────    │  ▲
//!   │                    ▼  │ answers
//!   └──progress──── packing, connection (socket, TLS, SASL, pipelining) ──▶ Kafka
//! ```
//!
//! The promise is at-least-once: a record's progress mark is stored here only after central
//! acknowledged it with all its replicas. Within one run an idempotent producer keeps lost
//! answers from becoming duplicates; after a crash of the gateway the newest second of records
//! may come twice. Order within a partition is never broken.
//!
//! Called by `edge-broker`; the only thing it needs is an open [`Site`].

mod config;
mod connection;
mod control;
mod dead_letter;
mod driver;
mod error;
mod forwarder;
mod mapping;
mod meter;
mod month;
mod packing;
mod producer;
mod status;

use std::sync::Arc;

use edge_site::Site;
use smol::channel::{Sender, bounded};

use crate::driver::{Event, Shared};
pub use crate::{
    config::{CentralConfig, Mechanism, OnRejected, SaslConfig, TlsConfig},
    connection::{FileProblem, check_files},
    error::{ConfigError, ConnectError, Stage},
    status::{CentralStatus, Failure, Guarantee, LinkStatus, TopicState, TopicStatus},
};

/// Starts forwarding; without bootstrap addresses it does nothing but answer `status`.
///
/// Never fails: what is wrong with the way to central shows in [`CloudSync::status`] and is
/// tried again. Call [`CentralConfig::validate`] first.
pub fn start(config: CentralConfig, site: Site) -> CloudSync {
    let (shared, events, start) = driver::prepare(config, site);
    if shared.is_configured() {
        let guarded = shared.clone();
        smol::spawn(async move { guarded.guard("forwarder", start.run()).await }).detach();
    }
    CloudSync { shared, events }
}

/// Running forwarding; cheap to clone.
#[derive(Clone)]
pub struct CloudSync {
    shared: Arc<Shared>,
    events: Sender<Event>,
}

impl CloudSync {
    /// What goes on, now.
    pub fn status(&self) -> CentralStatus {
        self.shared.status()
    }

    /// Tries a parked topic again at once; false when no forwarded topic has that local name.
    pub async fn retry(&self, topic: &str) -> bool {
        let (reply, answer) = bounded(1);
        let sent = self
            .events
            .send(Event::Retry {
                topic: topic.to_owned(),
                reply,
            })
            .await;
        sent.is_ok() && answer.recv().await.unwrap_or(false)
    }

    /// Stops sending, waits shortly for answers under way, stores the progress they bring.
    pub async fn stop(&self) {
        let (reply, answer) = bounded(1);
        if self.events.send(Event::Stop { reply }).await.is_ok() {
            let _ = answer.recv().await;
        }
    }
}
