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
