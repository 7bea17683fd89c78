//! A small blocking MQTT client for tests: 3.1.1 and 5, honest or hostile.
//!
//! Written against the standard and not with the gateway's codec, so that it is an opinion of its
//! own. It does nothing by itself: no pings, no retries, no acks. Used by every system test.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub const SOON: Duration = Duration::from_secs(20);

/// What a client says in CONNECT.
#[derive(Clone)]
pub struct Hello {
    pub id: String,
    /// 4 = MQTT 3.1.1, 5 = MQTT 5.
    pub version: u8,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub will: Option<(String, Vec<u8>, u8, bool)>,
    /// Version 5 only: the bytes of the properties, without their length.
    pub properties: Vec<u8>,
}

impl Hello {
    /// A clean 3.1.1 session with a keep-alive of a minute.
    pub fn v3(id: &str) -> Hello {
        let (will, properties) = (None, Vec::new());
        Hello {
            id: id.to_owned(),
            version: 4,
            clean: true,
            keep_alive_s: 60,
            will,
            properties,
        }
    }

    /// A clean MQTT 5 session with a keep-alive of a minute.
    pub fn v5(id: &str) -> Hello {
        Hello {
            version: 5,
            ..Hello::v3(id)
        }
    }

    /// Adds a will: topic, payload, QoS, retained.
    pub fn will(mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> Hello {
        self.will = Some((topic.to_owned(), payload.as_bytes().to_vec(), qos, retain));
        self
    }

    /// Asks for a session that outlives the connection.
    pub fn persistent(mut self) -> Hello {
        self.clean = false;
        self
    }

    /// The CONNECT packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut tail = string(&self.id);
        if let Some((topic, payload, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
            if self.version == 5 {
                tail.push(0);
            }
            tail.extend(string(topic));
            tail.extend((payload.len() as u16).to_be_bytes());
            tail.extend(payload);
        }
        let mut body = string("MQTT");
        body.extend([self.version, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == 5 {
            body.extend(with_length(&self.properties));
        }
        body.extend(tail);
        frame(0x10, &body)
    }
}

/// What the gateway sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connack {
        session_present: bool,
        code: u8,
        properties: Properties,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        dup: bool,
        id: u16,
    },
    Puback {
        id: u16,
        reason: u8,
        properties: Properties,
    },
    Pubrec {
        id: u16,
        reason: u8,
    },
    Pubrel {
        id: u16,
    },
    Pubcomp {
        id: u16,
    },
    Suback {
        id: u16,
        codes: Vec<u8>,
    },
    Unsuback {
        id: u16,
    },
    Pingresp,
    Disconnect {
        reason: u8,
    },
}

/// MQTT 5 properties: user properties by name, all others by number as raw bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    pub user: Vec<(String, String)>,
    pub other: Vec<(u8, Vec<u8>)>,
}

impl Properties {
    /// The value of a user property.
    pub fn user(&self, name: &str) -> Option<&str> {
        self.user
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The number in a property of one, two or four bytes.
    pub fn number(&self, id: u8) -> Option<u64> {
        let (_, bytes) = self.other.iter().find(|(i, _)| *i == id)?;
        Some(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn read(at: &mut &[u8]) -> Properties {
        let mut out = Properties::default();
        let Some(len) = take_varint(at) else {
            return out;
        };
        let (mut props, rest) = at.split_at(len);
        *at = rest;
        while let Some((id, rest)) = props.split_first() {
            props = rest;
            match id {
                0x26 => out
                    .user
                    .push((take_string(&mut props), take_string(&mut props))),
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => {
                    out.other.push((*id, take(&mut props, 1)));
                }
                0x13 | 0x21 | 0x22 | 0x23 => out.other.push((*id, take(&mut props, 2))),
                0x02 | 0x11 | 0x18 | 0x27 => out.other.push((*id, take(&mut props, 4))),
                0x0b => {
                    let n = take_varint(&mut props).expect("a subscription identifier");
                    out.other.push((*id, (n as u32).to_be_bytes().to_vec()));
                }
                _ => out.other.push((*id, take_string(&mut props).into_bytes())),
            }
        }
        out
    }
}

/// Why nothing more came.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The gateway closed the connection.
    Closed,
    /// Nothing came in time.
    Silent,
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    version: u8,
    received: Vec<u8>,
    put_back: VecDeque<Packet>,
    next_id: u16,
}

impl Client {
    /// Connects and insists on being accepted.
    pub fn connect(address: SocketAddr, hello: &Hello) -> Client {
        let (client, answer) = Client::try_connect(address, hello);
        match answer {
            Ok(Packet::Connack { code: 0, .. }) => client,
            other => panic!("{} was not accepted: {other:?}", hello.id),
        }
    }

    /// Connects and gives the answer too, whatever it is.
    pub fn try_connect(address: SocketAddr, hello: &Hello) -> (Client, Result<Packet, End>) {
        let mut client = Client::raw(address);
        let answer = client.greet(hello);
        (client, answer)
    }

    /// Says CONNECT and gives the answer.
    pub fn greet(&mut self, hello: &Hello) -> Result<Packet, End> {
        self.version = hello.version;
        self.send(&hello.packet());
        self.next(SOON)
    }

    /// Only a TCP connection.
    pub fn raw(address: SocketAddr) -> Client {
        Client::dial(address).expect("the gateway's door")
    }

    /// Only a TCP connection, if somebody listens.
    pub fn dial(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_nodelay(true)?;
        let (received, put_back) = (Vec::new(), VecDeque::new());
        Ok(Client {
            stream,
            version: 4,
            received,
            put_back,
            next_id: 0,
        })
    }

    /// The same, answered in `version`'s packets.
    pub fn speaking(mut self, version: u8) -> Client {
        self.version = version;
        self
    }

    /// The port of our end.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("our address").port()
    }

    /// Sends bytes as they are. A closed connection shows at the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a PUBLISH; the packet id is 0 at QoS 0.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> u16 {
        let id = if qos == 0 { 0 } else { self.fresh_id() };
        let packet = publish(self.version, topic, payload, qos, retain, id);
        self.send(&packet);
        id
    }

    /// Publishes at QoS 1 and waits for the PUBACK.
    pub fn publish_acked(&mut self, topic: &str, payload: &[u8]) -> Properties {
        self.send_acked(topic, payload, false)
    }

    /// The same with the retain flag.
    pub fn retain_acked(&mut self, topic: &str, payload: &[u8]) -> Properties {
        self.send_acked(topic, payload, true)
    }

    fn send_acked(&mut self, topic: &str, payload: &[u8], retain: bool) -> Properties {
        let id = self.publish(topic, payload, 1, retain);
        match self.wait(|p| matches!(p, Packet::Puback { id: i, .. } if *i == id)) {
            Packet::Puback {
                reason: 0 | 0x10,
                properties,
                ..
            } => properties,
            other => panic!("publish to {topic} was refused: {other:?}"),
        }
    }

    /// Subscribes and gives the granted codes.
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(&subscribe(self.version, id, filters));
        match self.wait(|p| matches!(p, Packet::Suback { id: i, .. } if *i == id)) {
            Packet::Suback { codes, .. } => codes,
            other => panic!("not a SUBACK: {other:?}"),
        }
    }

    /// Waits for the next PUBLISH and acknowledges it if it asks for that.
    pub fn receive(&mut self) -> (String, Vec<u8>, bool) {
        match self.wait(|p| matches!(p, Packet::Publish { .. })) {
            Packet::Publish {
                topic,
                payload,
                qos,
                retain,
                id,
                ..
            } => {
                if qos == 1 {
                    self.ack(0x40, id);
                }
                (topic, payload, retain)
            }
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }

    /// True when a ping is answered.
    pub fn is_alive(&mut self) -> bool {
        self.send(&[0xc0, 0]);
        self.try_wait(SOON, |p| *p == Packet::Pingresp).is_ok()
    }

    /// Sends an acknowledgement of two bytes: 0x40 PUBACK, 0x50 PUBREC, 0x62 PUBREL, 0x70 PUBCOMP.
    pub fn ack(&mut self, first: u8, id: u16) {
        let id = id.to_be_bytes();
        self.send(&[first, 2, id[0], id[1]]);
    }

    /// Leaves politely.
    pub fn disconnect(mut self) {
        self.send(&[0xe0, 0]);
    }

    /// Waits for a packet that fits; others stay for later.
    pub fn wait(&mut self, fits: impl Fn(&Packet) -> bool) -> Packet {
        self.try_wait(SOON, fits)
            .unwrap_or_else(|end| panic!("the packet did not come: {end:?}"))
    }

    /// The same for at most `time`.
    pub fn try_wait(
        &mut self,
        time: Duration,
        fits: impl Fn(&Packet) -> bool,
    ) -> Result<Packet, End> {
        if let Some(i) = self.put_back.iter().position(&fits) {
            return Ok(self.put_back.remove(i).expect("it was found"));
        }
        let until = Instant::now() + time;
        loop {
            let packet = self.read(until)?;
            if fits(&packet) {
                return Ok(packet);
            }
            self.put_back.push_back(packet);
        }
    }

    /// The next packet, whatever it is.
    pub fn next(&mut self, time: Duration) -> Result<Packet, End> {
        match self.put_back.pop_front() {
            Some(packet) => Ok(packet),
            None => self.read(Instant::now() + time),
        }
    }

    /// Waits until the gateway closes and gives the packets that came before.
    pub fn until_closed(&mut self, time: Duration) -> Result<Vec<Packet>, End> {
        let until = Instant::now() + time;
        let mut out: Vec<Packet> = self.put_back.drain(..).collect();
        loop {
            match self.read(until) {
                Ok(packet) => out.push(packet),
                Err(End::Closed) => return Ok(out),
                Err(End::Silent) => return Err(End::Silent),
            }
        }
    }

    fn read(&mut self, until: Instant) -> Result<Packet, End> {
        loop {
            if let Some((first, body, rest)) = split_frame(&self.received) {
                let packet = decode(self.version, first, body);
                let used = self.received.len() - rest.len();
                self.received.drain(..used);
                return Ok(packet);
            }
            let left = until.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(wait))
                .expect("a socket option");
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if left.is_zero() {
                        return Err(End::Silent);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
    }

    fn fresh_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}

/// A PUBLISH packet.
pub fn publish(
    version: u8,
    topic: &str,
    payload: &[u8],
    qos: u8,
    retain: bool,
    id: u16,
) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend(payload);
    frame(0x30 | qos << 1 | u8::from(retain), &body)
}

/// A SUBSCRIBE packet.
pub fn subscribe(version: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        body.extend(string(filter));
        body.push(*qos);
    }
    frame(0x82, &body)
}

/// A frame: first byte, length, body.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(with_length(body));
    out
}

/// A string with its length before it.
pub fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

/// Bytes with their variable-length length before them.
pub fn with_length(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes.len());
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    out.extend(bytes);
    out
}

/// The first frame of a stream: first byte, body, and what follows.
pub fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let len = take_varint(&mut rest)?;
    (rest.len() >= len).then(|| (*first, &rest[..len], &rest[len..]))
}

fn decode(version: u8, first: u8, body: &[u8]) -> Packet {
    let v5 = version == 5;
    let id = || u16::from_be_bytes([body[0], body[1]]);
    let reason = || body.get(2).copied().unwrap_or(0);
    match first >> 4 {
        2 => {
            let properties = if v5 {
                Properties::read(&mut &body[2..])
            } else {
                <_>::default()
            };
            Packet::Connack {
                session_present: body[0] & 1 == 1,
                code: body[1],
                properties,
            }
        }
        3 => decode_publish(v5, first, body),
        4 => {
            let properties = body.get(3..).map(|mut b| Properties::read(&mut b));
            let properties = properties.unwrap_or_default();
            Packet::Puback {
                id: id(),
                reason: reason(),
                properties,
            }
        }
        5 => Packet::Pubrec {
            id: id(),
            reason: reason(),
        },
        6 => Packet::Pubrel { id: id() },
        7 => Packet::Pubcomp { id: id() },
        9 => {
            let mut rest = &body[2..];
            if v5 {
                Properties::read(&mut rest);
            }
            Packet::Suback {
                id: id(),
                codes: rest.to_vec(),
            }
        }
        11 => Packet::Unsuback { id: id() },
        13 => Packet::Pingresp,
        14 => Packet::Disconnect {
            reason: body.first().copied().unwrap_or(0),
        },
        other => panic!("a gateway never sends packet type {other}"),
    }
}

fn decode_publish(v5: bool, first: u8, body: &[u8]) -> Packet {
    let mut rest = body;
    let topic = take_string(&mut rest);
    let qos = first >> 1 & 3;
    let id = if qos > 0 {
        take(&mut rest, 2)
    } else {
        vec![0, 0]
    };
    if v5 {
        Properties::read(&mut rest);
    }
    let (retain, dup) = (first & 1 == 1, first & 8 == 8);
    let id = u16::from_be_bytes([id[0], id[1]]);
    Packet::Publish {
        topic,
        payload: rest.to_vec(),
        qos,
        retain,
        dup,
        id,
    }
}

fn take(at: &mut &[u8], n: usize) -> Vec<u8> {
    let (out, rest) = at.split_at(n);
    *at = rest;
    out.to_vec()
}

fn take_string(at: &mut &[u8]) -> String {
    let len = take(at, 2);
    let len = u16::from_be_bytes([len[0], len[1]]);
    String::from_utf8(take(at, len.into())).expect("a string in UTF-8")
}

fn take_varint(at: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for i in 0..4 {
        let byte = *at.get(i)?;
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *at = &at[i + 1..];
            return Some(value);
        }
    }
    None
}
