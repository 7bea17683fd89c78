//! CONNECT: checked in full, user name and password taken out.
//!
//! The codec behind reads both as UTF-8 and cannot tell an empty user name from none. So they are
//! read here, and the codec gets the packet without them.

use bytes::{BufMut, Bytes, BytesMut};

use super::packet::{Reason, Version, Violation};
use super::property;
use super::topic::check_name;
use super::walk::Walk;

const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const RESERVED: u8 = 0x01;

/// What the check found, and the packet without its login.
pub(super) struct Checked {
    pub(super) version: Version,
    pub(super) user: Option<Bytes>,
    pub(super) password: Option<Bytes>,
    pub(super) without_login: BytesMut,
}

/// Why a CONNECT is refused; without a version nothing is answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// How to write the CONNACK; `None` = this is not MQTT, close.
    pub version: Option<Version>,
    /// What is wrong.
    pub violation: Violation,
}

/// Checks the packet after its fixed header.
pub(super) fn check(body: &Bytes) -> Result<Checked, ConnectRefusal> {
    let mut walk = Walk::new(body);
    let version = version(&mut walk)?;
    rest(version, walk, body).map_err(|violation| ConnectRefusal {
        version: Some(version),
        violation,
    })
}

fn version(walk: &mut Walk) -> Result<Version, ConnectRefusal> {
    let not_mqtt = |what| ConnectRefusal {
        version: None,
        violation: Violation::malformed(what),
    };
    let name = walk.binary().map_err(|violation| ConnectRefusal {
        version: None,
        violation,
    })?;
    let level = walk.u8().map_err(|violation| ConnectRefusal {
        version: None,
        violation,
    })?;
    let unsupported = |answer_as| ConnectRefusal {
        version: Some(answer_as),
        violation: Violation {
            reason: Reason::UNSUPPORTED_VERSION,
            what: "only MQTT 3.1.1 and 5 are spoken",
        },
    };
    match (name, level) {
        (b"MQTT", 4) => Ok(Version::V4),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 0..=3) | (b"MQIsdp", _) => Err(unsupported(Version::V4)),
        (b"MQTT", _) => Err(unsupported(Version::V5)),
        _ => Err(not_mqtt("protocol name is not MQTT")),
    }
}

fn rest(version: Version, mut walk: Walk, body: &Bytes) -> Result<Checked, Violation> {
    let flags = walk.u8()?;
    check_flags(version, flags)?;
    walk.u16()?;
    if version == Version::V5 {
        property::walk(&mut walk, property::CONNECT)?;
    }
    walk.text()?;
    if flags & WILL != 0 {
        if version == Version::V5 {
            property::walk(&mut walk, property::WILL)?;
        }
        check_name(walk.text()?.as_bytes())?;
        walk.binary()?;
    }
    let login_at = body.len() - walk.left();
    let user = login(&mut walk, flags & USER != 0, body, true)?;
    let password = login(&mut walk, flags & PASSWORD != 0, body, false)?;
    if !walk.is_empty() {
        return Err(Violation::malformed("packet is longer than its content"));
    }
    let without_login = without_login(&body[..login_at]);
    Ok(Checked {
        version,
        user,
        password,
        without_login,
    })
}

fn check_flags(version: Version, flags: u8) -> Result<(), Violation> {
    if flags & RESERVED != 0 {
        return Err(Violation::malformed("reserved bit of CONNECT is set"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Violation::malformed("will flags without a will"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(Violation::malformed("QoS is 3"));
    }
    if version == Version::V4 && flags & PASSWORD != 0 && flags & USER == 0 {
        return Err(Violation::malformed("a password without a user name"));
    }
    Ok(())
}

fn login(
    walk: &mut Walk,
    present: bool,
    body: &Bytes,
    is_text: bool,
) -> Result<Option<Bytes>, Violation> {
    if !present {
        return Ok(None);
    }
    let part = if is_text {
        walk.text()?.as_bytes()
    } else {
        walk.binary()?
    };
    Ok(Some(body.slice_ref(part)))
}

/// The packet again, header included, cut before the login and with its flags cleared.
fn without_login(body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::with_capacity(body.len() + 5);
    packet.put_u8(0x10);
    put_length(&mut packet, body.len());
    let flags_at = packet.len() + 2 + usize::from(u16::from_be_bytes([body[0], body[1]])) + 1;
    packet.extend_from_slice(body);
    packet[flags_at] &= !(USER | PASSWORD);
    packet
}

/// A remaining length.
pub(super) fn put_length(buffer: &mut BytesMut, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            return buffer.put_u8(low);
        }
        buffer.put_u8(low | 0x80);
    }
}
