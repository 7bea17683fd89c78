//! Random packets of clients, byte by byte, all of them legal; and ways to spoil them.

use fastrand::Rng;

use super::{frame, text};
use crate::codec::packet::Version;

/// A CONNECT of either version.
pub(super) fn connect(random: &mut Rng, version: Version) -> Vec<u8> {
    let (will, user) = (random.bool(), random.bool());
    let password = random.bool() && (user || version == Version::V5);
    let mut flags = u8::from(random.bool()) << 1;
    if will {
        flags |= 0x04 | random.u8(..3) << 3 | u8::from(random.bool()) << 5;
    }
    flags |= u8::from(user) << 7 | u8::from(password) << 6;
    let mut body = text(b"MQTT");
    body.push(if version == Version::V4 { 4 } else { 5 });
    body.push(flags);
    body.extend(random.u16(..).to_be_bytes());
    let allowed = [17, 21, 23, 25, 33, 34, 38, 39];
    put_properties(random, version, &allowed, &mut body);
    body.extend(text(word(random).as_bytes()));
    if will {
        put_properties(random, version, &[1, 2, 3, 8, 9, 24, 38], &mut body);
        body.extend(text(topic(random).as_bytes()));
        body.extend(text(&bytes(random, 20)));
    }
    if user {
        body.extend(text(word(random).as_bytes()));
    }
    if password {
        body.extend(text(&bytes(random, 9)));
    }
    frame(0x10, &[&body])
}

/// Any packet that may follow.
pub(super) fn later(random: &mut Rng, version: Version) -> Vec<u8> {
    match random.u8(..8) {
        0..=2 => publish(random, version),
        3 => subscribe(random, version),
        4 => unsubscribe(random, version),
        5 => ack(random, version),
        6 => vec![0xc0, 0],
        _ => disconnect(random, version),
    }
}

fn publish(random: &mut Rng, version: Version) -> Vec<u8> {
    let qos = random.u8(..3);
    let dup = qos > 0 && random.bool();
    let first = 0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(random.bool());
    let mut body = text(topic(random).as_bytes());
    if qos > 0 {
        body.extend(random.u16(1..).to_be_bytes());
    }
    put_properties(random, version, &[1, 2, 3, 8, 9, 35, 38], &mut body);
    let length = if random.u8(..20) == 0 { 20_000 } else { 200 };
    body.extend(bytes(random, length));
    frame(first, &[&body])
}

fn subscribe(random: &mut Rng, version: Version) -> Vec<u8> {
    let mut body = random.u16(1..).to_be_bytes().to_vec();
    put_properties(random, version, &[11, 38], &mut body);
    for _ in 0..random.usize(1..4) {
        body.extend(text(filter(random).as_bytes()));
        let options = match version {
            Version::V4 => 0,
            Version::V5 => random.u8(..3) << 4 | random.u8(..4) << 2,
        };
        body.push(options | random.u8(..3));
    }
    frame(0x82, &[&body])
}

fn unsubscribe(random: &mut Rng, version: Version) -> Vec<u8> {
    let mut body = random.u16(1..).to_be_bytes().to_vec();
    put_properties(random, version, &[38], &mut body);
    for _ in 0..random.usize(1..4) {
        body.extend(text(filter(random).as_bytes()));
    }
    frame(0xa2, &[&body])
}

fn ack(random: &mut Rng, version: Version) -> Vec<u8> {
    let first = [0x40, 0x50, 0x62, 0x70][random.usize(..4)];
    let mut body = random.u16(1..).to_be_bytes().to_vec();
    if version == Version::V5 && random.bool() {
        let reasons: &[u8] = if first < 0x60 {
            &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
        } else {
            &[0, 0x92]
        };
        body.push(reasons[random.usize(..reasons.len())]);
        if random.bool() {
            put_properties(random, version, &[31, 38], &mut body);
        }
    }
    frame(first, &[&body])
}

fn disconnect(random: &mut Rng, version: Version) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V5 && random.bool() {
        let reasons = [
            0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        ];
        body.push(reasons[random.usize(..reasons.len())]);
        if random.bool() {
            put_properties(random, version, &[17, 31, 38], &mut body);
        }
    }
    frame(0xe0, &[&body])
}

/// Some of the allowed properties, each once, user properties more often; nothing in 3.1.1.
fn put_properties(random: &mut Rng, version: Version, allowed: &[u8], body: &mut Vec<u8>) {
    if version == Version::V4 {
        return;
    }
    let mut block = Vec::new();
    for id in allowed {
        let times = if *id == 38 {
            random.usize(..3)
        } else {
            usize::from(random.u8(..3) == 0)
        };
        for _ in 0..times {
            block.push(*id);
            put_value(random, *id, &mut block);
        }
    }
    let mut length = Vec::new();
    let framed = frame(0, &[&block]);
    length.extend_from_slice(&framed[1..framed.len() - block.len()]);
    body.extend(length);
    body.extend(block);
}

fn put_value(random: &mut Rng, id: u8, block: &mut Vec<u8>) {
    match id {
        1 | 23 | 25 => block.push(random.u8(..2)),
        2 | 17 | 24 => block.extend(random.u32(..).to_be_bytes()),
        3 | 21 | 31 => block.extend(text(word(random).as_bytes())),
        8 => block.extend(text(topic(random).as_bytes())),
        9 => block.extend(text(&bytes(random, 9))),
        11 => block.push(random.u8(1..128)),
        33 | 35 => block.extend(random.u16(1..).to_be_bytes()),
        34 => block.extend(random.u16(..).to_be_bytes()),
        39 => block.extend(random.u32(1..).to_be_bytes()),
        _ => {
            block.extend(text(word(random).as_bytes()));
            block.extend(text(word(random).as_bytes()));
        }
    }
}

fn word(random: &mut Rng) -> String {
    let letters = ["a", "b", "ä", "漢", "x1", "-", " ", "#", "+", "/", "$"];
    (0..random.usize(..6))
        .map(|_| letters[random.usize(..letters.len())])
        .collect()
}

pub(super) fn topic(random: &mut Rng) -> String {
    let levels = ["a", "b", "ä", "", "$SYS", "long level", "1"];
    let levels: Vec<&str> = (0..random.usize(1..5))
        .map(|_| levels[random.usize(..levels.len())])
        .collect();
    let topic = levels.join("/");
    if topic.is_empty() {
        "t".to_owned()
    } else {
        topic
    }
}

fn filter(random: &mut Rng) -> String {
    let mut filter = topic(random);
    match random.u8(..5) {
        0 => filter.push_str("/#"),
        1 => filter.insert_str(0, "+/"),
        2 => filter = "#".to_owned(),
        _ => {}
    }
    filter
}

/// Letters: the other codec looks into payloads that are announced as UTF-8.
fn bytes(random: &mut Rng, length_max: usize) -> Vec<u8> {
    (0..random.usize(..length_max))
        .map(|_| random.u8(b' '..b'~'))
        .collect()
}

/// Changes a few bytes; the remaining length is mended most of the time, so that the spoiled
/// part is what is looked at.
pub(super) fn spoil(random: &mut Rng, packet: &mut Vec<u8>) {
    let header = 2 + packet[1..].iter().take_while(|b| **b & 0x80 != 0).count();
    let (first, mut body) = (packet[0], packet[header..].to_vec());
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=body.len());
        match random.u8(..5) {
            0 => body.insert(at, random.u8(..)),
            1 if at < body.len() => drop(body.remove(at)),
            2 => body.truncate(at),
            _ if at < body.len() => body[at] = [0, 1, 0xff, b'#', random.u8(..)][random.usize(..5)],
            _ => {}
        }
    }
    let first = if random.u8(..8) == 0 {
        random.u8(..)
    } else {
        first
    };
    *packet = frame(first, &[&body]);
    if random.u8(..16) == 0 {
        packet[1] = random.u8(..);
    }
}
