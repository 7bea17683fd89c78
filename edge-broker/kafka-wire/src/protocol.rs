//! Kafka's protocol messages behind one facade.
//!
//! The structs are those of `kacrab-protocol` (generated from Kafka's own schemas) under Kafka's
//! names; nobody outside this folder names that crate. `Produce` requests and `Fetch` responses,
//! which carry megabytes of batches, are written by hand.
//!
//! A client encodes with [`request_frame`] and decodes with [`parse_response`]; a server takes
//! [`parse_request_header`], then [`Message::decode`] of the API it names, and answers with
//! [`response_frame`]. Sockets, retries and version negotiation belong to the callers; frames are
//! cut by [`split_frame`].

mod error;
mod error_code;
mod fetch;
mod frame;
mod messages;
mod primitives;
mod produce;

pub use error::ProtocolError;
pub use error_code::ErrorCode;
pub use frame::{
    RequestHeader, parse_request_header, parse_response, request_frame, response_frame, split_frame,
};
pub use kacrab_protocol::generated::ApiKey;
pub use kacrab_protocol::{KafkaString, KafkaUuid};
pub use messages::*;
