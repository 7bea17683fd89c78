//! MQTT's bytes: frame first, check strictly, decode, encode.
//!
//! ```text
//! socket ─▶ frame_bytes ─▶ guard ─▶ rumqttd::protocol ─▶ Packet
//! socket ◀──────────────── encode_for / encode_publish ◀─ Reply, Publish
//! ```
//!
//! The only module that names `rumqttd`, so that the codec can be exchanged. It decides nothing
//! about sessions and never reads a clock or a socket.

mod connect;
mod decode;
mod encode;
mod guard;
pub(crate) mod packet;
mod property;
pub(crate) mod topic;
mod walk;

pub(crate) use connect::ConnectRefusal;
pub(crate) use decode::{decode, decode_connect};
pub(crate) use encode::{Delivered, encode_for, encode_publish, publish_bytes};
pub(crate) use guard::frame_bytes;

#[cfg(test)]
mod tests;
