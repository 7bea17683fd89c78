//! MQTT 5 properties: which belong to which packet, what values they may have, how often.

use super::packet::{Reason, Violation};
use super::walk::Walk;

/// Properties allowed in one kind of packet, as bits of their numbers.
#[derive(Clone, Copy)]
pub(super) struct Allowed(u64);

impl Allowed {
    const fn of(ids: &[u8]) -> Allowed {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= 1 << ids[at];
            at += 1;
        }
        Allowed(bits)
    }

    fn has(self, id: u32) -> bool {
        id < 64 && self.0 & (1 << id) != 0
    }
}

/// User properties of one packet. Each takes twenty times its smallest form once it is decoded.
const USER_COUNT_MAX: usize = 1000;

const USER: u32 = 38;
const SUBSCRIPTION_ID: u32 = 11;

/// CONNECT.
pub(super) const CONNECT: Allowed = Allowed::of(&[17, 21, 22, 23, 25, 33, 34, 38, 39]);
/// A will.
pub(super) const WILL: Allowed = Allowed::of(&[1, 2, 3, 8, 9, 24, 38]);
/// PUBLISH from a client: no subscription identifier (§3.3.4-6).
pub(super) const PUBLISH: Allowed = Allowed::of(&[1, 2, 3, 8, 9, 35, 38]);
/// PUBACK, PUBREC, PUBREL, PUBCOMP.
pub(super) const ACK: Allowed = Allowed::of(&[31, 38]);
/// SUBSCRIBE.
pub(super) const SUBSCRIBE: Allowed = Allowed::of(&[11, 38]);
/// UNSUBSCRIBE.
pub(super) const UNSUBSCRIBE: Allowed = Allowed::of(&[38]);
/// DISCONNECT from a client: no server reference.
pub(super) const DISCONNECT: Allowed = Allowed::of(&[17, 31, 38]);

/// What the guard itself wants to know of the properties it walked over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    bits: u64,
}

impl Seen {
    pub(super) fn has(self, id: u8) -> bool {
        self.bits & (1 << id) != 0
    }
}

/// Walks over a property block, its length included.
pub(super) fn walk(packet: &mut Walk, allowed: Allowed) -> Result<Seen, Violation> {
    let length = packet.varint()?;
    let mut properties = packet.part(length as usize)?;
    let mut seen = Seen::default();
    let mut users = 0;
    while !properties.is_empty() {
        let id = properties.varint()?;
        if !allowed.has(id) {
            return Err(unexpected(id));
        }
        if seen.bits & (1 << id) != 0 && id != USER {
            return Err(Violation::protocol("a property comes twice"));
        }
        seen.bits |= 1 << id;
        users += usize::from(id == USER);
        if users > USER_COUNT_MAX {
            return Err(Violation::quota("more than 1000 user properties"));
        }
        value(&mut properties, id)?;
    }
    if seen.has(22) && !seen.has(21) {
        return Err(Violation::protocol("authentication data without a method"));
    }
    Ok(seen)
}

/// Known properties in the wrong packet are protocol errors, unknown ones are malformed (§2.2.2.2).
fn unexpected(id: u32) -> Violation {
    match id {
        SUBSCRIPTION_ID => Violation::protocol("a subscription identifier does not belong there"),
        1..=3 | 8 | 9 | 17..=19 | 21..=26 | 28 | 31 | 33..=42 => {
            Violation::protocol("a property does not belong into this packet")
        }
        _ => Violation::malformed("there is no property of that number"),
    }
}

fn value(walk: &mut Walk, id: u32) -> Result<(), Violation> {
    match id {
        1 | 23 | 25 => flag(walk),
        2 | 17 | 24 => walk.u32().map(drop),
        3 | 21 | 31 => walk.text().map(drop),
        8 => response_topic(walk),
        9 | 22 => walk.binary().map(drop),
        SUBSCRIPTION_ID => not_zero(walk.varint()?, "subscription identifier is 0"),
        33 => not_zero(walk.u16()?.into(), "receive maximum is 0"),
        34 => walk.u16().map(drop),
        35 => topic_alias(walk),
        USER => {
            walk.text()?;
            walk.text().map(drop)
        }
        39 => not_zero(walk.u32()?, "maximum packet size is 0"),
        _ => Err(unexpected(id)),
    }
}

fn flag(walk: &mut Walk) -> Result<(), Violation> {
    if walk.u8()? > 1 {
        return Err(Violation::protocol(
            "a property that is 0 or 1 has another value",
        ));
    }
    Ok(())
}

fn not_zero(value: u32, what: &'static str) -> Result<(), Violation> {
    if value == 0 {
        return Err(Violation::protocol(what));
    }
    Ok(())
}

fn response_topic(walk: &mut Walk) -> Result<(), Violation> {
    let topic = walk.text()?;
    if topic.is_empty() || topic.bytes().any(|b| b == b'+' || b == b'#') {
        return Err(Violation::protocol(
            "response topic is empty or has wildcards",
        ));
    }
    Ok(())
}

fn topic_alias(walk: &mut Walk) -> Result<(), Violation> {
    if walk.u16()? == 0 {
        return Err(Violation {
            reason: Reason::TOPIC_ALIAS_INVALID,
            what: "topic alias is 0",
        });
    }
    Ok(())
}
