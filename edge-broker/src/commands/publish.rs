//! `publish TOPIC PAYLOAD`: one message, stored before this returns.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{print, print_json};
use crate::admin::api::{Publish, Published, path};
use crate::admin::client::Gateway;
use crate::admin::record::Blob;
use crate::cli::PublishArgs;
use crate::config::units::show_duration;
use crate::failure::{Exit, Failure};

/// Largest payload read from standard input.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Stores one message and says where it is.
pub fn run(args: &PublishArgs) -> Result<ExitCode, Failure> {
    let mqtt = args.mqtt || args.topic.contains('/');
    if args.retain && !mqtt {
        let text = format!("--retain is for MQTT topics: {}", args.topic);
        return Err(Failure::new(Exit::USAGE, text).fix("add --mqtt"));
    }
    let message = Publish {
        topic: args.topic.clone(),
        mqtt,
        retain: args.retain,
        partition: args.partition,
        key: args.key.as_ref().map(|key| Blob::Text(key.clone())),
        headers: args
            .headers
            .iter()
            .map(|text| header(text))
            .collect::<Result<_, _>>()?,
        value: payload(&args.payload)?,
    };
    let gateway = Gateway::find(&args.common)?;
    let begun = Instant::now();
    let published: Published = gateway.ask(path::PUBLISH, &message)?;
    if args.common.json {
        return print_json(&published);
    }
    print(&shown(&published, begun.elapsed()))
}

/// `acked disk mqtt[0]@18212 in 3.1 ms`
fn shown(published: &Published, took: Duration) -> String {
    let Published {
        level,
        topic,
        partition,
        ..
    } = published;
    let offset = published
        .offset
        .map(|offset| format!("@{offset}"))
        .unwrap_or_default();
    format!(
        "acked {level} {topic}[{partition}]{offset} in {}\n",
        show_duration(took)
    )
}

fn header(text: &str) -> Result<(String, Blob), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::new(Exit::USAGE, format!("a header is NAME=VALUE: {text}")))?;
    Ok((name.to_owned(), Blob::Text(value.to_owned())))
}

fn payload(argument: &str) -> Result<Blob, Failure> {
    if argument != "-" {
        return Ok(Blob::compact(argument.as_bytes()));
    }
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().take(PAYLOAD_BYTES_MAX + 1);
    input
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::IO, format!("standard input: {error}")))?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        let text = format!("a payload is at most 1 MiB: over {PAYLOAD_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::USAGE, text));
    }
    Ok(Blob::compact(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ack_names_level_place_and_time() {
        let mut published = Published {
            level: "disk".into(),
            topic: "mqtt".into(),
            partition: 0,
            offset: Some(18_212),
            took_us: 3_000,
        };
        let took = Duration::from_micros(3_100);
        assert_eq!(
            shown(&published, took),
            "acked disk mqtt[0]@18212 in 3.1 ms\n"
        );
        published.offset = None;
        published.level = "memory".into();
        assert_eq!(shown(&published, took), "acked memory mqtt[0] in 3.1 ms\n");
    }
}
