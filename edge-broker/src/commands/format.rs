//! `tail --format`: kcat's letters. Pure.

use crate::admin::record::{Blob, Line};

/// One piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Key,
    Payload,
    PayloadLength,
    KeyLength,
    Timestamp,
    Headers,
    MqttTopic,
}

/// A format that was read: `%t %p %o %k %s\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

impl Format {
    /// Reads a format; says which letters there are otherwise.
    pub fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => plain.push(escaped(letters.next())?),
                '%' => match piece(letters.next())? {
                    None => plain.push('%'),
                    Some(piece) => {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        pieces.push(piece);
                    }
                },
                _ => plain.push(letter),
            }
        }
        pieces.push(Piece::Text(plain));
        Ok(Format(pieces))
    }

    /// One record, as the bytes it is made of: a payload that is no UTF-8 goes out as it is.
    pub fn write(&self, line: &Line, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Topic => out.extend_from_slice(line.topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(line.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(line.offset.to_string().as_bytes()),
                Piece::Key => out.extend(bytes(line.key.as_ref())),
                Piece::Payload => out.extend(bytes(line.value.as_ref())),
                Piece::PayloadLength => {
                    out.extend_from_slice(length(line.value.as_ref()).as_bytes())
                }
                Piece::KeyLength => out.extend_from_slice(length(line.key.as_ref()).as_bytes()),
                Piece::Timestamp => out.extend_from_slice(line.timestamp_ms.to_string().as_bytes()),
                Piece::Headers => out.extend_from_slice(headers(line).as_bytes()),
                Piece::MqttTopic => {
                    out.extend_from_slice(line.header("mqtt.topic").unwrap_or("").as_bytes());
                }
            }
        }
    }
}

fn escaped(letter: Option<char>) -> Result<char, String> {
    match letter {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('\\') => Ok('\\'),
        Some('0') => Ok('\0'),
        other => Err(format!(
            "after \\ in a format: n t r 0 or \\: {}",
            shown(other)
        )),
    }
}

fn piece(letter: Option<char>) -> Result<Option<Piece>, String> {
    Ok(Some(match letter {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('K') => Piece::KeyLength,
        Some('s') => Piece::Payload,
        Some('S') => Piece::PayloadLength,
        Some('T') => Piece::Timestamp,
        Some('h') => Piece::Headers,
        Some('m') => Piece::MqttTopic,
        Some('%') => return Ok(None),
        other => {
            let shown = shown(other);
            return Err(format!(
                "after % in a format: t p o k K s S T h m or %: {shown}"
            ));
        }
    }))
}

fn shown(letter: Option<char>) -> String {
    letter.map_or_else(|| "the end".into(), |letter| letter.to_string())
}

fn bytes(blob: Option<&Blob>) -> Vec<u8> {
    blob.and_then(Blob::bytes).unwrap_or_default()
}

/// As kcat: -1 where there is none.
fn length(blob: Option<&Blob>) -> String {
    blob.map_or_else(|| "-1".into(), |blob| bytes(Some(blob)).len().to_string())
}

/// `name=value,name=value`
fn headers(line: &Line) -> String {
    let pair = |(name, value): &(String, Option<Blob>)| {
        format!("{name}={}", value.as_ref().map_or("NULL", Blob::show))
    };
    line.headers.iter().map(pair).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line() -> Line {
        let text = |text: &str| Some(Blob::Text(text.into()));
        Line {
            topic: "mqtt".into(),
            partition: 2,
            offset: 18_211,
            timestamp_ms: 1_795_252_323_120,
            key: text("k"),
            value: text("{\"temp\":21.5}"),
            headers: vec![("mqtt.topic".into(), text("a/b")), ("x".into(), None)],
        }
    }

    fn write(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(&line(), &mut out);
        out
    }

    #[test]
    fn kcats_letters_are_understood() {
        assert_eq!(
            write("%t %p %o %k %s\\n"),
            b"mqtt 2 18211 k {\"temp\":21.5}\n"
        );
        assert_eq!(write("%T\\t%K/%S\\t%m"), b"1795252323120\t1/13\ta/b");
        assert_eq!(write("%h"), b"mqtt.topic=a/b,x=NULL");
        assert_eq!(write("100%% \\\\"), b"100% \\");
        assert_eq!(write(""), b"");
    }

    #[test]
    fn a_payload_that_is_no_text_goes_out_as_it_is() {
        let mut line = line();
        line.value = Some(Blob::new(b"\x00\xff"));
        let mut out = Vec::new();
        Format::parse("%s").unwrap().write(&line, &mut out);
        assert_eq!(out, b"\x00\xff");
    }

    #[test]
    fn unknown_letters_are_refused_with_the_known_ones() {
        assert!(
            Format::parse("%x")
                .unwrap_err()
                .ends_with("K s S T h m or %: x")
        );
        assert!(Format::parse("50%").unwrap_err().ends_with("the end"));
        assert!(Format::parse("\\q").is_err());
    }
}
