//! One stream of bytes, read as the door reads it: CONNECT, then packets until a mistake.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../src/codec/mod.rs"]
mod codec;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    let Some(connect) = next(&mut stream, None) else { return };
    let Ok(connect) = codec::decode_connect(connect.0, connect.1) else { return };
    while let Some((frame, header)) = next(&mut stream, Some(connect.version)) {
        if codec::decode(connect.version, frame, header).is_err() {
            return;
        }
    }
});

fn next(
    stream: &mut BytesMut,
    version: Option<codec::packet::Version>,
) -> Option<(BytesMut, usize)> {
    match codec::frame_bytes(stream, version, 1 << 20) {
        Ok(Some((header, length))) if length <= stream.len() => {
            Some((stream.split_to(length), header))
        }
        _ => None,
    }
}
