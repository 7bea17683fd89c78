//! `status`: a verdict first, then figures, topics, alarms.
//!
//! Shows a report; a figure that is not in it is not shown. Exit code = the verdict's degree.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use super::{print, print_json};
use crate::admin::api::path;
use crate::admin::client::Gateway;
use crate::admin::report::{Alarm, Degree, LostOffsets, Report, Topic};
use crate::cli::StatusArgs;
use crate::config::units::{
    short, show_age, show_bytes, show_bytes_of, show_count, show_duration, show_time,
};
use crate::failure::{Exit, Failure};
use crate::view::{Align, Table, wrap};

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Columns of a terminal that nobody asked.
const WIDTH: usize = 96;

/// With less payload, what an empty store writes is all that a ratio would show.
const PAYLOAD_BYTES_MIN: u64 = 1_000_000;

/// Under the verdict's word.
const VERDICT_INDENT: usize = 10;

/// Prints the status once, or again and again.
pub fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let gateway = Gateway::find(&args.common)?;
    if args.watch {
        return watch(&gateway, args.common.json);
    }
    let report: Report = gateway.get(path::STATUS)?;
    if args.common.json {
        print_json(&report)?;
    } else {
        print(&shown(&report))?;
    }
    Ok(ExitCode::from(code(report.verdict.degree)))
}

/// Until Ctrl-C, or until nobody reads any more. A gateway that restarts is waited for.
fn watch(gateway: &Gateway, json: bool) -> Result<ExitCode, Failure> {
    loop {
        let text = match gateway.get::<Report>(path::STATUS) {
            Ok(report) if json => serde_json::to_string(&report).unwrap_or_default() + "\n",
            Ok(report) => shown(&report),
            // On standard error, where programs that read the figures do not look.
            Err(failure) if json && failure.code == Exit::NO_GATEWAY => {
                failure.report();
                String::new()
            }
            Err(failure) if failure.code == Exit::NO_GATEWAY => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        let text = match terminal_lines().filter(|_| !json) {
            Some(lines) => format!("{CLEAR}{}", cut(&text, lines)),
            None => text,
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(Failure::new(Exit::IO, format!("cannot write: {error}"))),
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// A watched terminal starts anew at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// How many lines the terminal has; none where the output is no terminal.
fn terminal_lines() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_row)).filter(|lines| *lines > 0)
}

/// The verdict stands at the top: what does not fit goes at the end.
fn cut(text: &str, lines: usize) -> String {
    if text.lines().count() < lines {
        return text.to_owned();
    }
    // One for what is left out, one for the cursor.
    let shown = text.lines().take(lines.saturating_sub(2));
    let shown: String = shown.map(|line| format!("{line}\n")).collect();
    format!("{shown}… more: edge-broker status\n")
}

fn code(degree: Degree) -> u8 {
    match degree {
        Degree::Ok => 0,
        Degree::Degraded => Exit::DEGRADED,
        Degree::NotStoring => Exit::NOT_STORING,
    }
}

/// The whole picture.
fn shown(report: &Report) -> String {
    let mut text = verdict(report);
    text.push('\n');
    text.push_str(&head(report));
    text.push('\n');
    for (name, line) in lines(report) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<9} {line}");
    }
    let visible: Vec<&Topic> = report
        .topics
        .iter()
        .filter(|topic| !topic.name.starts_with('_'))
        .collect();
    if !visible.is_empty() {
        text.push('\n');
        text.push_str(&topics(&visible));
    }
    text.push('\n');
    let names = report.alarms.iter().map(|alarm| alarm.code.len()).max();
    for alarm in &report.alarms {
        text.push_str(&alarm_lines(alarm, report.time_ms, names.unwrap_or(0)));
    }
    text.push_str(&ledger(report));
    text
}

fn verdict(report: &Report) -> String {
    let word = match report.verdict.degree {
        Degree::Ok => "OK",
        Degree::Degraded => "DEGRADED",
        Degree::NotStoring => "NOT STORING",
    };
    let indent = VERDICT_INDENT.max(word.len() + 2);
    let lines = wrap(&report.verdict.text, WIDTH - indent);
    let mut text = String::new();
    for (position, line) in lines.iter().enumerate() {
        let word = if position == 0 { word } else { "" };
        let _ = writeln!(text, "{word:<indent$}{line}");
    }
    text
}

fn head(report: &Report) -> String {
    let clock = match (report.clock.synced, report.clock.trusted) {
        (Some(true), _) => "   clock synced",
        (Some(false), _) => "   clock not synced yet",
        (None, true) => "",
        (None, false) => "   clock not to be trusted",
    };
    format!(
        "site {}   node {}   edge-broker {}   up {}{clock}\n",
        report.site,
        report.node,
        report.version,
        show_age(report.up_s * 1000)
    )
}

/// One line per part of the gateway; a part that says nothing has none.
fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = vec![("devices", devices(report)), ("log", log(report))];
    lines.extend(forward(report).map(|line| ("forward", line)));
    lines.push(("disk", disk(report)));
    lines.extend(link(report).map(|line| ("link", line)));
    lines.extend(memory(report).map(|line| ("memory", line)));
    lines
}

fn devices(report: &Report) -> String {
    let devices = &report.devices;
    let ack = match (devices.ack_us_p50, devices.ack_us_p99) {
        (Some(p50), Some(p99)) => format!("   PUBACK p50 {}, p99 {}", micros(p50), micros(p99)),
        _ => String::new(),
    };
    format!(
        "{} connected   {} msg/s in   {} refused{ack}",
        show_count(devices.connected),
        per_s(devices.in_per_s),
        show_count(devices.refused)
    )
}

fn log(report: &Report) -> String {
    let log = &report.log;
    let end = show_count(log.end);
    let marks = match (log.durable == log.end, log.committed == log.end) {
        (true, true) => format!("end {end} = durable = committed"),
        _ => format!(
            "end {end}   durable {}   committed {}",
            show_count(log.durable),
            show_count(log.committed)
        ),
    };
    let oldest = log
        .oldest_age_ms
        .map(|ms| format!("   oldest {}", show_age(ms)));
    let sync = log
        .sync_us_p50
        .map(|us| format!("   fdatasync {}", micros(us)));
    format!(
        "{marks}   {}{}{}",
        show_bytes_of(log.bytes_used, log.bytes_max),
        oldest.unwrap_or_default(),
        sync.unwrap_or_default()
    )
}

fn forward(report: &Report) -> Option<String> {
    let forward = report.forward.as_ref()?;
    let oldest = forward
        .oldest_age_ms
        .map(|ms| format!("   oldest {}", show_age(ms)));
    let dead = match forward.dead_lettered {
        0 => String::new(),
        count => format!("   {} in _dead_letter", show_count(count)),
    };
    Some(format!(
        "{} since start   behind {}{}   {} msg/s   {}{dead}",
        show_count(forward.forwarded),
        show_count(forward.waiting),
        oldest.unwrap_or_default(),
        per_s(forward.out_per_s),
        forward.guarantee
    ))
}

fn disk(report: &Report) -> String {
    let disk = &report.disk;
    let mut text = format!("{} free", show_bytes_of(disk.free_bytes, disk.bytes));
    if let Some(per_day) = disk.written_bytes_per_day {
        let _ = write!(text, "   {} written a day", show_bytes(per_day));
    }
    if disk.payload_bytes >= PAYLOAD_BYTES_MIN {
        let times = disk.written_bytes as f64 / disk.payload_bytes as f64;
        let _ = write!(text, ", {} × payload", short(times));
    }
    text
}

fn link(report: &Report) -> Option<String> {
    let link = report.link.as_ref()?;
    let projected = link
        .month_projected_bytes
        .map(|bytes| format!(", {} projected", show_bytes(bytes)));
    let budget = link
        .month_bytes_max
        .map(|bytes| format!(" of {}", show_bytes(bytes)));
    Some(format!(
        "{} this month{}{}   (since start: sent {}, received {})",
        show_bytes(link.month_bytes),
        projected.unwrap_or_default(),
        budget.unwrap_or_default(),
        show_bytes(link.sent_bytes),
        show_bytes(link.received_bytes)
    ))
}

fn memory(report: &Report) -> Option<String> {
    let memory = &report.memory;
    memory
        .resident_bytes
        .map(|bytes| show_bytes_of(bytes, memory.bytes_max))
}

fn topics(topics: &[&Topic]) -> String {
    let mut table = Table::new(&[
        ("TOPIC", Align::Left),
        ("IN/s", Align::Right),
        ("STORED", Align::Right),
        ("WAITING", Align::Right),
        ("CENTRAL", Align::Left),
        ("STATE", Align::Left),
    ]);
    for topic in topics {
        let state = match (topic.state.as_str(), topic.parked_ms) {
            ("parked", Some(ms)) => format!("PARKED {}", show_age(ms)),
            (state, _) => state.to_owned(),
        };
        table.row([
            topic.name.clone(),
            per_s(topic.in_per_s),
            show_bytes(topic.stored_bytes),
            topic.waiting.map_or_else(|| "-".into(), show_count),
            topic.central_topic.clone().unwrap_or_else(|| "-".into()),
            state,
        ]);
    }
    table.to_string()
}

/// Name, since when, what; below it what to do. `names` is the width of the first column.
fn alarm_lines(alarm: &Alarm, now_ms: i64, names: usize) -> String {
    const SINCE: usize = "since 09:41 UTC   ".len();
    let indent = names + 3 + SINCE;
    let since = format!("since {}", since(alarm.since_ms, now_ms));
    let head = format!("{:<names$}   {since}", alarm.code);
    let mut text = String::new();
    let mut first = Some(head);
    for line in [&alarm.message, &alarm.fix]
        .into_iter()
        .filter(|line| !line.is_empty())
    {
        for line in wrap(line, WIDTH.saturating_sub(indent)) {
            let _ = writeln!(text, "{:<indent$}{line}", first.take().unwrap_or_default());
        }
    }
    text
}

/// Today the time, before that the day, before this year the whole date.
fn since(since_ms: i64, now_ms: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (since, now) = (show_time(since_ms), show_time(now_ms));
    let part = |from: usize, to: usize| since.get(from..to).unwrap_or_default();
    if since.get(..10) == now.get(..10) {
        return format!("{} UTC", part(11, 16));
    }
    let month = part(5, 7).parse::<usize>().unwrap_or(0);
    match MONTHS.get(month.wrapping_sub(1)) {
        Some(month) if since.get(..4) == now.get(..4) => {
            format!("{} {month}", part(8, 10).trim_start_matches('0'))
        }
        _ => part(0, 10).to_owned(),
    }
}

fn ledger(report: &Report) -> String {
    let ledger = &report.ledger;
    let mut text = format!(
        "lost {}   shed on purpose {}\n",
        show_count(ledger.lost),
        show_count(ledger.shed)
    );
    for entry in &ledger.entries {
        let topic = if entry.topic.is_empty() {
            "-"
        } else {
            &entry.topic
        };
        let (first, last) = (show_time(entry.first_ms), show_time(entry.last_ms));
        let _ = writeln!(
            text,
            "  {} of {topic}: {}   noticed {first} to {last}",
            show_count(entry.count),
            entry.words
        );
    }
    lost_offsets(&mut text, &ledger.lost_offsets);
    text
}

/// The newest ranges that the disk lost, a line for each partition.
fn lost_offsets(text: &mut String, lost: &[LostOffsets]) {
    let left_out = lost.len().saturating_sub(LOST_SHOWN);
    let shown = &lost[left_out..];
    for spans in shown.chunk_by(|a, b| (&a.topic, a.partition) == (&b.topic, b.partition)) {
        let ranges: Vec<String> = spans
            .iter()
            .map(|span| format!("{} to {}", span.first, span.last))
            .collect();
        let (topic, partition) = (&spans[0].topic, spans[0].partition);
        let ranges = ranges.join(", ");
        let _ = writeln!(text, "  lost offsets {topic}[{partition}]  {ranges}");
    }
    if left_out > 0 {
        let _ = writeln!(text, "  and {left_out} older ranges: status --json");
    }
}

/// Lost ranges shown.
const LOST_SHOWN: usize = 12;

fn per_s(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 9.95 => short(rate),
        rate => show_count(rate.round() as u64),
    }
}

fn micros(us: u64) -> String {
    show_duration(Duration::from_micros(us))
}

#[cfg(test)]
mod tests;
