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
mod config;
mod error;
mod routes;
mod stats;
mod trie;

use std::net::SocketAddr;

use edge_site::Site;

pub use config::{Anonymous, BridgeConfig, ListenerConfig, MqttConfig, RouteConfig};
pub use error::StartError;
pub use stats::BridgeStats;

/// The running door.
pub struct Bridge {}

/// Opens the listeners and starts serving on smol's global executor.
///
/// Routes are checked, their topics are created where they can be, and the retained messages
/// are found before the first connection is taken.
#[allow(clippy::unimplemented)]
pub async fn start(config: BridgeConfig, site: Site) -> Result<Bridge, StartError> {
    config.check()?;
    let _ = site;
    unimplemented!()
}

#[allow(clippy::unimplemented)]
impl Bridge {
    /// The addresses that listen, with their real ports, and who may connect without account.
    pub fn addresses(&self) -> Vec<(SocketAddr, Anonymous)> {
        unimplemented!()
    }

    /// Figures at this moment.
    pub fn stats(&self) -> BridgeStats {
        unimplemented!()
    }

    /// Stops accepting, acknowledges what is stored, closes every connection. Idempotent.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
