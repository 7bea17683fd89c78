//! Every message in every version, byte for byte against `kafka-protocol`: what we write it reads
//! and writes again as the same bytes, and what it writes we read as the same message.
#![allow(clippy::unwrap_used)]

mod samples;

use std::fmt::Debug;

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

use super::*;
use samples::Sampler;

const SEEDS: u64 = 30;

/// Checks one message type in every version both libraries have.
fn agree<Ours, Theirs>(versions: (i16, i16), sample: impl Fn(&mut Sampler) -> Ours)
where
    Ours: Message + PartialEq + Debug,
    Theirs: TheirMessage + Encodable + Decodable,
{
    let first = versions.0.max(Theirs::VERSIONS.min);
    let last = versions.1.min(Theirs::VERSIONS.max);
    assert!(first <= last);
    for version in first..=last {
        for seed in 0..SEEDS {
            let ours = sample(&mut Sampler::new(version, seed));
            same_bytes_in_both::<_, Theirs>(&ours, version);
        }
    }
}

fn same_bytes_in_both<Ours, Theirs>(ours: &Ours, version: i16)
where
    Ours: Message + PartialEq + Debug,
    Theirs: Encodable + Decodable,
{
    let mut written = BytesMut::new();
    ours.encode(&mut written, version).unwrap();
    let written = written.freeze();
    assert_eq!(
        ours.encoded_len(version),
        Ok(written.len()),
        "version {version} {ours:?}"
    );

    let mut rest = written.clone();
    let theirs = Theirs::decode(&mut rest, version).unwrap();
    assert!(
        rest.is_empty(),
        "version {version}: they leave {rest:?} of {ours:?}"
    );
    let mut again = BytesMut::new();
    theirs.encode(&mut again, version).unwrap();
    assert_eq!(again, written, "version {version} {ours:?}");

    let mut rest = again.freeze();
    assert_eq!(
        &Ours::decode(&mut rest, version).unwrap(),
        ours,
        "version {version}"
    );
    assert!(rest.is_empty(), "version {version}: we leave {rest:?}");
}

/// One test per API: request and response.
macro_rules! agreement {
    ($($fact:ident: $request:ident, $response:ident;)*) => {$(
        #[test]
        fn $fact() {
            let versions = $request::VERSIONS;
            agree::<$request, theirs::$request>(versions, samples::Sample::sample);
            agree::<$response, theirs::$response>(versions, samples::Sample::sample);
        }
    )*};
}

agreement! {
    api_versions_agrees: ApiVersionsRequest, ApiVersionsResponse;
    metadata_agrees: MetadataRequest, MetadataResponse;
    produce_agrees: ProduceRequest, ProduceResponse;
    fetch_agrees: FetchRequest, FetchResponse;
    list_offsets_agrees: ListOffsetsRequest, ListOffsetsResponse;
    init_producer_id_agrees: InitProducerIdRequest, InitProducerIdResponse;
    create_topics_agrees: CreateTopicsRequest, CreateTopicsResponse;
    describe_configs_agrees: DescribeConfigsRequest, DescribeConfigsResponse;
    find_coordinator_agrees: FindCoordinatorRequest, FindCoordinatorResponse;
    sasl_handshake_agrees: SaslHandshakeRequest, SaslHandshakeResponse;
    sasl_authenticate_agrees: SaslAuthenticateRequest, SaslAuthenticateResponse;
}

#[test]
fn a_version_an_api_does_not_have_is_named() {
    let refused = Message::encoded_len(&MetadataRequest::default(), 14);
    assert_eq!(
        refused,
        Err(ProtocolError::UnsupportedVersion {
            api_key: 3,
            version: 14
        })
    );
    let refused = MetadataRequest::decode(&mut Bytes::new(), -1);
    assert_eq!(
        refused,
        Err(ProtocolError::UnsupportedVersion {
            api_key: 3,
            version: -1
        })
    );
}

#[test]
fn the_versions_table_is_that_of_the_codec() {
    fn check<M: Request>() {
        let (first, last) = M::VERSIONS;
        let info = wire::client_api_info(M::KEY);
        assert_eq!(
            (info.min_version, info.max_version),
            (first, last),
            "{:?}",
            M::KEY
        );
    }
    check::<ApiVersionsRequest>();
    check::<MetadataRequest>();
    check::<ProduceRequest>();
    check::<FetchRequest>();
    check::<ListOffsetsRequest>();
    check::<InitProducerIdRequest>();
    check::<CreateTopicsRequest>();
    check::<DescribeConfigsRequest>();
    check::<FindCoordinatorRequest>();
    check::<SaslHandshakeRequest>();
    check::<SaslAuthenticateRequest>();
}

#[test]
fn a_generated_message_above_its_limit_is_refused_unread() {
    let mut body = Bytes::from(vec![0; REQUEST_BYTES_MAX + 1]);
    let refused = MetadataRequest::decode(&mut body, 0);
    assert!(
        matches!(refused, Err(ProtocolError::FrameSize { .. })),
        "{refused:?}"
    );
    assert_eq!(body.len(), REQUEST_BYTES_MAX + 1);
}
