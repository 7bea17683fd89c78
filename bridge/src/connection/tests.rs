//! A connection without a socket: what its task leaves behind when a mistake of ours ends it.
#![allow(clippy::unwrap_used)]

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use smol::future::FutureExt;
use smol::io::{AsyncRead, AsyncWrite};

use super::{Connection, unpinned};
use crate::codec::packet::{
    Connect, ConnectProperties, Publish, PublishProperties, QoS, Version, Will,
};
use crate::hub::lock;
use crate::retained::Judgement;
use crate::session::{Limits, Session};
use crate::tests::client::{Door, publish, subscribe};

/// A stream that brings some bytes and then panics in its reader.
struct Broken(Vec<u8>);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.0.is_empty(), "a mistake of ours");
        let bytes = std::mem::take(&mut self.0);
        into[..bytes.len()].copy_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, from: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn with_will(id: &'static str) -> Connect {
    let publish = Publish {
        topic: Bytes::from_static(b"state"),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        ..Default::default()
    };
    Connect {
        version: Version::V4,
        client_id: Bytes::from_static(id.as_bytes()),
        clean: true,
        keep_alive_s: 60,
        will: Some(Will {
            delay_s: 0,
            publish,
        }),
        user: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_task_that_panics_leaves_nothing_behind_but_its_will() {
    let door = Door::open();
    let mut watcher = door.client("watcher");
    watcher.subscribe("state", 1);
    smol::block_on(door.bridge.publish("else", "x".into(), Vec::new(), true)).unwrap();
    let hub = door.bridge.hub.clone();
    let (connect, begun) = (with_will("dev7"), Instant::now());
    let registered = smol::block_on(hub.register(&connect.client_id)).unwrap();
    let session = Session::open(connect, None, Limits::of(&hub.config.mqtt), hub.now_ms());
    let received = [
        subscribe(4, 1, "a/#", 1),
        subscribe(4, 2, "b", 0),
        publish(4, 0x33, "kept", 3, b"x"),
        publish(4, 0x30, "half a packet", 0, &[b'x'; 500])[..200].to_vec(),
    ];
    let stream = Broken(received.concat());
    let connection = Connection::new(hub.clone(), stream, session, registered, BytesMut::new());
    let ended = smol::block_on(AssertUnwindSafe(connection.run()).catch_unwind());
    assert!(ended.is_err(), "it did not panic");

    assert_eq!(door.bridge.stats().subscriptions, 1);
    assert_eq!(watcher.message().2, "gone");
    soon("its id is free", || door.bridge.stats().connected == 1);
    soon("its memory is given back", || {
        hub.site.memory().doors().bytes() == 0
    });
    // A publish that never ends would keep compaction from ever passing it.
    let topic = Bytes::from_static(b"kept");
    soon("its retained publish has ended", || {
        lock(&hub.retained).judge(&topic, 1) == Judgement::Live
    });
    door.client("dev7").expect_alive();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "it was waited for"
    );
}

/// A slice of what was read would keep all of it in memory, for a few bytes of it.
#[test]
fn a_message_that_is_kept_is_a_copy() {
    let read = Bytes::from(vec![b'x'; 1000]);
    let publish = Publish {
        topic: read.slice(..1),
        payload: read.slice(1..2),
        properties: Some(Box::new(PublishProperties {
            correlation_data: Some(read.slice(2..3)),
            ..Default::default()
        })),
        ..Default::default()
    };
    let kept = unpinned(&publish, &Bytes::new());
    assert_eq!(kept.publish, publish);
    drop(publish);
    assert!(read.is_unique());

    let mut connect = with_will("dev7");
    if let Some(will) = &mut connect.will {
        will.publish.topic = read.slice(..5);
        will.publish.payload = read.slice(5..9);
    }
    let mut session = Session::open(connect, None, Limits::of(&Default::default()), 0);
    assert!(read.is_unique());
    assert_eq!(session.take_will().unwrap().topic, "xxxxx");
}

/// A stream whose client is quiet until it is told to ping.
#[derive(Clone, Default)]
struct Pinging(Arc<AtomicBool>);

impl AsyncRead for Pinging {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.0.swap(false, Ordering::Relaxed) {
            true => {
                into[..2].copy_from_slice(&[0xc0, 0]);
                Poll::Ready(Ok(2))
            }
            false => Poll::Pending,
        }
    }
}

impl AsyncWrite for Pinging {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, from: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A gateway that stood still closed all who had pinged meanwhile, and sent their wills.
#[test]
fn who_pinged_while_the_gateway_stood_still_was_not_silent() {
    let door = Door::open();
    let hub = door.bridge.hub.clone();
    let mut connect = with_will("dev7");
    connect.keep_alive_s = 1;
    let registered = smol::block_on(hub.register(&connect.client_id)).unwrap();
    let session = Session::open(connect, None, Limits::of(&hub.config.mqtt), hub.now_ms());
    let stream = Pinging::default();
    let mut connection = Connection::new(hub, stream.clone(), session, registered, BytesMut::new());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(connection.poll(&mut cx).is_pending());
    stream.0.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(1600));
    assert!(connection.poll(&mut cx).is_pending(), "closed for silence");
    std::thread::sleep(Duration::from_millis(1600));
    assert!(connection.poll(&mut cx).is_ready(), "this time it was");
}
