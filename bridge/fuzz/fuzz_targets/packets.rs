//! One stream of bytes, read as the door reads it: CONNECT, then packets until a mistake.
//!
//! What is looked for: a panic, an endless loop, an encoder that says one length and writes
//! another. A publish that was taken is written as a subscriber gets it, in both versions, and
//! has to come out of the decoder as it went in.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../src/codec/mod.rs"]
mod codec;

use bytes::BytesMut;
use codec::packet::{Packet, Publish, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    let Some(connect) = next(&mut stream, None) else {
        return;
    };
    let Ok(connect) = codec::decode_connect(connect.0, connect.1) else {
        return;
    };
    if let Some(will) = &connect.will {
        assert!(codec::topic::level_count(&will.publish.topic) > 0);
    }
    while let Some((frame, header)) = next(&mut stream, Some(connect.version)) {
        match codec::decode(connect.version, frame, header) {
            Ok(Packet::Publish(publish)) if !publish.topic.is_empty() => deliver(publish),
            Ok(_) => {}
            Err(_) => return,
        }
    }
});

fn next(stream: &mut BytesMut, version: Option<Version>) -> Option<(BytesMut, usize)> {
    match codec::frame_bytes(stream, version, 1 << 20) {
        Ok(Some((header, length))) if length <= stream.len() => {
            Some((stream.split_to(length), header))
        }
        _ => None,
    }
}

/// The properties that only 5 has are gone in 3.1.1; an alias ends with its connection.
fn deliver(mut publish: Publish) {
    if let Some(properties) = &mut publish.properties {
        properties.topic_alias = None;
    }
    for version in [Version::V4, Version::V5] {
        let how = codec::Delivered {
            qos: publish.qos,
            pkid: publish.pkid,
            retain: publish.retain,
            dup: publish.dup,
            subscription_ids: &[],
        };
        let mut written = BytesMut::new();
        codec::encode_publish(version, &publish, how, &mut written);
        assert_eq!(written.len(), codec::publish_bytes(version, &publish, how));
        let (frame, header) = next(&mut written, Some(version)).expect("one whole packet");
        let Ok(Packet::Publish(read)) = codec::decode(version, frame, header) else {
            panic!("a publish that was written is read");
        };
        assert_eq!(
            (read.topic, read.payload),
            (publish.topic.clone(), publish.payload.clone())
        );
        if version == Version::V5 {
            assert_eq!(
                read.properties.unwrap_or_default(),
                publish.properties.clone().unwrap_or_default()
            );
        }
    }
}
