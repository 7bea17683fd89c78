//! A small TCP relay that adds a round trip, so that a local broker stands at the end of a WAN.

use std::time::{Duration, Instant};

use smol::{
    channel::bounded,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Chunks under way per direction: enough for 25 MB/s at 100 ms.
const CHUNKS_MAX: usize = 512;

/// Relays `listen` to `target`; each byte takes half of `round_trip` in each direction.
pub async fn run(listen: &str, target: String, round_trip: Duration) {
    let listener = TcpListener::bind(listen).await.unwrap();
    smol::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let target = target.clone();
            smol::spawn(async move {
                let Ok(far) = TcpStream::connect(&target).await else {
                    return;
                };
                let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
                let there = copy(near.clone(), far.clone(), round_trip / 2);
                let back = copy(far, near, round_trip / 2);
                smol::future::zip(there, back).await;
            })
            .detach();
        }
    })
    .detach();
}

async fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = bounded::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reading = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..bytes].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Ok((due, bytes)) = receiver.recv().await {
            smol::Timer::at(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.close().await;
    };
    smol::future::zip(reading, writing).await;
}
