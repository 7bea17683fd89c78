//! One record as a line of JSON: what the gateway streams and `tail --json` prints.
//!
//! Bytes that are UTF-8 are a text; others are `{"hex": "00ff"}`. Pure.

use edge_site::Record;
use serde::{Deserialize, Serialize};

/// Bytes in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Blob {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Hex {
        /// Two digits a byte.
        hex: String,
    },
}

impl Blob {
    /// From bytes.
    pub fn new(bytes: &[u8]) -> Blob {
        match std::str::from_utf8(bytes) {
            Ok(text) => Blob::Text(text.to_owned()),
            Err(_) => Blob::Hex { hex: hex(bytes) },
        }
    }

    /// From bytes, in the shorter form: most control characters take six bytes of JSON.
    pub fn compact(bytes: &[u8]) -> Blob {
        let is_long = |byte: &&u8| **byte < b' ' && !b"\n\r\t\x08\x0c".contains(byte);
        match bytes.iter().filter(is_long).count() * 5 > bytes.len() {
            true => Blob::Hex { hex: hex(bytes) },
            false => Blob::new(bytes),
        }
    }

    /// The bytes; none where the hex is none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Blob::Text(text) => Some(text.clone().into_bytes()),
            Blob::Hex { hex } => unhex(hex),
        }
    }

    /// As it is shown on a line: text, or hex digits.
    pub fn show(&self) -> &str {
        match self {
            Blob::Text(text) => text,
            Blob::Hex { hex } => hex,
        }
    }
}

/// One record of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Name of the topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
    /// Wall clock at intake.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Blob>,
    /// Payload; null = deleted key.
    pub value: Option<Blob>,
    /// Headers in their order, duplicates kept.
    pub headers: Vec<(String, Option<Blob>)>,
}

impl Line {
    /// A record as it stands in the log.
    pub fn new(topic: &str, partition: u32, offset: i64, record: &Record) -> Line {
        let blob = |bytes: &bytes::Bytes| Blob::new(bytes);
        let header = |header: &edge_site::Header| {
            let name = String::from_utf8_lossy(&header.key).into_owned();
            (name, header.value.as_ref().map(blob))
        };
        Line {
            topic: topic.to_owned(),
            partition,
            offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_ref().map(blob),
            value: record.value.as_ref().map(blob),
            headers: record.headers.iter().map(header).collect(),
        }
    }

    /// Value of the first header of that name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name)?;
        found.1.as_ref().map(Blob::show)
    }
}

/// What the gateway streams: records, and notes about what it could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Streamed {
    /// A record.
    Record(Line),
    /// Something the reader should know, such as records gone by retention.
    Note {
        /// In words.
        note: String,
        /// Records that should be there cannot be read.
        #[serde(default)]
        failed: bool,
    },
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Blob, Line, Streamed};

    #[test]
    fn bytes_survive_json_whatever_they_are() {
        for bytes in [
            &b""[..],
            b"21.5",
            "Größe".as_bytes(),
            b"\x00\xff\xfe",
            b"{\"hex\":\"00\"}",
        ] {
            let json = serde_json::to_string(&Blob::new(bytes)).unwrap();
            let back: Blob = serde_json::from_str(&json).unwrap();
            assert_eq!(back.bytes().unwrap(), bytes);
        }
    }

    /// A megabyte of zeros was six in JSON, and refused for it.
    #[test]
    fn the_compact_form_is_at_most_about_twice_the_bytes() {
        let json = |blob: Blob| serde_json::to_string(&blob).unwrap();
        for bytes in [
            vec![0; 10_000],
            b"{\"temp\":21.5}\n".repeat(500),
            vec![b'\n'; 10_000],
        ] {
            let blob = Blob::compact(&bytes);
            assert_eq!(blob.bytes().unwrap(), bytes);
            assert!(json(blob).len() < bytes.len() * 2 + 20);
        }
        assert_eq!(
            Blob::compact(b"a\nb\nc d e"),
            Blob::Text("a\nb\nc d e".into())
        );
    }

    #[test]
    fn a_line_is_told_from_a_note() {
        let record = edge_site::Record {
            timestamp_ms: 5,
            key: None,
            value: Some(bytes::Bytes::from_static(b"x")),
            headers: Vec::new(),
        };
        let line = Line::new("mqtt", 0, 7, &record);
        let json = serde_json::to_string(&Streamed::Record(line.clone())).unwrap();
        assert_eq!(
            serde_json::from_str::<Streamed>(&json).unwrap(),
            Streamed::Record(line)
        );
        let note = serde_json::from_str::<Streamed>("{\"note\":\"gone\"}").unwrap();
        assert_eq!(
            note,
            Streamed::Note {
                note: "gone".into(),
                failed: false
            }
        );
    }
}
