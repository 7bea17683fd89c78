//! The way to a real cluster: one relay per broker, so that the demo can cut it.
//!
//! ```text
//!  gateway ──▶ relay of broker 1 ──▶ broker 1       answers to Metadata name brokers: their
//!          ──▶ relay of broker 2 ──▶ broker 2       addresses are replaced by those of relays
//! ```
//!
//! Everything else passes as it is. Plain connections only: a relay cannot read TLS.

use std::collections::HashMap;
use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use kafka_wire::protocol::{
    ApiKey, KafkaString, MetadataRequest, MetadataResponse, parse_request_header, parse_response,
    response_frame, split_frame,
};
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, Timer};

use super::invalid;
use crate::demo::uplink::{State, Uplink};

/// Kafka's default of `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX: usize = 100 << 20;
const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const READ_BYTES: usize = 64 << 10;
const ACCEPT_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// All relays.
#[derive(Clone)]
pub struct Relays {
    shared: Arc<Shared>,
}

struct Shared {
    uplink: Uplink,
    /// By the address of the broker, `host:port`.
    relays: Mutex<HashMap<String, SocketAddr>>,
}

/// Versions of the Metadata requests of one connection whose answers are awaited.
type Pending = Mutex<HashMap<i32, i16>>;

impl Relays {
    /// No relay yet.
    pub fn new(uplink: Uplink) -> Relays {
        let relays = Mutex::default();
        Relays {
            shared: Arc::new(Shared { uplink, relays }),
        }
    }

    /// The relay to a broker; it is started when it is asked for the first time.
    pub fn to(&self, broker: &str) -> io::Result<SocketAddr> {
        let mut relays = lock(&self.shared.relays);
        if let Some(address) = relays.get(broker) {
            return Ok(*address);
        }
        let listener: TcpListener = Async::<net::TcpListener>::bind(ANY_PORT)?.into();
        let address = listener.local_addr()?;
        relays.insert(broker.to_owned(), address);
        smol::spawn(accept(listener, broker.to_owned(), self.clone())).detach();
        Ok(address)
    }

    /// The same answer with relays in the place of brokers.
    fn redirect(&self, version: i16, frame: Bytes) -> io::Result<BytesMut> {
        let (id, mut response): (i32, MetadataResponse) =
            parse_response::<MetadataRequest>(version, frame).map_err(|error| invalid(&error))?;
        for broker in &mut response.brokers {
            let relay = self.to(&format!("{}:{}", broker.host, broker.port))?;
            broker.host = KafkaString::from(relay.ip().to_string());
            broker.port = i32::from(relay.port());
        }
        response_frame::<MetadataRequest>(version, id, &response).map_err(|error| invalid(&error))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, broker: String, relays: Relays) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            Timer::after(ACCEPT_AGAIN).await;
            continue;
        };
        let uplink = relays.shared.uplink.clone();
        if uplink.state() == State::Refused {
            continue; // dropped
        }
        let (broker, relays, breaks) = (broker.clone(), relays.clone(), uplink.breaks());
        smol::spawn(async move {
            let pass = async {
                // One side closing ends both.
                let _ = pass(stream, &broker, &relays).await;
            };
            // Broken first: what waited for the end of a black hole does not pass.
            or(uplink.broken(breaks), pass).await;
        })
        .detach();
    }
}

async fn pass(near: TcpStream, broker: &str, relays: &Relays) -> io::Result<()> {
    relays.shared.uplink.passes().await;
    let far = TcpStream::connect(broker).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let pending = Pending::default();
    let up = forth(near.clone(), far.clone(), &pending, &relays.shared.uplink);
    let down = back(far, near, &pending, relays);
    or(up, down).await
}

/// Requests: noted where they are Metadata, passed on unchanged.
async fn forth(
    mut from: TcpStream,
    mut to: TcpStream,
    pending: &Pending,
    uplink: &Uplink,
) -> io::Result<()> {
    let mut frames = Frames::default();
    while let Some(frame) = frames.next(&mut from).await? {
        uplink.passes().await;
        let header = parse_request_header(&mut frame.clone()).map_err(|error| invalid(&error))?;
        if header.api_key == ApiKey::Metadata as i16 {
            lock(pending).insert(header.correlation_id, header.api_version);
        }
        to.write_all(&(frame.len() as u32).to_be_bytes()).await?;
        to.write_all(&frame).await?;
    }
    Ok(())
}

/// Answers: to Metadata redirected, others passed on unchanged.
async fn back(
    mut from: TcpStream,
    mut to: TcpStream,
    pending: &Pending,
    relays: &Relays,
) -> io::Result<()> {
    let mut frames = Frames::default();
    while let Some(frame) = frames.next(&mut from).await? {
        relays.shared.uplink.passes().await;
        let id = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
        let metadata = id.and_then(|id| lock(pending).remove(&id));
        if let Some(version) = metadata {
            to.write_all(&relays.redirect(version, frame)?).await?;
            continue;
        }
        to.write_all(&(frame.len() as u32).to_be_bytes()).await?;
        to.write_all(&frame).await?;
    }
    Ok(())
}

/// Takes whole frames off a socket.
#[derive(Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// The next frame without its size; none when the other side closed.
    pub async fn next(&mut self, from: &mut TcpStream) -> io::Result<Option<Bytes>> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let frame = split_frame(&mut self.buffer, FRAME_BYTES_MAX);
            if let Some(frame) = frame.map_err(|error| invalid(&error))? {
                return Ok(Some(frame));
            }
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }
}

#[cfg(test)]
mod tests;
