//! A long answer over a real socket, read in pieces that fit no write of the other side.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use http_body_util::StreamBody;
use hyper::body::Frame;
use smol::stream::{self, StreamExt};

use super::*;

/// Enough for the socket to fill and empty many thousand times.
const ANSWER_BYTES: usize = 256 << 20;

/// A long answer that no end of a read or write falls together with.
async fn long_answer(_: Request<Incoming>) -> Response<Body> {
    let chunks = stream::repeat(Bytes::from_static(&[b'x'; 30_000])).take(ANSWER_BYTES / 30_000);
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

#[test]
fn a_long_answer_never_stops_midway() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    serve(Async::new(ours).unwrap(), &Room::default(), long_answer);
    theirs
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    theirs
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let (mut read, mut buffer) = (0, vec![0; 8 << 10]);
    loop {
        match theirs.read(&mut buffer) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) => panic!("stopped after {read} bytes: {error}"),
        }
    }
    assert!(read > ANSWER_BYTES - 30_000, "ended after {read} bytes");
}
