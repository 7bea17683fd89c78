//! One device: publishes at its pace, keeps what is unacknowledged, repeats it after a reconnect.
//!
//! It behaves as MQTT 3.1.1 §4.4 wants of a client that must not lose anything: a message leaves
//! its memory with its PUBACK and not before. Started by `stage`; writes into the `Book`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use super::book::{AckTimes, Book, device_name, device_topic};
use super::mqtt::{self, Packet};

/// Unacknowledged messages a device keeps; then it publishes nothing new.
const OUTSTANDING_MAX: usize = 1_000;
const RECONNECT: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Without any answer for so long a device tries a new connection.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often a device looks up when it has nothing to send.
const LOOK_UP: Duration = Duration::from_millis(50);
const KEEP_ALIVE_S: u16 = 60;

/// What all devices share.
#[derive(Debug, Clone)]
pub struct Field {
    /// The MQTT door.
    pub address: SocketAddr,
    /// Their book.
    pub book: Arc<Mutex<Book>>,
    /// Nothing new is published any more.
    pub stopped: Arc<AtomicBool>,
    /// Between two messages of one device.
    pub interval: Duration,
}

impl Field {
    /// The book; never to be held across an await.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// A message that went out and is not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    n: u32,
    packet_id: u16,
    sent_at: Instant,
}

/// One device.
pub struct Device {
    number: usize,
    field: Field,
    topic: String,
    outstanding: VecDeque<Outstanding>,
    next_packet_id: u16,
    next_due: Instant,
}

impl Device {
    /// A device whose first message is due at `first_due`.
    pub fn new(number: usize, field: Field, first_due: Instant) -> Device {
        Device {
            number,
            field,
            topic: device_topic(number),
            outstanding: VecDeque::new(),
            next_packet_id: 1,
            next_due: first_due,
        }
    }

    /// Publishes until the field is stopped and everything sent is acknowledged.
    pub async fn run(mut self) {
        while !self.done() {
            // Whatever ends a connection, the answer is a new one.
            let _ = self.connection().await;
            Timer::after(RECONNECT).await;
        }
    }

    fn done(&self) -> bool {
        self.field.stopped() && self.outstanding.is_empty()
    }

    async fn connection(&mut self) -> io::Result<()> {
        let mut stream = or(TcpStream::connect(self.field.address), async {
            Timer::after(CONNECT_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await?;
        stream.set_nodelay(true)?;
        let mut out = Vec::new();
        mqtt::connect(&mut out, &device_name(self.number), KEEP_ALIVE_S);
        stream.write_all(&out).await?;
        out.clear();
        let mut inbox = Inbox::default();
        match inbox.read(&mut stream, CONNECT_TIMEOUT).await? {
            Some(Packet::ConnAck(0)) => {}
            other => return Err(io::Error::other(format!("instead of a welcome: {other:?}"))),
        }
        let connected_at = Instant::now();
        let mut heard_at = connected_at;
        self.repeat_all(&mut out, connected_at);
        while !self.done() {
            self.publish_due(&mut out, Instant::now());
            if !out.is_empty() {
                stream.write_all(&out).await?;
                out.clear();
            }
            if let Some(packet) = inbox.read(&mut stream, self.pause()).await? {
                heard_at = Instant::now();
                self.take(packet, connected_at, heard_at);
                while let Some(packet) = inbox.next()? {
                    self.take(packet, connected_at, heard_at);
                }
            }
            if !self.outstanding.is_empty() && heard_at.elapsed() > SILENCE_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        mqtt::disconnect(&mut out);
        stream.write_all(&out).await
    }

    /// After a reconnect, in the old order (MQTT 3.1.1 §4.6).
    fn repeat_all(&mut self, out: &mut Vec<u8>, now: Instant) {
        let mut book = self.field.book();
        for message in &mut self.outstanding {
            let payload = book.repeat(self.number, message.n);
            mqtt::publish(out, &self.topic, &payload, message.packet_id, true);
            message.sent_at = now;
        }
    }

    fn publish_due(&mut self, out: &mut Vec<u8>, now: Instant) {
        while self.next_due <= now
            && self.outstanding.len() < OUTSTANDING_MAX
            && !self.field.stopped()
        {
            self.next_due += self.field.interval;
            let (n, payload) = self.field.book().write(self.number);
            let packet_id = self.next_packet_id;
            self.next_packet_id = packet_id.checked_add(1).unwrap_or(1);
            mqtt::publish(out, &self.topic, &payload, packet_id, false);
            self.outstanding.push_back(Outstanding {
                n,
                packet_id,
                sent_at: now,
            });
        }
    }

    /// How long to listen before there is something to send.
    fn pause(&self) -> Duration {
        if self.outstanding.len() >= OUTSTANDING_MAX || self.field.stopped() {
            return LOOK_UP;
        }
        self.next_due
            .saturating_duration_since(Instant::now())
            .min(LOOK_UP)
    }

    fn take(&mut self, packet: Packet, connected_at: Instant, now: Instant) {
        let Packet::PubAck(packet_id) = packet else {
            return;
        };
        let same = |message: &Outstanding| message.packet_id == packet_id;
        let Some(message) = self.outstanding.iter().position(same) else {
            return; // of nothing that is waited for
        };
        if let Some(Outstanding { n, sent_at, .. }) = self.outstanding.remove(message) {
            let times = AckTimes {
                connected_at,
                sent_at,
                now,
            };
            self.field.book().ack(self.number, n, times);
        }
    }
}

/// Bytes read and not yet taken apart.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    /// The next packet; none when nothing came within `patience`. Safe to drop at any time.
    async fn read(
        &mut self,
        stream: &mut TcpStream,
        patience: Duration,
    ) -> io::Result<Option<Packet>> {
        if let Some(packet) = self.next()? {
            return Ok(Some(packet));
        }
        let mut chunk = [0; 4096];
        let read = or(async { stream.read(&mut chunk).await.map(Some) }, async {
            Timer::after(patience).await;
            Ok(None)
        });
        match read.await? {
            None => Ok(None),
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => {
                self.bytes.extend_from_slice(&chunk[..count]);
                self.next()
            }
        }
    }

    fn next(&mut self) -> io::Result<Option<Packet>> {
        let unexpected = |mqtt::Unexpected(kind)| {
            let text = format!("packet no gateway may send to a device: 0x{kind:02x}");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let Some((packet, length)) = mqtt::split(&self.bytes).map_err(unexpected)? else {
            return Ok(None);
        };
        self.bytes.drain(..length);
        Ok(Some(packet))
    }
}
