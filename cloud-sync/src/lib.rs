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
mod error;
mod mapping;
mod status;

use edge_site::Site;

pub use crate::{
    config::{CentralConfig, Mechanism, OnRejected, SaslConfig, TlsConfig},
    error::{ConfigError, ConnectError, Stage},
    status::{CentralStatus, Failure, Guarantee, LinkStatus, TopicState, TopicStatus},
};

/// Starts forwarding; without bootstrap addresses it does nothing but answer `status`.
///
/// Never fails: what is wrong with the way to central shows in [`CloudSync::status`] and is
/// tried again. Call [`CentralConfig::validate`] first.
pub fn start(config: CentralConfig, site: Site) -> CloudSync {
    let _ = (config, site);
    CloudSync {}
}

/// Running forwarding; cheap to clone.
#[derive(Clone)]
pub struct CloudSync {}

impl CloudSync {
    /// What goes on, now.
    pub fn status(&self) -> CentralStatus {
        CentralStatus::default()
    }

    /// Tries a parked topic again at once; false when no forwarded topic has that local name.
    pub async fn retry(&self, topic: &str) -> bool {
        let _ = topic;
        false
    }

    /// Stops sending, waits shortly for answers under way, stores the progress they bring.
    pub async fn stop(&self) {}
}
