//! Facts about a conversation, told with packets in and packets out.
#![allow(clippy::unwrap_used)]
