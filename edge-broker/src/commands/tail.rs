//! `tail`: the messages of a topic, one per line, and on as they come.

use std::io::Write;
use std::process::ExitCode;

use super::format::Format;
use crate::admin::api::path;
use crate::admin::client::Gateway;
use crate::admin::filter::Filter;
use crate::admin::record::{Blob, Line, Streamed};
use crate::admin::stream::{Query, Start};
use crate::cli::TailArgs;
use crate::config::units::{DURATION_FORM, parse_duration_ms, show_time};
use crate::failure::{Exit, Failure};
use crate::machine;

/// Without a start, the newest so many are shown first.
const NEWEST: u64 = 10;

/// How a message is printed.
enum Style {
    /// For people.
    Line,
    /// As the user said.
    Format(Format),
    /// One object per line.
    Json,
}

/// Prints messages until the end, the count or Ctrl-C.
pub fn run(args: &TailArgs) -> Result<ExitCode, Failure> {
    let style = style(args)?;
    let query = query(args)?;
    let gateway = Gateway::find(&args.common)?;
    smol::block_on(async {
        let mut lines = gateway.lines(path::TAIL, &query).await?;
        let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
        let mut complete = true;
        while let Some(line) = lines.next().await? {
            let printed = print_one(&line, &style, &mut out).map(|read| complete &= read);
            // Many lines per write while there are many, at once when they come one by one.
            let flushed = if lines.more_is_here() {
                Ok(())
            } else {
                out.flush()
            };
            if let Err(error) = printed.and(flushed) {
                return ended(&error);
            }
        }
        match out.flush() {
            Err(error) => ended(&error),
            Ok(()) if complete => Ok(ExitCode::SUCCESS),
            Ok(()) => Err(Failure::new(
                Exit::IO,
                "some records could not be read: see the lines above",
            )
            .fix("what was lost and what was put aside: edge-broker status")),
        }
    })
}

fn query(args: &TailArgs) -> Result<Query, Failure> {
    if let Some(filter) = &args.mqtt {
        let parsed = Filter::parse(filter).map(drop);
        parsed.map_err(|what| Failure::new(Exit::USAGE, format!("--mqtt: {what}")))?;
    }
    Ok(Query {
        topic: args.topic.clone(),
        partition: args.partition,
        start: start(args)?,
        mqtt: args.mqtt.clone(),
        key: args.key.clone(),
        count: args.count,
        follow: !args.exit_at_end,
    })
}

fn start(args: &TailArgs) -> Result<Start, Failure> {
    if args.from_beginning {
        return Ok(Start::Beginning);
    }
    if let Some(since) = &args.since {
        let ms = parse_duration_ms(since).ok_or_else(|| {
            Failure::new(
                Exit::USAGE,
                format!("--since takes {DURATION_FORM}: {since}"),
            )
        })?;
        return Ok(Start::Timestamp(machine::wall_ms() - ms as i64));
    }
    Ok(match (args.offset, args.count) {
        (Some(back), _) if back < 0 => Start::Back(back.saturating_neg()),
        (Some(offset), _) => Start::Offset(offset),
        (None, Some(count)) => Start::Newest(count),
        // With -e and nothing else, whoever asks wants what is there.
        (None, None) if args.exit_at_end => Start::Beginning,
        (None, None) => Start::Newest(NEWEST),
    })
}

fn style(args: &TailArgs) -> Result<Style, Failure> {
    match &args.format {
        _ if args.common.json => Ok(Style::Json),
        Some(text) => Format::parse(text)
            .map(Style::Format)
            .map_err(|what| Failure::new(Exit::USAGE, what)),
        None => Ok(Style::Line),
    }
}

/// Prints one line of the answer; false when it says that records could not be read.
fn print_one(line: &[u8], style: &Style, out: &mut impl Write) -> std::io::Result<bool> {
    let record = match serde_json::from_slice::<Streamed>(line) {
        Ok(Streamed::Record(record)) => record,
        Ok(Streamed::Note { note, failed }) => {
            return writeln!(std::io::stderr(), "tail: {note}").map(|()| !failed);
        }
        Err(error) => {
            let told = writeln!(std::io::stderr(), "tail: answer is not understood: {error}");
            return told.map(|()| false);
        }
    };
    match style {
        Style::Json => {
            out.write_all(line)?;
            out.write_all(b"\n")?;
        }
        Style::Format(format) => {
            let mut bytes = Vec::new();
            format.write(&record, &mut bytes);
            out.write_all(&bytes)?;
        }
        Style::Line => writeln!(out, "{}", shown(&record))?,
    }
    Ok(true)
}

/// `mqtt[0]@18211 2026-11-21T09:12:03.120Z tele/plug1/SENSOR q1 {"temp":21.5}`
fn shown(line: &Line) -> String {
    let mut text = format!(
        "{}[{}]@{} {}",
        line.topic,
        line.partition,
        line.offset,
        show_time(line.timestamp_ms)
    );
    match (line.header("mqtt.topic"), &line.key) {
        (Some(topic), _) => {
            let qos = line.header("mqtt.qos").unwrap_or("1");
            text.push_str(&format!(" {} q{qos}", one_line(topic)));
        }
        (None, Some(key)) => text.push_str(&format!(" {}", one_line(key.show()))),
        (None, None) => {}
    }
    match &line.value {
        Some(Blob::Text(value)) => text.push_str(&format!(" {}", one_line(value))),
        Some(Blob::Hex { hex }) => text.push_str(&format!(" 0x{hex}")),
        None => text.push_str(" (deleted)"),
    }
    text
}

/// A message is one line, and no message moves the cursor of the terminal.
fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// A reader that went away (`| head`) is a good end.
fn ended(error: &std::io::Error) -> Result<ExitCode, Failure> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::new(Exit::IO, format!("cannot write: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn start_of(arguments: &[&str]) -> Start {
        let all = ["edge-broker", "tail", "mqtt"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Tail(args) => start(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_start_the_newest_are_shown() {
        assert_eq!(start_of(&[]), Start::Newest(10));
        assert_eq!(start_of(&["-n", "3"]), Start::Newest(3));
        assert_eq!(start_of(&["-e"]), Start::Beginning);
        assert_eq!(start_of(&["-n", "3", "--from-beginning"]), Start::Beginning);
        assert_eq!(start_of(&["--offset", "18211"]), Start::Offset(18_211));
        assert_eq!(start_of(&["--offset", "-5"]), Start::Back(5));
        assert!(matches!(start_of(&["--since", "10m"]), Start::Timestamp(_)));
    }

    #[test]
    fn a_filter_that_is_none_is_wrong_usage() {
        for filter in ["a/#/b", ""] {
            let arguments = ["edge-broker", "tail", "--mqtt", filter];
            match Cli::try_parse_from(arguments).unwrap().command {
                Command::Tail(args) => assert_eq!(query(&args).unwrap_err().code, Exit::USAGE),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_message_is_one_line_for_people() {
        let mut line = Line {
            topic: "mqtt".into(),
            partition: 0,
            offset: 18_211,
            timestamp_ms: 1_795_252_323_120,
            key: None,
            value: Some(Blob::Text("{\"temp\":21.5}".into())),
            headers: vec![(
                "mqtt.topic".into(),
                Some(Blob::Text("tele/plug1/SENSOR".into())),
            )],
        };
        assert_eq!(
            shown(&line),
            "mqtt[0]@18211 2026-11-21T09:12:03.120Z tele/plug1/SENSOR q1 {\"temp\":21.5}"
        );
        line.headers
            .push(("mqtt.qos".into(), Some(Blob::Text("0".into()))));
        line.value = Some(Blob::Text("a\nb\u{1b}[2J".into()));
        assert!(shown(&line).ends_with("tele/plug1/SENSOR q0 a\\nb\\u{1b}[2J"));
        line.headers.clear();
        line.value = Some(Blob::new(b"\xff\x00"));
        assert!(shown(&line).ends_with("Z 0xff00"));
        line.value = None;
        assert!(shown(&line).ends_with("(deleted)"));
    }
}
