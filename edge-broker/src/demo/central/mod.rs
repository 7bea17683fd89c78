//! The stand-in for the central cluster: one Kafka broker in memory, strict as Kafka is.
//!
//! ```text
//!  gateway ──TCP──▶ server ──frames──▶ cluster (pure: topics, requests) ──▶ partition (pure: what
//!                     ▲                                                  a producer may append)
//!                   uplink
//! ```
//!
//! It keeps of every record what the check needs, not the record. Used by `stage`; a real cluster
//! takes its place with `--central`.

mod cluster;
mod partition;
mod server;

use std::io;

use server::StandIn;

use super::book::Sighting;
use super::status::Status;
use super::uplink::Uplink;

/// What takes the place of the central cluster.
pub enum Central {
    /// The one built in.
    StandIn(StandIn),
}

impl Central {
    /// The stand-in, or the way to a real cluster.
    pub async fn start(real: Option<&str>, seed: u64, uplink: Uplink) -> io::Result<Central> {
        let _ = (real, seed);
        Ok(Central::StandIn(StandIn::start(uplink).await?))
    }

    /// What the gateway is told.
    pub fn bootstrap(&self) -> String {
        match self {
            Central::StandIn(stand_in) => stand_in.address().to_string(),
        }
    }

    /// For the picture.
    pub fn describe(&self) -> String {
        match self {
            Central::StandIn(stand_in) => format!("built-in stand-in {}", stand_in.address()),
        }
    }

    /// Name of a topic there.
    pub fn topic_template(&self) -> String {
        match self {
            Central::StandIn(_) => "{topic}".to_owned(),
        }
    }

    /// Records it has.
    pub fn count(&self, _status: &Status) -> u64 {
        match self {
            Central::StandIn(stand_in) => stand_in.count(),
        }
    }

    /// Everything it has, partition by partition.
    pub async fn sightings(&self) -> io::Result<Vec<Vec<Sighting>>> {
        match self {
            Central::StandIn(stand_in) => Ok(stand_in.sightings()),
        }
    }

    /// What it refused.
    pub fn refusals(&self) -> Vec<String> {
        match self {
            Central::StandIn(stand_in) => stand_in.refusals(),
        }
    }
}
