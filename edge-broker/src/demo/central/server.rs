//! The stand-in on a socket: one task per connection, requests answered in their order.
//!
//! Leaves every decision to `cluster`, and whether anything passes to the uplink.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::BytesMut;
use kafka_wire::protocol::split_frame;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

use super::cluster::Cluster;
use super::invalid;
use crate::demo::book::Sighting;
use crate::demo::uplink::{State, Uplink};

/// Kafka's default of `socket.request.max.bytes` is 100 MB; no gateway sends that much.
const FRAME_BYTES_MAX: usize = 32 << 20;
const READ_BYTES: usize = 64 << 10;

/// A running stand-in.
pub struct StandIn {
    address: SocketAddr,
    cluster: Arc<Mutex<Cluster>>,
    /// Accepts and serves; ends with this value.
    _server: smol::Task<()>,
}

impl StandIn {
    /// Listens on a free port of this machine.
    pub async fn start(uplink: Uplink) -> io::Result<StandIn> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let server = smol::spawn(accept(listener, cluster.clone(), uplink));
        Ok(StandIn {
            address,
            cluster,
            _server: server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Records it has taken.
    pub fn count(&self) -> u64 {
        let cluster = lock(&self.cluster);
        let partitions = cluster.topics.values().flat_map(|topic| &topic.partitions);
        partitions
            .map(|partition| partition.records.len() as u64)
            .sum()
    }

    /// Everything it has taken, partition by partition.
    pub fn sightings(&self) -> Vec<Vec<Sighting>> {
        let cluster = lock(&self.cluster);
        let partitions = cluster.topics.values().flat_map(|topic| &topic.partitions);
        partitions
            .map(|partition| partition.records.clone())
            .collect()
    }

    /// What it refused, oldest first: error and partition.
    pub fn refusals(&self) -> Vec<String> {
        let cluster = lock(&self.cluster);
        let refusals = cluster.refusals.iter();
        refusals
            .map(|(error, partition)| format!("{partition}: {error}"))
            .collect()
    }
}

fn lock(cluster: &Mutex<Cluster>) -> MutexGuard<'_, Cluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, cluster: Arc<Mutex<Cluster>>, uplink: Uplink) {
    let executor = smol::Executor::new();
    executor
        .run(async {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                if uplink.state() == State::Refused {
                    continue; // dropped
                }
                let (cluster, uplink, breaks) = (cluster.clone(), uplink.clone(), uplink.breaks());
                let connection = async move {
                    let serve = async {
                        // A connection ends by the client or by a request Kafka would hang up on.
                        let _ = serve(stream, &cluster, &uplink).await;
                    };
                    // Broken first: what waited for the end of a black hole is not answered.
                    smol::future::or(uplink.broken(breaks), serve).await;
                };
                executor.spawn(connection).detach();
            }
        })
        .await;
}

async fn serve(mut stream: TcpStream, cluster: &Mutex<Cluster>, uplink: &Uplink) -> io::Result<()> {
    let address = stream.local_addr()?;
    let _ = stream.set_nodelay(true);
    let mut buffer = BytesMut::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        // What was read during a black hole has not arrived yet.
        uplink.passes().await;
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(frame) =
            split_frame(&mut buffer, FRAME_BYTES_MAX).map_err(|error| invalid(&error))?
        {
            let answer = lock(cluster).handle(frame, address, now_ms());
            let answer = answer.map_err(|hangup| invalid(&hangup.0))?;
            // An answer into a black hole: the request is done, its outcome unknown to the client.
            uplink.passes().await;
            if let Some(bytes) = answer {
                stream.write_all(&bytes).await?;
            }
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests;
