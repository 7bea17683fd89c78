//! The stand-in for the central cluster: one Kafka broker in memory, strict as Kafka is.
//!
//! ```text
//!  gateway ──TCP──▶ server ──frames──▶ cluster (pure: topics, requests) ──▶ partition (pure: what
//!                     ▲                                                  a producer may append)
//!                   uplink
//! ```
//!
//! It keeps of every record what the check needs, not the record. Used by `stage`; a real cluster
//! takes its place with `--central`, and relays stand on the way to it.

mod cluster;
mod partition;
mod reader;
mod relay;
mod server;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use relay::Relays;
use server::StandIn;
use smol::Timer;
use smol::net::TcpStream;

use super::TOPIC;
use super::book::Sighting;
use super::status::Status;
use super::uplink::Uplink;

/// What the gateway forwards to.
pub enum Central {
    /// The one built in.
    StandIn(StandIn),
    /// A real cluster.
    Cluster(Cluster),
}

/// A real cluster and the way to it.
pub struct Cluster {
    /// As it was named.
    bootstrap: String,
    /// The relay to it.
    relay: SocketAddr,
    /// What its topics begin with, of this demo alone.
    prefix: String,
}

/// How long a real cluster may take to answer the first connection.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whether anybody is there: better said now than after the devices have played.
async fn answers(bootstrap: &str) -> io::Result<()> {
    let connected = async { TcpStream::connect(bootstrap).await.map(drop) };
    let late = async {
        Timer::after(ANSWER_MAX).await;
        Err(io::Error::other(format!(
            "no answer in {} s",
            ANSWER_MAX.as_secs()
        )))
    };
    let answer = smol::future::or(connected, late).await;
    answer.map_err(|error| io::Error::other(format!("--central {bootstrap}: {error}")))
}

impl Central {
    /// The stand-in, or the way to a real cluster.
    pub async fn start(real: Option<&str>, seed: u64, uplink: Uplink) -> io::Result<Central> {
        let Some(bootstrap) = real else {
            return Ok(Central::StandIn(StandIn::start(uplink).await?));
        };
        answers(bootstrap).await?;
        Ok(Central::Cluster(Cluster {
            bootstrap: bootstrap.to_owned(),
            relay: Relays::new(uplink).to(bootstrap)?,
            prefix: format!("edge-demo-{seed:06x}-{:04x}-", fastrand::u16(..)),
        }))
    }

    /// What the gateway is told.
    pub fn bootstrap(&self) -> String {
        match self {
            Central::StandIn(stand_in) => stand_in.address().to_string(),
            Central::Cluster(cluster) => cluster.relay.to_string(),
        }
    }

    /// For the picture.
    pub fn describe(&self) -> String {
        match self {
            Central::StandIn(stand_in) => format!("built-in stand-in {}", stand_in.address()),
            Central::Cluster(cluster) => {
                format!("{}, topic {}", cluster.bootstrap, self.topic(TOPIC))
            }
        }
    }

    /// Name of a topic there.
    pub fn topic(&self, local: &str) -> String {
        match self {
            Central::StandIn(_) => local.to_owned(),
            Central::Cluster(cluster) => format!("{}{local}", cluster.prefix),
        }
    }

    /// Records it has; of a real cluster what the gateway knows about it.
    pub fn count(&self, status: &Status) -> u64 {
        match self {
            Central::StandIn(stand_in) => stand_in.count(),
            Central::Cluster(_) => status.stored(TOPIC).saturating_sub(status.waiting(TOPIC)),
        }
    }

    /// Everything it has, partition by partition.
    pub async fn sightings(&self) -> io::Result<Vec<Vec<Sighting>>> {
        match self {
            Central::StandIn(stand_in) => Ok(stand_in.sightings()),
            Central::Cluster(cluster) => {
                reader::read_topic(&cluster.bootstrap, &self.topic(TOPIC)).await
            }
        }
    }

    /// What it refused; a real cluster does not say.
    pub fn refusals(&self) -> Vec<String> {
        match self {
            Central::StandIn(stand_in) => stand_in.refusals(),
            Central::Cluster(_) => Vec::new(),
        }
    }
}

fn invalid(error: &dyn Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
