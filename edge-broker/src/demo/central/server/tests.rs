//! A client on a socket, and an uplink that is cut under it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kafka_wire::protocol::{ApiVersionsRequest, parse_response, request_frame};

use super::StandIn;
use crate::demo::uplink::{State, Uplink};

fn started() -> (StandIn, Uplink) {
    let uplink = Uplink::new();
    let stand_in = smol::block_on(StandIn::start(uplink.clone())).unwrap();
    (stand_in, uplink)
}

fn connect(stand_in: &StandIn) -> TcpStream {
    let stream = TcpStream::connect(stand_in.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    stream
}

/// Asks for the versions; whether they came.
fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let request = ApiVersionsRequest::default();
    stream.write_all(&request_frame(0, 9, None, &request).unwrap())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    let (id, _) = parse_response::<ApiVersionsRequest>(0, frame.into()).unwrap();
    assert_eq!(id, 9);
    Ok(())
}

#[test]
fn a_black_hole_swallows_requests_and_its_end_closes_connections() {
    let (stand_in, uplink) = started();
    let mut stream = connect(&stand_in);
    ask(&mut stream).unwrap();
    uplink.set(State::BlackHole);
    let error = ask(&mut stream).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
        "{error}"
    );
    uplink.set(State::Up);
    assert!(ask(&mut stream).is_err(), "closed");
    ask(&mut connect(&stand_in)).unwrap();
}

#[test]
fn a_refusal_closes_old_connections_and_new_ones() {
    let (stand_in, uplink) = started();
    let mut stream = connect(&stand_in);
    ask(&mut stream).unwrap();
    uplink.set(State::Refused);
    assert!(ask(&mut stream).is_err());
    assert!(ask(&mut connect(&stand_in)).is_err());
    uplink.set(State::Up);
    ask(&mut connect(&stand_in)).unwrap();
}

#[test]
fn bytes_that_are_no_request_close_only_their_connection() {
    let (stand_in, _uplink) = started();
    let mut other = connect(&stand_in);
    let mut stream = connect(&stand_in);
    stream.write_all(&[0xFF; 64]).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    ask(&mut other).unwrap();
}
