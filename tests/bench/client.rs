//! An MQTT 3.1.1 connection for the load: open, subscribe, and packets taken apart without copies.

use std::io;
use std::net::SocketAddr;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

/// Connects and waits for the welcome.
pub async fn connect(address: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut out = vec![0x10, (12 + client_id.len()) as u8];
    out.extend_from_slice(b"\0\x04MQTT\x04\x02\x02\x58"); // clean session, ten minutes
    text(&mut out, client_id);
    stream.write_all(&out).await?;
    let mut welcome = [0; 4];
    stream.read_exact(&mut welcome).await?;
    if welcome != [0x20, 2, 0, 0] {
        return Err(io::Error::other(format!("not a welcome: {welcome:02x?}")));
    }
    Ok(stream)
}

/// Subscribes to one filter and waits for the answer.
pub async fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) -> io::Result<()> {
    let mut out = vec![0x82, (5 + filter.len()) as u8, 0, 1, 0, filter.len() as u8];
    out.extend_from_slice(filter.as_bytes());
    out.push(qos);
    stream.write_all(&out).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    if answer[0] != 0x90 || answer[4] > 2 {
        return Err(io::Error::other(format!("not subscribed: {answer:02x?}")));
    }
    Ok(())
}

/// Appends a PUBLISH: at QoS 1 with a packet id, at QoS 0 without.
pub fn publish(to: &mut Vec<u8>, topic: &str, payload: &[u8], packet_id: Option<u16>) {
    let id_bytes = packet_id.map_or(0, |_| 2);
    let mut length = 2 + topic.len() + id_bytes + payload.len();
    to.push(if packet_id.is_some() { 0x32 } else { 0x30 });
    while length > 0x7F {
        to.push(length as u8 & 0x7F | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    text(to, topic);
    if let Some(packet_id) = packet_id {
        to.extend_from_slice(&packet_id.to_be_bytes());
    }
    to.extend_from_slice(payload);
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u16).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// The first packet of a buffer: its first byte, its body and its whole length.
pub fn first_packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let kind = *bytes.first()?;
    let mut length = 0;
    for (at, byte) in bytes[1..].iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let start = at + 2;
            return Some((kind, bytes.get(start..start + length)?, start + length));
        }
    }
    None
}
