//! A device in sixty lines: MQTT 3.1.1 over a plain socket, each message kept until its PUBACK.
//!
//! What a PUBACK means here: the message is on the gateway's disk. Start a gateway, then:
//!
//! ```text
//! cargo run --example publish_and_tail -- localhost:1883
//! edge-broker tail mqtt -n 3
//! ```

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;

const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const CONNACK: u8 = 0x20;

/// A packet with a body of less than 128 bytes: its length is then one byte.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "this example sends small packets only");
    [&[kind, body.len() as u8], body].concat()
}

/// MQTT's text: two bytes of length, then UTF-8.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn connect(client_id: &str) -> Vec<u8> {
    const LEVEL_3_1_1: u8 = 4;
    const CLEAN_SESSION: u8 = 2;
    let keep_alive_s = 30_u16.to_be_bytes();
    let head = [
        &text("MQTT")[..],
        &[LEVEL_3_1_1, CLEAN_SESSION],
        &keep_alive_s,
    ]
    .concat();
    packet(0x10, &[head, text(client_id)].concat())
}

fn publish(topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let body = [&text(topic)[..], &id.to_be_bytes(), payload.as_bytes()].concat();
    packet(PUBLISH_QOS1, &body)
}

/// Reads one packet of four bytes: CONNACK and PUBACK both are.
fn answer(socket: &mut TcpStream) -> Result<[u8; 4]> {
    let mut bytes = [0; 4];
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "localhost:1883".into());
    let mut socket = TcpStream::connect(&address)?;
    socket.write_all(&connect("press1"))?;
    let [kind, _, _, code] = answer(&mut socket)?;
    if (kind, code) != (CONNACK, 0) {
        return Err(Error::other(format!(
            "the gateway refused the connection: code {code}"
        )));
    }
    // All three leave together; the gateway stores them with one sync and acknowledges in order.
    let temperatures = ["71.3", "71.4", "71.6"];
    for (id, temperature) in (1..).zip(temperatures) {
        socket.write_all(&publish("plant/press1/temp", id, temperature))?;
    }
    for (id, temperature) in (1..).zip(temperatures) {
        let [kind, _, high, low] = answer(&mut socket)?;
        assert_eq!((kind, u16::from_be_bytes([high, low])), (PUBACK, id));
        writeln!(std::io::stdout(), "{temperature} is on the gateway's disk")?;
    }
    Ok(())
}
