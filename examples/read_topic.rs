//! Reads a topic over the gateway's socket, as `edge-broker tail --json` does: one JSON per line.
//!
//! The socket speaks HTTP/1.1 and is open to the gateway's own user only. Start a gateway, then:
//!
//! ```text
//! cargo run --example read_topic -- /var/lib/edge-broker mqtt
//! ```

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::os::unix::net::UnixStream;

/// Asks for everything from the beginning up to the end of the log.
fn request(topic: &str) -> String {
    let query = serde_json::json!({ "topic": topic, "start": "beginning", "follow": false });
    let body = query.to_string();
    format!(
        "POST /tail HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n\
         {body}",
        body.len()
    )
}

/// The status of an answer; reads on to the end of its head.
fn status(answer: &mut impl BufRead) -> Result<u16> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    while line.trim_end() != "" {
        line.clear();
        answer.read_line(&mut line)?;
    }
    code.ok_or_else(|| Error::other("this is no HTTP"))
}

/// One chunk of a chunked body; empty at its end.
fn chunk(answer: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim_end(), 16).map_err(Error::other)?;
    let mut bytes = vec![0; length + 2]; // its data and the line end after it
    answer.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments
        .next()
        .unwrap_or_else(|| "/var/lib/edge-broker".into());
    let topic = arguments.next().unwrap_or_else(|| "mqtt".into());
    let mut socket = UnixStream::connect(format!("{data}/admin.sock"))?;
    socket.write_all(request(&topic).as_bytes())?;
    let mut answer = BufReader::new(socket);
    let code = status(&mut answer)?;
    if code != 200 {
        let mut why = String::new();
        answer.read_to_string(&mut why)?;
        return Err(Error::other(format!("the gateway refused, {code}: {why}")));
    }
    loop {
        let lines = chunk(&mut answer)?;
        if lines.is_empty() {
            return Ok(());
        }
        std::io::stdout().write_all(&lines)?;
    }
}
