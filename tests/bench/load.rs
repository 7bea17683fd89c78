//! The load generator: one program for every server that speaks MQTT.
//!
//! Packets are made before the clock starts; while it runs, a client only patches packet ids,
//! writes and counts. All clients run on one thread, so that the other one of a small machine
//! belongs to the server.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{LocalExecutor, Timer};

use crate::client;
use crate::histogram::Histogram;
use crate::payload::{Kind, Machine};

/// Different payloads of one client.
const VARIETY: usize = 512;
/// A load in which nothing is acknowledged for so long has failed.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What to do to a server.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Its MQTT door.
    pub address: SocketAddr,
    /// Connections.
    pub clients: usize,
    /// Unacknowledged messages of one client.
    pub window: usize,
    /// What payloads are made of.
    pub kind: Kind,
    /// Size of a payload.
    pub bytes: usize,
    /// Messages a second of all clients; none = as fast as the window allows.
    pub rate: Option<f64>,
    /// Not measured, at the beginning.
    pub warm_up: Duration,
    /// Until when.
    pub until: Until,
}

/// The end of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// After that time.
    Time(Duration),
    /// When so many messages of all clients are acknowledged.
    Count(u64),
}

impl Load {
    /// The load of the speed figures: 20 clients with a window of 64 and 256 bytes.
    pub fn full_speed(address: SocketAddr, kind: Kind, seconds: u64) -> Load {
        Load {
            address,
            clients: 20,
            window: 64,
            kind,
            bytes: 256,
            rate: None,
            warm_up: Duration::from_secs(1),
            until: Until::Time(Duration::from_secs(seconds)),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Messages acknowledged in the measured time.
    pub acked: u64,
    /// The measured time.
    pub seconds: f64,
    /// From writing a message to reading its PUBACK.
    pub latency: Histogram,
}

impl Outcome {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.acked as f64 / self.seconds.max(1e-9)
    }

    /// Median and 99th percentile in words.
    pub fn latencies(&self) -> String {
        let ms = |quantile| self.latency.quantile_us(quantile) as f64 / 1e3;
        format!("p50 {:.2} ms  p99 {:.2} ms  ", ms(0.5), ms(0.99))
    }
}

/// What clients of one run share.
struct Shared {
    load: Load,
    measuring: Cell<bool>,
    stop: Cell<bool>,
    /// Since the very start.
    acked: Cell<u64>,
    outcome: RefCell<Outcome>,
}

/// Runs a QoS 1 load and measures it.
pub fn run(load: Load) -> io::Result<Outcome> {
    let executor = Rc::new(LocalExecutor::new());
    let shared = Rc::new(Shared {
        load,
        measuring: Cell::new(load.warm_up.is_zero()),
        stop: Cell::new(false),
        acked: Cell::new(0),
        outcome: RefCell::default(),
    });
    smol::block_on(executor.run(async {
        let mut clients = Vec::new();
        for number in 0..load.clients {
            let stream = client::connect(load.address, &format!("load-{number}")).await?;
            let client = Client::new(number, shared.clone());
            clients.push(executor.spawn(client.run(stream)));
        }
        let begun = conduct(&shared).await?;
        shared.outcome.borrow_mut().seconds = begun.elapsed().as_secs_f64();
        shared.measuring.set(false);
        shared.stop.set(true);
        for client in clients {
            // The end of the load ends connections in the middle of things.
            drop(client.cancel().await);
        }
        Ok(shared.outcome.take())
    }))
}

/// Waits for the end of warming up and of the load; returns when measuring began.
async fn conduct(shared: &Shared) -> io::Result<Instant> {
    Timer::after(shared.load.warm_up).await;
    shared.measuring.set(true);
    let begun = Instant::now();
    let (mut last, mut moved_at) = (0, begun);
    loop {
        match shared.load.until {
            Until::Time(time) if begun.elapsed() >= time => return Ok(begun),
            Until::Count(count) if shared.acked.get() >= count => return Ok(begun),
            _ => {}
        }
        let acked = shared.acked.get();
        if acked != last {
            (last, moved_at) = (acked, Instant::now());
        } else if moved_at.elapsed() > STALL_MAX {
            return Err(io::Error::other(format!(
                "nothing acknowledged any more after {acked}"
            )));
        }
        Timer::after(Duration::from_millis(2)).await;
    }
}

struct Client {
    shared: Rc<Shared>,
    /// Ready packets one after the other, and where each begins and its packet id stands.
    packets: Vec<u8>,
    starts: Vec<(usize, usize)>,
    next: usize,
    sent_at: Vec<Instant>,
    in_flight: usize,
    next_id: u16,
    /// For a paced load: when the next message is due and the time between two.
    due: Instant,
    interval: Option<Duration>,
}

impl Client {
    fn new(number: usize, shared: Rc<Shared>) -> Client {
        let load = shared.load;
        let mut machine = Machine::new(load.kind, load.bytes, number as u64);
        let topic = format!("bench/c{number:03}/data");
        let (mut packets, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..VARIETY {
            let payload = machine.next();
            let start = packets.len();
            client::publish(&mut packets, &topic, &payload, Some(1));
            starts.push((start, packets.len() - payload.len() - 2));
        }
        starts.push((packets.len(), 0));
        let interval = load
            .rate
            .map(|rate| Duration::from_secs_f64(load.clients as f64 / rate));
        let now = Instant::now();
        let shift = interval
            .unwrap_or_default()
            .mul_f64(number as f64 / load.clients as f64);
        Client {
            shared,
            packets,
            starts,
            next: 0,
            sent_at: vec![now; 1 << 16],
            in_flight: 0,
            next_id: 1,
            due: now + shift,
            interval,
        }
    }

    async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut inbox = vec![0; 16 << 10];
        let mut filled = 0;
        let mut out = Vec::with_capacity(64 << 10);
        while !self.shared.stop.get() {
            self.fill(&mut out);
            if !out.is_empty() {
                stream.write_all(&out).await?;
                out.clear();
            }
            let read = or(
                async { stream.read(&mut inbox[filled..]).await.map(Some) },
                async {
                    self.pause().await;
                    Ok(None)
                },
            );
            let Some(count) = read.await? else {
                continue;
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            let taken = self.take(&inbox[..filled])?;
            inbox.copy_within(taken..filled, 0);
            filled -= taken;
        }
        Ok(())
    }

    /// Until something is due; for ever where only an acknowledgement makes room.
    async fn pause(&self) {
        match self.interval {
            Some(_) if self.in_flight < self.shared.load.window => {
                Timer::at(self.due).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// Everything the window and the pace allow.
    fn fill(&mut self, out: &mut Vec<u8>) {
        let now = Instant::now();
        while self.in_flight < self.shared.load.window {
            if let Some(interval) = self.interval {
                if self.due > now {
                    return;
                }
                self.due += interval;
            }
            let (start, id_at) = self.starts[self.next];
            let end = self.starts[self.next + 1].0;
            self.packets[id_at..id_at + 2].copy_from_slice(&self.next_id.to_be_bytes());
            out.extend_from_slice(&self.packets[start..end]);
            self.sent_at[usize::from(self.next_id)] = now;
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            self.next = (self.next + 1) % VARIETY;
            self.in_flight += 1;
        }
    }

    /// Counts acknowledgements; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = Instant::now();
        let measuring = self.shared.measuring.get();
        let mut outcome = self.shared.outcome.borrow_mut();
        let mut taken = 0;
        for packet in bytes.chunks_exact(4) {
            let [0x40, 2, high, low] = *packet else {
                return Err(io::Error::other(format!("not a PUBACK: {packet:02x?}")));
            };
            let sent_at = self.sent_at[usize::from(u16::from_be_bytes([high, low]))];
            if measuring {
                outcome.acked += 1;
                outcome
                    .latency
                    .add(now.duration_since(sent_at).as_micros() as u64);
            }
            self.in_flight = self.in_flight.saturating_sub(1);
            taken += 4;
        }
        self.shared
            .acked
            .set(self.shared.acked.get() + taken as u64 / 4);
        Ok(taken)
    }
}

/// QoS 0 from one client to another: messages delivered, of how many sent, and the time on the way.
#[derive(Debug, Default)]
pub struct Passage {
    /// Sent.
    pub sent: u64,
    /// Arrived.
    pub arrived: u64,
    /// From writing to reading.
    pub latency: Histogram,
}

/// Publishes at QoS 0 at a rate and listens on another connection.
pub fn qos0(address: SocketAddr, rate: f64, time: Duration) -> io::Result<Passage> {
    let executor = LocalExecutor::new();
    let passage = Rc::new(RefCell::new(Passage::default()));
    smol::block_on(executor.run(async {
        let mut listener = client::connect(address, "qos0-in").await?;
        client::subscribe(&mut listener, "bench/qos0/#", 0).await?;
        let mut stream = client::connect(address, "qos0-out").await?;
        let zero = Instant::now();
        let listening = executor.spawn(listen(listener, zero, passage.clone()));
        let mut out = Vec::new();
        let mut due = zero;
        while zero.elapsed() < time {
            Timer::at(due).await;
            due += Duration::from_secs_f64(1.0 / rate);
            let stamp = format!("{:020}", zero.elapsed().as_micros());
            client::publish(&mut out, "bench/qos0/a", stamp.as_bytes(), None);
            stream.write_all(&out).await?;
            out.clear();
            passage.borrow_mut().sent += 1;
        }
        Timer::after(Duration::from_millis(1_500)).await;
        listening.cancel().await;
        Ok(passage.take())
    }))
}

async fn listen(mut stream: TcpStream, zero: Instant, passage: Rc<RefCell<Passage>>) {
    let mut inbox = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count) = stream.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let now_us = zero.elapsed().as_micros() as u64;
        inbox.extend_from_slice(&chunk[..count]);
        while let Some((kind, body, length)) = client::first_packet(&inbox) {
            let stamp = body.get(body.len().saturating_sub(20)..);
            let stamp = stamp.and_then(|stamp| std::str::from_utf8(stamp).ok()?.parse().ok());
            if let (3, Some(sent_us)) = (kind >> 4, stamp) {
                let mut passage = passage.borrow_mut();
                passage.arrived += 1;
                passage.latency.add(now_us.saturating_sub(sent_us));
            }
            inbox.drain(..length);
        }
    }
}

/// How long until a server acknowledges a publish, trying again all the time.
pub fn first_ack(address: SocketAddr, patience: Duration) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut packet = Vec::new();
    client::publish(&mut packet, "bench/first", b"1", Some(1));
    smol::block_on(async {
        loop {
            let attempt = async {
                let mut stream = client::connect(address, "first").await?;
                stream.write_all(&packet).await?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await
            };
            let timeout = async {
                Timer::after(Duration::from_secs(5)).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            match or(attempt, timeout).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) if begun.elapsed() > patience => return Err(error),
                Err(_) => Timer::after(Duration::from_millis(2)).await,
            };
        }
    })
}
