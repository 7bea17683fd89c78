//! Asking the gateway how it is: `GET /status` on its admin socket, and what of it is shown here.
//!
//! The demo looks at the gateway as any other program would, from outside and by its documented
//! answer.

use std::io;
use std::path::Path;

use serde::Deserialize;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::unix::UnixStream;

/// The part of `/status` that the demo shows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Status {
    /// Where its doors are.
    pub doors: Doors,
    /// The site's log.
    pub log: Log,
    /// Forwarding.
    #[serde(default)]
    pub forward: Forward,
    /// Topics.
    #[serde(default)]
    pub topics: Vec<Topic>,
}

/// Addresses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Doors {
    /// Of the MQTT door.
    pub mqtt: Vec<String>,
}

/// The log.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Log {
    /// Bytes of all its files.
    pub bytes_used: u64,
    /// Commits since the start, one sync each.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// How long opening took.
    pub opened_in_ms: u64,
}

/// Forwarding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Forward {
    /// Age of the oldest record that waits.
    #[serde(default)]
    pub oldest_age_ms: Option<u64>,
}

/// A topic.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Marks.
    pub partitions: Vec<Partition>,
}

/// Marks of a partition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Partition {
    /// First offset there is.
    pub start: i64,
    /// After the last offset that readers may see.
    pub committed_end: i64,
    /// First offset that central does not have.
    #[serde(default)]
    pub forwarded: Option<i64>,
}

impl Status {
    /// Records of a topic in the log.
    pub fn stored(&self, topic: &str) -> u64 {
        self.sum(topic, |partition| partition.committed_end - partition.start)
    }

    /// Records of a topic that central does not have.
    pub fn waiting(&self, topic: &str) -> u64 {
        self.sum(topic, |marks| {
            marks.committed_end - marks.forwarded.unwrap_or(marks.start)
        })
    }

    fn sum(&self, topic: &str, count: impl Fn(&Partition) -> i64) -> u64 {
        let topics = self.topics.iter().filter(|found| found.name == topic);
        let partitions = topics.flat_map(|topic| &topic.partitions);
        partitions.map(|marks| count(marks).max(0) as u64).sum()
    }
}

/// Asks the gateway of that data folder.
pub async fn ask(data: &Path) -> io::Result<Status> {
    let mut stream = UnixStream::connect(data.join("admin.sock")).await?;
    let request = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

fn parse(answer: &[u8]) -> Result<Status, String> {
    let end = b"\r\n\r\n";
    let head_bytes = answer.windows(end.len()).position(|window| window == end);
    let (head, body) = answer.split_at(head_bytes.ok_or("no head")? + end.len());
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(String::from_utf8_lossy(line).into_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Partition, Status, parse};

    #[test]
    fn an_answer_is_read_and_unknown_fields_are_passed_over() {
        let body = r#"{"verdict":{"degree":"ok","text":""},
            "doors":{"mqtt":["127.0.0.1:1"],"http":[]},
            "log":{"bytes_used":7,"commits":2,"records":5,"opened_in_ms":60,"slices":1},
            "topics":[{"name":"mqtt","state":"idle","partitions":[
              {"partition":0,"start":2,"committed_end":7,"end":7,"forwarded":4}]}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: x\r\n\r\n{body}");
        let status = parse(answer.as_bytes()).unwrap();
        assert_eq!(status.doors.mqtt, ["127.0.0.1:1"]);
        let marks = Partition {
            start: 2,
            committed_end: 7,
            forwarded: Some(4),
        };
        assert_eq!(status.topics[0].partitions, [marks]);
        assert_eq!((status.stored("mqtt"), status.waiting("mqtt")), (5, 3));
        assert_eq!(status.stored("other"), 0);
        assert_ne!(status, Status::default());
    }

    #[test]
    fn a_refusal_is_its_first_line() {
        assert_eq!(
            parse(b"HTTP/1.1 503 No\r\n\r\n"),
            Err("HTTP/1.1 503 No".into())
        );
    }
}
