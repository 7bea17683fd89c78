//! Frames: 4 bytes of size, a header, a message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kacrab_protocol::version::{request_header_version, response_header_version};

use super::primitives::{Reader, Writer};
use super::{ApiKey, KafkaString, Message, ProtocolError, Request};

/// What precedes every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for; `ApiKey::from_i16` names it.
    pub api_key: i16,
    /// The version the body is in.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<KafkaString>,
}

/// A whole request, size included, ready for the socket.
///
/// # Errors
/// For versions the API does not have and strings longer than their length field.
pub fn request_frame<M: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    message: &M,
) -> Result<BytesMut, ProtocolError> {
    let client_id = client_id.map(|name| KafkaString::from(name.to_owned()));
    let body_bytes = message.encoded_len(version)?;
    let name_bytes = client_id.as_ref().map_or(0, KafkaString::len);
    let mut frame = BytesMut::with_capacity(REQUEST_HEADER_BYTES + name_bytes + body_bytes);
    frame.put_i32(0);
    frame.put_i16(M::KEY as i16);
    frame.put_i16(version);
    frame.put_i32(correlation_id);
    // Not compact in any version.
    Writer {
        bytes: &mut frame,
        flexible: false,
    }
    .nullable_string(client_id.as_ref())?;
    if request_header_version(M::KEY as i16, version) >= 2 {
        frame.put_u8(0);
    }
    message.encode(&mut frame, version)?;
    finish(frame)
}

/// Reads the header of a request whose size is already cut off; `frame` then starts at the body.
///
/// For an `ApiVersions` of an unknown version only the fixed part is read, so that the server can
/// answer it (KIP-511); the rest of such a frame has no meaning.
///
/// # Errors
/// When the bytes do not follow the schema.
pub fn parse_request_header(frame: &mut Bytes) -> Result<RequestHeader, ProtocolError> {
    if frame.len() < 8 {
        return Err(ProtocolError::Malformed(
            "request header is cut short".to_owned(),
        ));
    }
    let (api_key, api_version) = (frame.get_i16(), frame.get_i16());
    let correlation_id = frame.get_i32();
    let mut header = RequestHeader {
        api_key,
        api_version,
        correlation_id,
        client_id: None,
    };
    if api_key == ApiKey::ApiVersions as i16 && !(0..=4).contains(&api_version) {
        return Ok(header);
    }
    header.client_id = Reader::new(frame, false).nullable_string()?;
    if request_header_version(api_key, api_version) >= 2 {
        Reader::new(frame, true).skip_tags()?;
    }
    Ok(header)
}

/// A whole response to a request `M` of `version`, size included, ready for the socket.
///
/// # Errors
/// For versions the API does not have and strings longer than their length field.
pub fn response_frame<M: Request>(
    version: i16,
    correlation_id: i32,
    message: &M::Response,
) -> Result<BytesMut, ProtocolError> {
    let body_bytes = message.encoded_len(version)?;
    let mut frame = BytesMut::with_capacity(RESPONSE_HEADER_BYTES + body_bytes);
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    if response_header_version(M::KEY as i16, version) >= 1 {
        frame.put_u8(0);
    }
    message.encode(&mut frame, version)?;
    finish(frame)
}

/// Reads a response to a request `M` of `version`, its size already cut off: correlation id and
/// message.
///
/// # Errors
/// When the bytes do not follow the schema.
pub fn parse_response<M: Request>(
    version: i16,
    mut frame: Bytes,
) -> Result<(i32, M::Response), ProtocolError> {
    if frame.len() < 4 {
        return Err(ProtocolError::Malformed(
            "response header is cut short".to_owned(),
        ));
    }
    let correlation_id = frame.get_i32();
    if response_header_version(M::KEY as i16, version) >= 1 {
        Reader::new(&mut frame, true).skip_tags()?;
    }
    Ok((correlation_id, M::Response::decode(&mut frame, version)?))
}

/// Takes one frame off what a socket has brought, without its size; `None` while it is incomplete.
///
/// # Errors
/// When the announced size is negative or above `frame_bytes_max`, before anything is buffered.
pub fn split_frame(
    buffer: &mut BytesMut,
    frame_bytes_max: usize,
) -> Result<Option<Bytes>, ProtocolError> {
    let Some(size) = buffer
        .first_chunk::<4>()
        .map(|size| i32::from_be_bytes(*size))
    else {
        return Ok(None);
    };
    let wanted = usize::try_from(size)
        .ok()
        .filter(|size| *size <= frame_bytes_max);
    let Some(size) = wanted else {
        return Err(ProtocolError::FrameSize {
            size: i64::from(size),
            frame_bytes_max,
        });
    };
    if buffer.len() < 4 + size {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(size).freeze()))
}

fn finish(mut frame: BytesMut) -> Result<BytesMut, ProtocolError> {
    let size = frame.len() - 4;
    let Ok(announced) = i32::try_from(size) else {
        let frame_bytes_max = i32::MAX as usize;
        return Err(ProtocolError::FrameSize {
            size: size as i64,
            frame_bytes_max,
        });
    };
    frame[..4].copy_from_slice(&announced.to_be_bytes());
    Ok(frame)
}

const REQUEST_HEADER_BYTES: usize = 4 + 8 + 2 + 1;
const RESPONSE_HEADER_BYTES: usize = 4 + 4 + 1;

#[cfg(test)]
mod tests;
