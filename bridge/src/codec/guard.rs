//! The strict check that stands before `rumqttd::protocol`.
//!
//! That codec is fast and lax: it takes half of what the standard forbids, and two packet types
//! panic in it. So a packet is framed here first, every byte of it is walked over by the rules of
//! MQTT 3.1.1 and 5, and only a packet that is right in full is handed on.

use super::packet::{Reason, Version, Violation};
use super::property;
use super::topic::{check_filter_for, check_name, shared};
use super::walk::{LONG, Walk};

/// Filters of one packet. Each takes twenty times its smallest form once it is decoded.
const FILTER_COUNT_MAX: usize = 10_000;

const TOO_LARGE: Violation = Violation {
    reason: Reason::PACKET_TOO_LARGE,
    what: "packet is larger than allowed",
};

/// Length of the first packet in `buffer`, header included; `None` while that is not known yet.
///
/// Refuses what no client may send, and what is larger than `bytes_max`, before it is read.
pub(crate) fn frame_bytes(
    buffer: &[u8],
    version: Option<Version>,
    bytes_max: usize,
) -> Result<Option<(usize, usize)>, Violation> {
    let Some(first) = buffer.first() else {
        return Ok(None);
    };
    check_first_byte(*first, version)?;
    let mut remaining = 0_usize;
    for (at, byte) in buffer[1..].iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let header = at + 2;
            // 3.1.1 does not forbid it.
            if *byte == 0 && at > 0 && version == Some(Version::V5) {
                return Err(Violation::malformed(LONG));
            }
            if header + remaining > bytes_max {
                return Err(TOO_LARGE);
            }
            return Ok(Some((header, header + remaining)));
        }
    }
    if buffer.len() > 4 {
        return Err(Violation::malformed(
            "remaining length has more than four bytes",
        ));
    }
    Ok(None)
}

/// Type and flags of a packet; `None` = nothing but CONNECT may come yet.
fn check_first_byte(first: u8, version: Option<Version>) -> Result<(), Violation> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    let Some(version) = version else {
        return match (kind, flags) {
            (1, 0) => Ok(()),
            (1, _) => Err(Violation::malformed("flags of the packet type are wrong")),
            _ => Err(Violation::protocol("the first packet is not CONNECT")),
        };
    };
    let expected = match kind {
        3 => return check_publish_flags(flags),
        1 => return Err(Violation::protocol("a second CONNECT")),
        4 | 5 | 7 | 12 | 14 => 0,
        6 | 8 | 10 => 2,
        15 if version == Version::V5 => {
            let what = "enhanced authentication is not supported";
            return Err(Violation {
                reason: Reason::BAD_AUTHENTICATION_METHOD,
                what,
            });
        }
        0 | 15 => return Err(Violation::malformed("there is no packet of that type")),
        _ => {
            return Err(Violation::protocol(
                "only a server sends packets of that type",
            ));
        }
    };
    if flags != expected {
        return Err(Violation::malformed("flags of the packet type are wrong"));
    }
    Ok(())
}

fn check_publish_flags(flags: u8) -> Result<(), Violation> {
    match flags & 0b0110 {
        0b0110 => Err(Violation::malformed("QoS is 3")),
        0 if flags & 0b1000 != 0 => Err(Violation::malformed("DUP is set at QoS 0")),
        _ => Ok(()),
    }
}

/// Checks one whole packet that is not CONNECT; `body` is what follows the fixed header.
pub(super) fn check(version: Version, first: u8, body: &[u8]) -> Result<(), Violation> {
    let mut walk = Walk::new(body);
    match first >> 4 {
        3 => return publish(version, first, walk),
        4..=7 => ack(version, first >> 4, &mut walk)?,
        8 => subscribe(version, &mut walk)?,
        10 => unsubscribe(version, &mut walk)?,
        12 => {}
        14 => disconnect(version, &mut walk)?,
        _ => return Err(Violation::protocol("packet of a type that is not expected")),
    }
    if walk.is_empty() {
        Ok(())
    } else {
        Err(Violation::malformed("packet is longer than its content"))
    }
}

fn publish(version: Version, first: u8, mut walk: Walk) -> Result<(), Violation> {
    let topic = walk.binary()?;
    if std::str::from_utf8(topic).is_err() {
        return Err(Violation::malformed("a text is not UTF-8"));
    }
    if first & 0b0110 != 0 {
        packet_id(&mut walk)?;
    }
    let mut alias = false;
    if version == Version::V5 {
        alias = property::walk(&mut walk, property::PUBLISH)?.has(35);
    }
    if topic.is_empty() && alias {
        return Ok(());
    }
    check_name(topic)
}

fn packet_id(walk: &mut Walk) -> Result<u16, Violation> {
    match walk.u16()? {
        0 => Err(Violation::protocol("packet id is 0")),
        pkid => Ok(pkid),
    }
}

fn ack(version: Version, kind: u8, walk: &mut Walk) -> Result<(), Violation> {
    packet_id(walk)?;
    if version == Version::V4 || walk.is_empty() {
        return Ok(());
    }
    let reason = walk.u8()?;
    let known = match kind {
        4 | 5 => matches!(
            reason,
            0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        ),
        _ => matches!(reason, 0x00 | 0x92),
    };
    if !known {
        return Err(Violation::malformed(
            "acknowledgement has a reason code that does not exist",
        ));
    }
    if walk.is_empty() {
        return Ok(());
    }
    property::walk(walk, property::ACK).map(drop)
}

fn subscribe(version: Version, walk: &mut Walk) -> Result<(), Violation> {
    packet_id(walk)?;
    if version == Version::V5 {
        property::walk(walk, property::SUBSCRIBE)?;
    }
    if walk.is_empty() {
        return Err(Violation::protocol("SUBSCRIBE without a filter"));
    }
    let mut count = 0;
    while !walk.is_empty() {
        check_count(&mut count)?;
        let filter = walk.text()?;
        check_filter_for(version, filter)?;
        subscribe_options(version, walk.u8()?, shared(filter).is_some())?;
    }
    Ok(())
}

fn subscribe_options(version: Version, options: u8, shared: bool) -> Result<(), Violation> {
    if options & 0b11 == 3 {
        return Err(Violation::malformed("QoS is 3"));
    }
    let reserved = match version {
        Version::V4 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(Violation::malformed(
            "reserved bits of a subscription are set",
        ));
    }
    if options & 0b0011_0000 == 0b0011_0000 {
        return Err(Violation::protocol("retain handling is 3"));
    }
    if shared && options & 0b100 != 0 {
        return Err(Violation::protocol("No Local on a shared subscription"));
    }
    Ok(())
}

fn unsubscribe(version: Version, walk: &mut Walk) -> Result<(), Violation> {
    packet_id(walk)?;
    if version == Version::V5 {
        property::walk(walk, property::UNSUBSCRIBE)?;
    }
    if walk.is_empty() {
        return Err(Violation::protocol("UNSUBSCRIBE without a filter"));
    }
    let mut count = 0;
    while !walk.is_empty() {
        check_count(&mut count)?;
        check_filter_for(version, walk.text()?)?;
    }
    Ok(())
}

fn check_count(filters: &mut usize) -> Result<(), Violation> {
    *filters += 1;
    if *filters > FILTER_COUNT_MAX {
        return Err(Violation::quota("more than 10000 filters in one packet"));
    }
    Ok(())
}

fn disconnect(version: Version, walk: &mut Walk) -> Result<(), Violation> {
    if version == Version::V4 || walk.is_empty() {
        return Ok(());
    }
    let known = matches!(
        walk.u8()?,
        0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99
    );
    if !known {
        return Err(Violation::malformed(
            "DISCONNECT has a reason code that no client may send",
        ));
    }
    if walk.is_empty() {
        return Ok(());
    }
    property::walk(walk, property::DISCONNECT).map(drop)
}
