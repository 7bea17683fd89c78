//! Tests of the codec: a table of mistakes, a second codec as oracle, many random frames.
#![allow(clippy::unwrap_used)]

mod differential;
mod encoder;
mod fuzz;
mod random;
mod table;

use bytes::{Bytes, BytesMut};

use super::packet::{Connect, Packet, Reason, Version, Violation};
use super::{decode, decode_connect, frame_bytes};

/// What becomes of the first packet in `bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Connect(Box<Connect>),
    Packet(Packet),
    /// More bytes are needed.
    More,
    Refused(Reason),
    /// Closed without a word.
    NoMqtt,
}

/// The first packet of a connection.
pub(super) fn first(bytes: &[u8]) -> Verdict {
    match frame_bytes(bytes, None, 1 << 20) {
        Err(violation) => Verdict::Refused(violation.reason),
        Ok(Some((header, length))) if length <= bytes.len() => {
            match decode_connect(BytesMut::from(&bytes[..length]), header) {
                Ok(connect) => Verdict::Connect(Box::new(connect)),
                Err(refusal) if refusal.version.is_none() => Verdict::NoMqtt,
                Err(refusal) => Verdict::Refused(refusal.violation.reason),
            }
        }
        Ok(_) => Verdict::More,
    }
}

/// A packet after CONNECT.
pub(super) fn later(version: Version, bytes: &[u8]) -> Verdict {
    match take(version, bytes) {
        Ok(Some(packet)) => Verdict::Packet(packet),
        Ok(None) => Verdict::More,
        Err(violation) => Verdict::Refused(violation.reason),
    }
}

fn take(version: Version, bytes: &[u8]) -> Result<Option<Packet>, Violation> {
    match frame_bytes(bytes, Some(version), 1 << 20)? {
        Some((header, length)) if length <= bytes.len() => {
            decode(version, BytesMut::from(&bytes[..length]), header).map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

/// A packet from its first byte and its body in parts.
pub(super) fn frame(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = BytesMut::from(&[first][..]);
    super::connect::put_length(&mut bytes, body.len());
    bytes.extend_from_slice(&body);
    Bytes::from(bytes).to_vec()
}
