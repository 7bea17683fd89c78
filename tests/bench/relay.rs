//! A TCP relay that makes a link of this machine: it adds a round trip and counts bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

/// Chunks under way in one direction; 64 MB, more than any link here holds.
const CHUNKS_MAX: usize = 1_024;
const CHUNK_BYTES: usize = 64 << 10;

/// A running relay; it ends with the process.
#[derive(Debug, Clone)]
pub struct Relay {
    bytes: Arc<AtomicU64>,
}

impl Relay {
    /// Listens on `port` and passes everything to `to`; `round_trip` is split between both ways.
    pub fn start(port: u16, to: SocketAddr, round_trip: Duration) -> io::Result<Relay> {
        let bytes = Arc::new(AtomicU64::new(0));
        let listener = smol::block_on(TcpListener::bind(("127.0.0.1", port)))?;
        let relay = Relay {
            bytes: bytes.clone(),
        };
        smol::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bytes = bytes.clone();
                smol::spawn(async move {
                    // One side closing ends both.
                    let _ = pass(stream, to, round_trip / 2, bytes).await;
                })
                .detach();
            }
        })
        .detach();
        Ok(relay)
    }

    /// Bytes passed so far, both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn pass(
    from: TcpStream,
    to: SocketAddr,
    delay: Duration,
    bytes: Arc<AtomicU64>,
) -> io::Result<()> {
    let to = TcpStream::connect(to).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let forth = one_way(from.clone(), to.clone(), delay, bytes.clone());
    let back = one_way(to, from, delay, bytes);
    smol::future::or(forth, back).await
}

async fn one_way(
    from: TcpStream,
    to: TcpStream,
    delay: Duration,
    bytes: Arc<AtomicU64>,
) -> io::Result<()> {
    let (sender, receiver) = bounded(CHUNKS_MAX);
    smol::future::or(read(from, sender, delay, bytes), write(to, receiver)).await
}

async fn read(
    mut from: TcpStream,
    sender: Sender<(Instant, Vec<u8>)>,
    delay: Duration,
    bytes: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        let due = Instant::now() + delay;
        if sender.send((due, chunk[..count].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut to: TcpStream, receiver: Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    while let Ok((due, chunk)) = receiver.recv().await {
        if due > Instant::now() {
            Timer::at(due).await;
        }
        to.write_all(&chunk).await?;
    }
    Ok(())
}
