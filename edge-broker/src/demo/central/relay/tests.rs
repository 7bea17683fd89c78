//! A relay in front of the stand-in.

use kafka_wire::protocol::{MetadataRequest, MetadataResponse, parse_response, request_frame};
use smol::io::AsyncWriteExt;
use smol::net::TcpStream;

use super::{Frames, Relays};
use crate::demo::central::server::StandIn;
use crate::demo::uplink::Uplink;

#[test]
fn answers_about_brokers_name_relays_and_others_pass_unchanged() {
    smol::block_on(async {
        let stand_in = StandIn::start(Uplink::new()).await.unwrap();
        let relays = Relays::new(Uplink::new());
        let relay = relays.to(&stand_in.address().to_string()).unwrap();
        let mut stream = TcpStream::connect(relay).await.unwrap();
        let request = request_frame(9, 3, None, &MetadataRequest::default()).unwrap();
        stream.write_all(&request).await.unwrap();
        let frame = Frames::default().next(&mut stream).await.unwrap().unwrap();
        let (id, response): (i32, MetadataResponse) =
            parse_response::<MetadataRequest>(9, frame).unwrap();
        assert_eq!(id, 3);
        assert_eq!(response.brokers[0].host.as_str(), relay.ip().to_string());
        assert_eq!(response.brokers[0].port, i32::from(relay.port()));
        assert_eq!(
            relays.to(&stand_in.address().to_string()).unwrap(),
            relay,
            "the same again"
        );
    });
}
