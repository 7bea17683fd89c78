//! Tests of the codec.
#![allow(clippy::unwrap_used)]
