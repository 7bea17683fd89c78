//! The whole door over real sockets, on a site in a temporary folder.
//!
//! The language is in `client`: `Door::open()`, `door.client("dev7")`, `client.publish(…)`.
#![allow(clippy::unwrap_used)]

pub(crate) mod client;
mod delivery;
mod intake;
mod limits;
mod memory;
mod retained;
mod room;
mod topics;
mod will;
