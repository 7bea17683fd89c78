//! The whole door over real sockets, on a site in a temporary folder.
#![allow(clippy::unwrap_used)]
