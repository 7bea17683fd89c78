//! Frames as both ends see them, and what a hostile end may send.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{RequestHeader as Theirs, ResponseHeader as TheirResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion, decode_request_header_from_buffer};

use super::*;
use crate::protocol::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    SaslHandshakeRequest,
};

fn cut(mut frame: BytesMut) -> Bytes {
    let whole = split_frame(&mut frame, 1 << 20).unwrap().unwrap();
    assert!(frame.is_empty());
    whole
}

#[test]
fn the_other_library_reads_our_request_header() {
    for version in 0..=13 {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        let mut frame = cut(request_frame(version, -7, Some("kü"), &request).unwrap());
        let theirs: Theirs = decode_request_header_from_buffer(&mut frame.clone()).unwrap();
        assert_eq!(
            (theirs.request_api_key, theirs.request_api_version),
            (3, version)
        );
        assert_eq!(
            (theirs.correlation_id, theirs.client_id.unwrap().as_str()),
            (-7, "kü")
        );
        let ours = parse_request_header(&mut frame).unwrap();
        assert_eq!(
            (ours.correlation_id, ours.client_id.unwrap().as_str()),
            (-7, "kü")
        );
        assert_eq!(MetadataRequest::decode(&mut frame, version), Ok(request));
        assert!(frame.is_empty());
    }
}

#[test]
fn the_other_library_reads_our_response_header() {
    for version in 0..=13 {
        let response = MetadataResponse {
            controller_id: -1,
            ..MetadataResponse::default()
        };
        let frame = cut(response_frame::<MetadataRequest>(version, 5, &response).unwrap());
        let header = kafka_protocol::messages::MetadataResponse::header_version(version);
        let theirs = TheirResponseHeader::decode(&mut frame.clone(), header).unwrap();
        assert_eq!(theirs.correlation_id, 5);
        assert_eq!(
            parse_response::<MetadataRequest>(version, frame),
            Ok((5, response))
        );
    }
}

#[test]
fn api_versions_is_answered_with_a_plain_header_in_every_version() {
    for version in 0..=4 {
        let response = ApiVersionsResponse::default();
        let frame = cut(response_frame::<ApiVersionsRequest>(version, 6, &response).unwrap());
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        assert_eq!(frame[4..], body[..], "no tag byte in version {version}");
        assert_eq!(
            parse_response::<ApiVersionsRequest>(version, frame),
            Ok((6, response))
        );
    }
}

#[test]
fn api_versions_of_an_unknown_version_shows_its_correlation_id() {
    let mut frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff]);
    let header = parse_request_header(&mut frame).unwrap();
    assert_eq!(
        (header.api_version, header.correlation_id, header.client_id),
        (99, 8, None)
    );
}

#[test]
fn a_client_without_a_name_is_no_error() {
    let request = SaslHandshakeRequest::default();
    let mut frame = cut(request_frame(1, 0, None, &request).unwrap());
    assert_eq!(parse_request_header(&mut frame).unwrap().client_id, None);
}

#[test]
fn frames_are_cut_as_they_arrive() {
    let request = MetadataRequest::default();
    let one = request_frame(9, 1, None, &request).unwrap();
    let two = request_frame(9, 2, None, &request).unwrap();
    let all = [&one[..], &two[..]].concat();
    let mut buffer = BytesMut::new();
    let mut ids = Vec::new();
    for byte in all {
        buffer.put_u8(byte);
        while let Some(mut frame) = split_frame(&mut buffer, 100).unwrap() {
            ids.push(parse_request_header(&mut frame).unwrap().correlation_id);
        }
    }
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_size_beyond_the_limit_is_refused_before_anything_is_buffered() {
    for size in [101, i32::MAX, -1, i32::MIN] {
        let mut buffer = BytesMut::from(&size.to_be_bytes()[..]);
        let expected = ProtocolError::FrameSize {
            size: i64::from(size),
            frame_bytes_max: 100,
        };
        assert_eq!(split_frame(&mut buffer, 100), Err(expected));
    }
}
