//! Listening sockets, and connections until their CONNECT.
//!
//! The accept loop only accepts. Sockets that have not said CONNECT yet are few: when there are
//! more than `pre_auth_max`, the oldest closes. They hold no read buffer.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smol::Async;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt;
use smol::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use smol::net::TcpStream;

use crate::codec::packet::{ConnAck, Connect, Reason, Reply, Version, Violation};
use crate::codec::{ConnectRefusal, decode_connect, encode_for, frame_bytes};
use crate::config::{Anonymous, ListenerConfig};
use crate::connection::{Connection, name, read_some};
use crate::error::StartError;
use crate::hub::{Hub, NoPlace, lock};
use crate::session::{Limits, Session, admit};

/// A CONNECT is not larger than this: one text of 65,535 bytes and room for the others.
const CONNECT_BYTES_MAX: usize = 72 << 10;

/// Binds a listener's addresses; `localhost` is 127.0.0.1 and ::1, `:PORT` is every address.
pub(crate) fn bind(config: &ListenerConfig) -> Result<Vec<StdListener>, StartError> {
    let address = &config.address;
    let fail = |resolved, error| StartError::Bind {
        address: address.clone(),
        resolved,
        error,
    };
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .ok_or_else(|| fail(None, io::Error::from(io::ErrorKind::InvalidInput)))?;
    match host {
        "" => bind_every(port).map_err(|(at, error)| fail(Some(at), error)),
        "localhost" => bind_localhost(port).map_err(|(at, error)| fail(Some(at), error)),
        _ => {
            let resolved: Vec<SocketAddr> = address
                .to_socket_addrs()
                .map_err(|error| fail(None, error))?
                .collect();
            let bound = resolved
                .into_iter()
                .map(|at| StdListener::bind(at).map_err(|error| fail(Some(at), error)));
            bound.collect()
        }
    }
}

type BindError = (SocketAddr, io::Error);

/// One socket for both families where the system has IPv6.
fn bind_every(port: u16) -> Result<Vec<StdListener>, BindError> {
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match StdListener::bind(v6) {
        Ok(listener) => Ok(vec![listener]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err((v6, error)),
        Err(_) => {
            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            Ok(vec![StdListener::bind(v4).map_err(|error| (v4, error))?])
        }
    }
}

/// Both loopback addresses with one port; a machine without IPv6 has one.
fn bind_localhost(port: u16) -> Result<Vec<StdListener>, BindError> {
    let v4 = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let first = StdListener::bind(v4).map_err(|error| (v4, error))?;
    let port = first.local_addr().map_err(|error| (v4, error))?.port();
    let v6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    match StdListener::bind(v6) {
        Ok(second) => Ok(vec![first, second]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err((v6, error)),
        Err(_) => Ok(vec![first]),
    }
}

/// Sockets that have not sent their CONNECT, oldest first.
#[derive(Default)]
pub(crate) struct PreAuth {
    sockets: Mutex<VecDeque<(u64, Sender<()>)>>,
}

impl PreAuth {
    pub(crate) fn len(&self) -> usize {
        lock(&self.sockets).len()
    }

    /// One more.
    fn enter(self: &Arc<Self>, id: u64, count_max: usize) -> Place {
        let (sender, evicted) = smol::channel::bounded(1);
        let mut sockets = lock(&self.sockets);
        while sockets.len() >= count_max {
            sockets.pop_front();
        }
        sockets.push_back((id, sender));
        Place {
            id,
            evicted,
            pre_auth: self.clone(),
        }
    }

    fn leave(&self, id: u64) {
        let mut sockets = lock(&self.sockets);
        if let Some(place) = sockets.iter().position(|(other, _)| *other == id) {
            sockets.remove(place);
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        lock(&self.sockets).clear();
    }
}

/// A place among the sockets before CONNECT: given back when it is dropped, however that comes.
struct Place {
    id: u64,
    /// Closes when the socket has to go.
    evicted: Receiver<()>,
    pre_auth: Arc<PreAuth>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pre_auth.leave(self.id);
    }
}

/// Accepts until its task is dropped.
pub(crate) async fn accept(
    hub: Arc<Hub>,
    pre_auth: Arc<PreAuth>,
    listener: Async<StdListener>,
    anonymous: Anonymous,
    // Held by every connection; its receiver tells when the last one is gone.
    alive: Sender<()>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                hub.counters.connections.add(1);
                let _ = stream.get_ref().set_nodelay(true);
                let place = pre_auth.enter(hub.next_id(), hub.config.mqtt.pre_auth_max);
                let guest = Guest {
                    place,
                    peer,
                    anonymous,
                };
                let (hub, alive) = (hub.clone(), alive.clone());
                smol::spawn(async move {
                    let serving = AssertUnwindSafe(serve(guest, hub, stream.into()));
                    if serving.catch_unwind().await.is_err() {
                        log::error!("the connection from {peer} ended by an error of the gateway");
                    }
                    drop(alive);
                })
                .detach();
            }
            Err(error) => {
                // Out of file descriptors, usually: waiting is all that helps.
                if hub.may_say(b"", "accept") {
                    log::error!("cannot accept connections, raise the limit of files: {error}");
                }
                smol::Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Greeting takes a moment and much room, serving takes long and little.
async fn serve(guest: Guest, hub: Arc<Hub>, stream: TcpStream) {
    let greeted = Box::pin(guest.greet(hub, stream)).await;
    if let Some(connection) = greeted {
        connection.run().await;
    }
}

/// A socket before its CONNECT.
struct Guest {
    place: Place,
    peer: SocketAddr,
    anonymous: Anonymous,
}

impl Guest {
    /// From the first byte to the welcome; `None` = it did not come to that.
    async fn greet(
        self,
        hub: Arc<Hub>,
        mut stream: TcpStream,
    ) -> Option<Box<Connection<TcpStream>>> {
        let mut received = BytesMut::new();
        let connect = match self.read_connect(&hub, &mut stream, &mut received).await {
            Some(Ok(connect)) => self.admit(&hub, &mut stream, connect).await,
            Some(Err(refusal)) => {
                self.refuse_connect(&hub, &mut stream, refusal).await;
                None
            }
            None => None,
        };
        // Only now: who is made to wait for a refusal is one of the few, too.
        self.place.pre_auth.leave(self.place.id);
        self.welcome(hub, stream, connect?, received).await
    }

    async fn refuse_connect(&self, hub: &Hub, stream: &mut TcpStream, refusal: ConnectRefusal) {
        let what = refusal.violation.what;
        hub.counters.protocol_errors.add(1);
        if hub.may_say(self.peer.ip().to_string().as_bytes(), what) {
            log::warn!("{} closed: {what}", self.peer);
        }
        if let Some(version) = refusal.version {
            refuse(stream, version, refusal.violation.reason).await;
        }
    }

    /// The CONNECT; `None` = the socket went, took too long or had to make room.
    async fn read_connect(
        &self,
        hub: &Hub,
        stream: &mut TcpStream,
        received: &mut BytesMut,
    ) -> Option<Result<Connect, ConnectRefusal>> {
        let seconds = hub.config.mqtt.connect_timeout_s;
        let timeout = async {
            smol::Timer::after(Duration::from_secs(seconds)).await;
            None
        };
        let evicted = async {
            let _ = self.place.evicted.recv().await;
            None
        };
        let bytes_max = hub.config.mqtt.packet_bytes_max.min(CONNECT_BYTES_MAX);
        let read = read_connect(stream, received, bytes_max);
        smol::future::or(read, smol::future::or(timeout, evicted)).await
    }

    async fn welcome(
        self,
        hub: Arc<Hub>,
        mut stream: TcpStream,
        connect: Connect,
        received: BytesMut,
    ) -> Option<Box<Connection<TcpStream>>> {
        let version = connect.version;
        let assigned = connect.client_id.is_empty().then(assigned_id);
        let client_id = assigned
            .clone()
            .map_or(connect.client_id.clone(), Bytes::from);
        let registered = match hub.register(&client_id).await {
            Ok(registered) => registered,
            Err(NoPlace::GaveWay) => {
                log::debug!("client {} connected again meanwhile", name(&client_id));
                return None;
            }
            Err(NoPlace::Full) => {
                let what = "mqtt.connections_max clients are connected, or memory.bytes_max is \
                            nearly used";
                self.say_refused(&hub, &client_id, what);
                refuse(&mut stream, version, Reason::SERVER_BUSY).await;
                return None;
            }
        };
        log::debug!("client {} connected from {}", name(&client_id), self.peer);
        let limits = Limits::of(&hub.config.mqtt);
        let session = Session::open(connect, assigned, limits, hub.now_ms());
        Some(Connection::new(hub, stream, session, registered, received))
    }

    /// The CONNECT again, where it may become a session; a refusal is said here.
    async fn admit(&self, hub: &Hub, stream: &mut TcpStream, connect: Connect) -> Option<Connect> {
        let Err((reason, what)) = self.check(&connect) else {
            return Some(connect);
        };
        self.say_refused(hub, &connect.client_id, what);
        // A client that comes back at once with the same is made to wait.
        let who = self.peer.ip().to_string();
        let hold_ms = lock(&hub.penalties).hold_ms(hub.now_ms(), who.as_bytes());
        let hold = async {
            smol::Timer::after(Duration::from_millis(hold_ms)).await;
        };
        let evicted = async {
            let _ = self.place.evicted.recv().await;
        };
        smol::future::or(hold, evicted).await;
        refuse(stream, connect.version, reason).await;
        None
    }

    fn check(&self, connect: &Connect) -> Result<(), (Reason, &'static str)> {
        let allowed = match self.anonymous {
            Anonymous::Yes => true,
            Anonymous::Loopback => is_loopback(self.peer.ip()),
            Anonymous::No => false,
        };
        if !allowed {
            let what = "clients without an account may not connect from there, see \
                        mqtt.listener.allow_anonymous";
            return Err((Reason::NOT_AUTHORIZED, what));
        }
        admit(connect)
    }

    fn say_refused(&self, hub: &Hub, client_id: &Bytes, what: &'static str) {
        hub.counters.connections_refused.add(1);
        if hub.may_say(self.peer.ip().to_string().as_bytes(), what) {
            log::warn!(
                "client {} from {} refused: {what}",
                name(client_id),
                self.peer
            );
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

fn assigned_id() -> String {
    let letters = std::iter::repeat_with(fastrand::alphanumeric).take(16);
    std::iter::once("edge-".to_owned())
        .chain(letters.map(String::from))
        .collect()
}

async fn read_connect<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
    bytes_max: usize,
) -> Option<Result<Connect, ConnectRefusal>> {
    loop {
        match frame_bytes(received, None, bytes_max) {
            Err(violation) => return Some(Err(not_mqtt(received, violation))),
            Ok(Some((header, length))) if length <= received.len() => {
                return Some(decode_connect(received.split_to(length), header));
            }
            Ok(_) => {}
        }
        match read_some(stream, received).await {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
    }
}

/// Something that is no CONNECT gets no answer, except one that is only too large.
fn not_mqtt(received: &[u8], violation: Violation) -> ConnectRefusal {
    // Protocol name and level are near the front: enough of it tells how to answer.
    let head = received
        .iter()
        .skip(1)
        .take_while(|b| **b & 0x80 != 0)
        .count()
        + 2;
    let level = match received.get(head..head + 7) {
        Some([0, 4, b'M', b'Q', b'T', b'T', level]) => *level,
        _ => 0,
    };
    let version = match (violation.reason, level) {
        (Reason::PACKET_TOO_LARGE, 4) => Some(Version::V4),
        (Reason::PACKET_TOO_LARGE, 5) => Some(Version::V5),
        _ => None,
    };
    ConnectRefusal { version, violation }
}

/// Sends a CONNACK that says no, and gives it a moment to leave.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    version: Version,
    reason: Reason,
) {
    let mut bytes = BytesMut::new();
    encode_for(
        version,
        &Reply::ConnAck(ConnAck {
            reason,
            granted: None,
        }),
        &mut bytes,
    );
    let work = async {
        if stream.write_all(&bytes).await.is_ok() && stream.close().await.is_ok() {
            let mut rest = BytesMut::new();
            while rest.len() < CONNECT_BYTES_MAX
                && read_some(stream, &mut rest)
                    .await
                    .is_ok_and(|count| count > 0)
            {}
        }
    };
    let timeout = async {
        smol::Timer::after(Duration::from_millis(300)).await;
    };
    smol::future::or(work, timeout).await;
}
