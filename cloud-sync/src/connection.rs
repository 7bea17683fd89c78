//! One connection to a broker: name, socket, TLS, versions, SASL, then frames both ways.
//!
//! Each stage fails with its own [`Stage`], so that a person knows where to look. What is asked
//! and what answers mean is left to [`crate::control`] and [`crate::producer`].

mod base64;
mod files;
mod sasl;
mod scram;
mod tls;

pub use files::{FileProblem, check_files};

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use kafka_wire::{
    Bytes, BytesMut,
    protocol::{
        ApiVersionsRequest, ProtocolError, Request, parse_response, request_frame, split_frame,
    },
};
use smol::{
    future::FutureExt,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
};

use crate::{
    config::{Mechanism, SaslConfig, TlsConfig},
    error::{ConnectError, Stage},
    meter::{Meter, Metered},
};

/// For each of name, socket, TLS and login.
const STAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// For one answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer: metadata of a large cluster.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// An answer under another number than its request had: nothing of the connection can be trusted.
pub(crate) const WRONG_ANSWER: &str = "an answer to another request";
/// What we call ourselves in every request.
const CLIENT_ID: &str = "edge-broker";
/// Why PLAIN is not used.
const READABLE_PASSWORD: &str = "PLAIN would send the password readable over the network: set \
     central.tls.enabled = true, or use SCRAM-SHA-256 or SCRAM-SHA-512";
/// Error of an `ApiVersions` in a version that the broker does not know.
const UNSUPPORTED_VERSION: [u8; 2] = 35_i16.to_be_bytes();

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections as the configuration says.
#[derive(Debug)]
pub(crate) struct Dialer {
    tls: Option<tls::Tls>,
    sasl: SaslConfig,
    meter: Arc<Meter>,
}

/// A connection that is ready for requests.
pub(crate) struct Connection {
    pub address: String,
    pub versions: Versions,
    /// When the broker will close it unless we log in again.
    pub expires_at: Option<Instant>,
    /// Grows while bytes move.
    pub moved: Arc<AtomicU64>,
    reader: FrameReader,
    writer: FrameWriter,
}

/// The receiving half.
pub(crate) struct FrameReader {
    half: ReadHalf<Box<dyn Stream>>,
    buffer: BytesMut,
    chunk: Box<[u8]>,
}

/// The sending half.
pub(crate) struct FrameWriter {
    half: WriteHalf<Box<dyn Stream>>,
    correlation: i32,
}

/// What a broker speaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The newest version both sides know, not above `max`.
    pub fn pick<M: Request>(&self, max: i16) -> Option<i16> {
        let (_, low, high) = self.0.iter().find(|(key, ..)| *key == M::KEY as i16)?;
        let version = (*high).min(M::VERSIONS.1).min(max);
        (version >= (*low).max(M::VERSIONS.0)).then_some(version)
    }
}

impl Dialer {
    pub fn new(tls: &TlsConfig, sasl: &SaslConfig, meter: Arc<Meter>) -> Self {
        let tls = tls.enabled.then(|| tls::Tls::new(tls.clone()));
        Self {
            tls,
            sasl: sasl.clone(),
            meter,
        }
    }

    /// Connects, and logs in.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Connection, ConnectError> {
        let address = format!("{host}:{port}");
        let at = |stage: Stage| {
            let address = address.clone();
            move |reason: String| ConnectError::new(stage, &address, reason)
        };
        let resolved = timed(resolve(host, port)).await.map_err(at(Stage::Dns))?;
        let socket = self.connect(&resolved).await.map_err(at(Stage::Tcp))?;
        if self.shows_password() && !is_here(&socket) {
            return Err(at(Stage::Sasl)(READABLE_PASSWORD.into()));
        }
        let (metered, moved) = Metered::new(socket, self.meter.clone());
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => {
                let shaken = tls.handshake(host, metered);
                Box::new(
                    timed_stage(shaken)
                        .await
                        .map_err(|(stage, why)| at(stage)(why))?,
                )
            }
            None => Box::new(metered),
        };
        let (reader, writer) = smol::io::split(stream);
        let mut connection = Connection {
            address: address.clone(),
            versions: Versions::default(),
            expires_at: None,
            moved,
            reader: FrameReader {
                half: reader,
                buffer: BytesMut::new(),
                chunk: vec![0; 16 << 10].into_boxed_slice(),
            },
            writer: FrameWriter {
                half: writer,
                correlation: 0,
            },
        };
        connection.learn_versions().await?;
        sasl::log_in(&mut connection, &self.sasl).await?;
        Ok(connection)
    }

    /// Whoever is on the way could read it.
    fn shows_password(&self) -> bool {
        self.tls.is_none() && self.sasl.mechanism == Mechanism::Plain
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            match timed(async {
                TcpStream::connect(address)
                    .await
                    .map_err(|e| plain_words(&e))
            })
            .await
            {
                Ok(stream) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The other side is this machine: a cluster for trials, or a tunnel. The configuration is checked
/// for it too, but brokers advertise whatever addresses they have.
fn is_here(socket: &TcpStream) -> bool {
    socket.peer_addr().is_ok_and(|peer| peer.ip().is_loopback())
}

/// Small requests leave at once; a peer that is gone is noticed.
fn tune(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(120));
    #[cfg(target_os = "linux")]
    let _ = sockopt::set_tcp_user_timeout(stream, ANSWER_TIMEOUT.as_millis() as u32);
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = smol::net::resolve((host, port))
        .await
        .map_err(|e| plain_words(&e))?;
    if found.is_empty() {
        Err("the name has no address".into())
    } else {
        Ok(found)
    }
}

/// An IO error without the operating system's number.
pub(crate) fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the other side".into(),
        io::ErrorKind::UnexpectedEof => "closed by the other side".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        _ => error.to_string(),
    }
}

async fn timed<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = async {
        smol::Timer::after(STAGE_TIMEOUT).await;
        Err(format!("no answer within {} s", STAGE_TIMEOUT.as_secs()))
    };
    work.or(late).await
}

async fn timed_stage<T>(
    work: impl Future<Output = Result<T, (Stage, String)>>,
) -> Result<T, (Stage, String)> {
    let late = async {
        smol::Timer::after(STAGE_TIMEOUT).await;
        Err((
            Stage::Tls,
            format!("no answer within {} s", STAGE_TIMEOUT.as_secs()),
        ))
    };
    work.or(late).await
}

impl Connection {
    /// Asks one thing and waits for the answer.
    pub async fn call<M: Request>(
        &mut self,
        version: i16,
        message: &M,
    ) -> Result<M::Response, ConnectError> {
        let address = self.address.clone();
        let protocol = |error: ProtocolError| ConnectError::new(Stage::Protocol, &address, error);
        let lost =
            |error: io::Error| ConnectError::of_request(&address, &error, plain_words(&error));
        let frame = self.writer.frame(version, message).map_err(protocol)?;
        let answer = async {
            self.writer.send(&frame).await?;
            self.reader.next().await
        };
        let frame = answer.or(late()).await.map_err(lost)?;
        let (number, response) = parse_response::<M>(version, frame).map_err(protocol)?;
        if number != self.writer.correlation {
            return Err(ConnectError::new(Stage::Protocol, &address, WRONG_ANSWER));
        }
        Ok(response)
    }

    /// The version to use for an API, or an error that says so.
    pub fn version<M: Request>(&self, max: i16) -> Result<i16, ConnectError> {
        self.versions.pick::<M>(max).ok_or_else(|| {
            let reason = format!(
                "the broker does not offer {:?} in a version we know",
                M::KEY
            );
            ConnectError::new(Stage::Protocol, &self.address, reason)
        })
    }

    /// Both halves, for requests in a pipeline.
    pub fn split(self) -> (FrameReader, FrameWriter) {
        (self.reader, self.writer)
    }

    /// The first question: what the broker speaks. Answers also whether it is a broker.
    async fn learn_versions(&mut self) -> Result<(), ConnectError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(CLIENT_ID.to_owned().into())
            .with_client_software_version(env!("CARGO_PKG_VERSION").to_owned().into());
        let address = self.address.clone();
        let odd = |reason: String| ConnectError::new(Stage::Protocol, &address, reason);
        let mut version = 3;
        loop {
            let frame = self
                .writer
                .frame(version, &request)
                .map_err(|e| odd(e.to_string()))?;
            let answer = async {
                self.writer.send(&frame).await?;
                self.reader.next().await
            };
            let frame = answer
                .or(late())
                .await
                .map_err(|error| match error.kind() {
                    io::ErrorKind::TimedOut => odd("no answer to the first request".into()),
                    _ => odd(format!("{} at the first request", plain_words(&error))),
                })?;
            // A broker that does not know our version answers in the oldest (KIP-511).
            if version > 0 && frame.get(4..6) == Some(&UNSUPPORTED_VERSION) {
                version = 0;
                continue;
            }
            let parsed = parse_response::<ApiVersionsRequest>(version, frame);
            let (_, response) = parsed.map_err(|e| odd(e.to_string()))?;
            let keys = response.api_keys.iter();
            self.versions = Versions(
                keys.map(|k| (k.api_key, k.min_version, k.max_version))
                    .collect(),
            );
            return Ok(());
        }
    }
}

async fn late<T>() -> io::Result<T> {
    smol::Timer::after(ANSWER_TIMEOUT).await;
    Err(io::ErrorKind::TimedOut.into())
}

impl FrameReader {
    /// The next frame, without its size. Dropping the future loses nothing.
    pub async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            let frame = split_frame(&mut self.buffer, FRAME_BYTES_MAX);
            let invalid = |error: ProtocolError| {
                io::Error::new(io::ErrorKind::InvalidData, error.to_string())
            };
            if let Some(frame) = frame.map_err(invalid)? {
                return Ok(frame);
            }
            match self.half.read(&mut self.chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => self.buffer.extend_from_slice(&self.chunk[..bytes]),
            }
        }
    }
}

impl FrameWriter {
    /// Encodes a request under the next correlation id.
    pub fn frame<M: Request>(
        &mut self,
        version: i16,
        message: &M,
    ) -> Result<BytesMut, ProtocolError> {
        self.correlation = self.correlation.wrapping_add(1);
        request_frame(version, self.correlation, Some(CLIENT_ID), message)
    }

    /// The number of the newest request.
    pub fn correlation(&self) -> i32 {
        self.correlation
    }

    /// Writes a whole frame.
    pub async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.half.write_all(frame).await?;
        self.half.flush().await
    }
}

#[cfg(test)]
mod tests;
