//! As much MQTT 3.1.1 as a small device knows: connect, publish at QoS 1, take acknowledgements.
//!
//! Written apart from the gateway's own codec, so that a mistake there is not repeated here. Pure:
//! bytes in, packets out. Used by `device`.

/// Appends a CONNECT with a clean session and without a user.
pub fn connect(to: &mut Vec<u8>, client_id: &str, keep_alive_s: u16) {
    to.push(0x10);
    remaining_length(to, 10 + 2 + client_id.len());
    text(to, "MQTT");
    to.extend_from_slice(&[4, 0x02]); // protocol level 3.1.1, clean session
    to.extend_from_slice(&keep_alive_s.to_be_bytes());
    text(to, client_id);
}

/// Appends a PUBLISH at QoS 1; `repeated` sets its DUP flag (MQTT 3.1.1 §3.3.1.1).
pub fn publish(to: &mut Vec<u8>, topic: &str, payload: &[u8], packet_id: u16, repeated: bool) {
    to.push(0x32 | u8::from(repeated) << 3);
    remaining_length(to, 2 + topic.len() + 2 + payload.len());
    text(to, topic);
    to.extend_from_slice(&packet_id.to_be_bytes());
    to.extend_from_slice(payload);
}

/// Appends a DISCONNECT.
pub fn disconnect(to: &mut Vec<u8>) {
    to.extend_from_slice(&[0xE0, 0]);
}

/// What a gateway sends to a device that only publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK; 0 = welcome.
    ConnAck(u8),
    /// PUBACK of that packet id.
    PubAck(u16),
    /// PINGRESP.
    PingResp,
}

/// Bytes that no gateway may send to this device.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub u8);

/// Takes the first packet off `bytes`: the packet and its length; none while it is incomplete.
pub fn split(bytes: &[u8]) -> Result<Option<(Packet, usize)>, Unexpected> {
    let [kind, length, body @ ..] = bytes else {
        return Ok(None);
    };
    let packet = match (kind, length, body) {
        (0x20, 2, [_, code, ..]) => Packet::ConnAck(*code),
        (0x40, 2, [high, low, ..]) => Packet::PubAck(u16::from_be_bytes([*high, *low])),
        (0xD0, 0, _) => return Ok(Some((Packet::PingResp, 2))),
        (0x20 | 0x40, 2, _) => return Ok(None),
        _ => return Err(Unexpected(*kind)),
    };
    Ok(Some((packet, 4)))
}

/// MQTT 3.1.1 §2.2.3: seven bits a byte, the lowest first.
fn remaining_length(to: &mut Vec<u8>, mut length: usize) {
    while length > 0x7F {
        to.push(length as u8 & 0x7F | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u16).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{Packet, Unexpected, connect, publish, split};

    #[test]
    fn connect_is_as_the_standard_draws_it() {
        let mut bytes = Vec::new();
        connect(&mut bytes, "d1", 30);
        assert_eq!(bytes, b"\x10\x0E\0\x04MQTT\x04\x02\0\x1E\0\x02d1");
    }

    #[test]
    fn a_repeated_publish_has_dup_and_the_same_packet_id() {
        let mut bytes = Vec::new();
        publish(&mut bytes, "a/b", b"x", 258, true);
        assert_eq!(bytes, b"\x3A\x08\0\x03a/b\x01\x02x");
    }

    #[test]
    fn a_length_over_127_takes_two_bytes() {
        let mut bytes = Vec::new();
        publish(&mut bytes, "t", &[7; 200], 1, false);
        assert_eq!(bytes[..3], [0x32, 0xCD, 0x01]);
        assert_eq!(bytes.len(), 3 + 205);
    }

    #[test]
    fn answers_are_taken_one_by_one() {
        let bytes = b"\x20\x02\0\0\x40\x02\x01\x02\xD0\0\x40\x02\0";
        assert_eq!(split(bytes), Ok(Some((Packet::ConnAck(0), 4))));
        assert_eq!(split(&bytes[4..]), Ok(Some((Packet::PubAck(258), 4))));
        assert_eq!(split(&bytes[8..]), Ok(Some((Packet::PingResp, 2))));
        assert_eq!(split(&bytes[10..]), Ok(None), "cut short");
    }

    #[test]
    fn a_publish_to_a_device_that_did_not_subscribe_is_unexpected() {
        assert_eq!(split(b"\x30\x02\0\0"), Err(Unexpected(0x30)));
    }
}
