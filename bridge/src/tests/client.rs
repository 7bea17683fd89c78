//! A door on a temporary site, and a client that speaks MQTT byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use edge_site::{Record, Site, SiteConfig};

use crate::{Bridge, BridgeConfig, ListenerConfig, start};

/// A running door with its site.
pub(crate) struct Door {
    pub(crate) site: Site,
    pub(crate) bridge: Bridge,
    folder: Option<tempfile::TempDir>,
}

impl Door {
    pub(crate) fn open() -> Door {
        Door::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut BridgeConfig)) -> Door {
        Door::reopen(tempfile::tempdir().unwrap(), change)
    }

    pub(crate) fn reopen(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut BridgeConfig),
    ) -> Door {
        let mut config = Door::config();
        change(&mut config);
        Door::on_site(folder, SiteConfig::default(), config)
    }

    pub(crate) fn config() -> BridgeConfig {
        let mut config = BridgeConfig::default();
        config.mqtt.listener = vec![ListenerConfig {
            address: "127.0.0.1:0".to_owned(),
            ..Default::default()
        }];
        config
    }

    pub(crate) fn on_site(
        folder: tempfile::TempDir,
        site_config: SiteConfig,
        config: BridgeConfig,
    ) -> Door {
        let (site, _) = Site::open(folder.path(), site_config).unwrap();
        let bridge = smol::block_on(start(config, site.clone())).unwrap();
        Door {
            site,
            bridge,
            folder: Some(folder),
        }
    }

    /// Stops everything and gives the folder back.
    pub(crate) fn close(mut self) -> tempfile::TempDir {
        self.folder.take().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.bridge.addresses()[0].0
    }

    /// A 3.1.1 client with a clean session.
    pub(crate) fn client(&self, id: &str) -> Client {
        let mut client = self.socket();
        client.send(&connect_v4(id, 60));
        client.expect(&[0x20, 2, 0, 0]);
        client
    }

    /// A client of MQTT 5; reads its CONNACK.
    pub(crate) fn client_v5(&self, id: &str) -> Client {
        let mut client = self.socket();
        client.version = 5;
        client.send(&connect_v5(id, &[]));
        let connack = client.packet();
        assert_eq!(&connack[..1], [0x20]);
        assert_eq!(connack[3], 0, "{connack:02x?}");
        client
    }

    pub(crate) fn socket(&self) -> Client {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            version: 4,
            pkid: 0,
        }
    }

    /// All records of a topic, committed by now.
    pub(crate) fn records(&self, topic: &str) -> Vec<Record> {
        let Some(topic) = self.site.topics().get(topic).cloned() else {
            return Vec::new();
        };
        let partition = topic.partition(0);
        let marks = self.site.marks(partition).unwrap();
        let mut records = Vec::new();
        let mut at = marks.start;
        while at < marks.committed_end {
            let batches = smol::block_on(self.site.read(partition, at, 1 << 20)).unwrap();
            for batch in &batches {
                let all = batch.records(1 << 26).unwrap().map(Result::unwrap);
                records.extend(all.filter(|(offset, _)| *offset >= at).map(|(_, r)| r));
            }
            at = batches.last().unwrap().next_offset();
        }
        records
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        smol::block_on(async {
            self.bridge.stop().await;
            self.site.stop().await;
        });
    }
}

/// A socket that speaks MQTT.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) version: u8,
    pkid: u16,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next bytes are these.
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected, "{bytes:02x?} is not {expected:02x?}");
    }

    /// One whole packet, header included.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.try_packet().expect("a packet before the end")
    }

    /// One whole packet; `None` = the other side closed.
    pub(crate) fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 2];
        match self.stream.read_exact(&mut packet) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no packet within the timeout")
            }
            Err(_) => return None,
        }
        let mut length = usize::from(packet[1] & 0x7f);
        let mut shift = 7;
        while packet[packet.len() - 1] & 0x80 != 0 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            packet.push(byte[0]);
        }
        let header = packet.len();
        packet.resize(header + length, 0);
        self.stream.read_exact(&mut packet[header..]).unwrap();
        Some(packet)
    }

    /// The other side closes without another word.
    pub(crate) fn expect_closed(&mut self) {
        let packet = self.try_packet();
        assert!(packet.is_none(), "{packet:02x?} instead of the end");
    }

    /// Nothing comes for a while.
    pub(crate) fn expect_silence(&mut self, ms: u64) {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(ms)))
            .unwrap();
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        assert!(read.is_err(), "{read:?} {byte:02x?} instead of silence");
        self.stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
    }

    /// Still there: answers a ping.
    pub(crate) fn expect_alive(&mut self) {
        self.send(&[0xc0, 0]);
        self.expect(&[0xd0, 0]);
    }

    pub(crate) fn next_pkid(&mut self) -> u16 {
        self.pkid += 1;
        self.pkid
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) {
        let pkid = self.next_pkid();
        self.send(&publish(
            self.version,
            0x32,
            topic,
            pkid,
            payload.as_bytes(),
        ));
        let ack = self.packet();
        assert_eq!(
            (ack[0], &ack[2..4]),
            (0x40, &pkid.to_be_bytes()[..]),
            "{ack:02x?}"
        );
    }

    /// Publishes with these flags in the first byte and waits for nothing.
    pub(crate) fn throw(&mut self, first: u8, topic: &str, payload: &str) {
        let pkid = if first & 6 == 0 { 0 } else { self.next_pkid() };
        self.send(&publish(
            self.version,
            first,
            topic,
            pkid,
            payload.as_bytes(),
        ));
    }

    /// Subscribes and waits for the acknowledgement.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let pkid = self.next_pkid();
        self.send(&subscribe(self.version, pkid, filter, qos));
        let ack = self.packet();
        assert_eq!(ack[0], 0x90);
        assert_eq!(*ack.last().unwrap(), qos.min(1), "{ack:02x?}");
    }

    /// The next message: flags, topic, payload. Acknowledges it where it wants that.
    pub(crate) fn message(&mut self) -> (u8, String, String) {
        let packet = self.packet();
        self.take_message(&packet)
    }

    /// The next message, if one comes within a moment.
    pub(crate) fn message_within(&mut self, ms: u64) -> Option<(u8, String, String)> {
        let timeout = |ms| Some(Duration::from_millis(ms));
        self.stream.set_read_timeout(timeout(ms)).unwrap();
        let is_there = self.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        self.stream.set_read_timeout(timeout(5000)).unwrap();
        is_there.then(|| self.message())
    }

    /// What a PUBLISH says; acknowledges it where it wants that.
    pub(crate) fn take_message(&mut self, packet: &[u8]) -> (u8, String, String) {
        assert_eq!(packet[0] >> 4, 3, "{packet:02x?} is no PUBLISH");
        let header = 1 + packet[1..].iter().take_while(|b| **b & 0x80 != 0).count() + 1;
        let length = usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
        let mut at = header + 2 + length;
        let topic = String::from_utf8(packet[header + 2..at].to_vec()).unwrap();
        if packet[0] & 6 != 0 {
            let ack = [0x40, 2, packet[at], packet[at + 1]];
            self.send(&ack);
            at += 2;
        }
        if self.version == 5 {
            at += 1 + usize::from(packet[at]);
        }
        (
            packet[0] & 0x0f,
            topic,
            String::from_utf8_lossy(&packet[at..]).into_owned(),
        )
    }
}

pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}

/// A packet from its first byte and body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn connect_v4(id: &str, keep_alive_s: u16) -> Vec<u8> {
    connect(4, 2, keep_alive_s, &[text(id.as_bytes())].concat())
}

/// CONNECT of 3.1.1 with these flags and payload.
pub(crate) fn connect(level: u8, flags: u8, keep_alive_s: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(b"MQTT");
    body.extend_from_slice(&[level, flags]);
    body.extend_from_slice(&keep_alive_s.to_be_bytes());
    body.extend_from_slice(payload);
    frame(0x10, &body)
}

pub(crate) fn connect_v5(id: &str, properties: &[u8]) -> Vec<u8> {
    let payload = [&[properties.len() as u8], properties, &text(id.as_bytes())].concat();
    connect(5, 2, 60, &payload)
}

pub(crate) fn publish(version: u8, first: u8, topic: &str, pkid: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic.as_bytes());
    if first & 6 != 0 {
        body.extend_from_slice(&pkid.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    frame(first, &body)
}

pub(crate) fn subscribe(version: u8, pkid: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = pkid.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(&text(filter.as_bytes()));
    body.push(options);
    frame(0x82, &body)
}
