//! The end of the demo: what was checked, in words, and the verdict.
//!
//! Pure. The last line is the one that the README shows.

use std::fmt::Write;
use std::time::Duration;

use super::check::{Findings, Place};
use super::text;

/// Missing ids that are named.
const NAMED_MAX: usize = 10;

/// What is reported beside the findings.
#[derive(Debug, Clone)]
pub struct Facts {
    /// From sending to PUBACK, microseconds: median and 99th percentile.
    pub ack_us: (u64, u64),
    /// One fdatasync of 4 KB on this disk.
    pub bare_sync: Option<Duration>,
    /// The longest time without a PUBACK.
    pub gap_max: Duration,
    /// Most memory any of the gateway processes held.
    pub peak_bytes: u64,
    /// Bytes all of them wrote to the device.
    pub written_bytes: u64,
    /// Payload bytes the devices published.
    pub payload_bytes: u64,
    /// What could not be read, and why.
    pub unread: Option<(Place, String)>,
    /// What central refused, oldest first.
    pub refusals: Vec<String>,
}

/// The whole text.
pub fn report(findings: &Findings, facts: &Facts) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_to(&mut out, findings, facts);
    out
}

/// Whether the demo may say PASS.
pub fn pass(findings: &Findings, facts: &Facts) -> bool {
    facts.unread.is_none() && findings.pass()
}

fn write_to(out: &mut String, findings: &Findings, facts: &Facts) -> std::fmt::Result {
    let acked = text::count(findings.acked);
    let of = |found: u64, place| match &facts.unread {
        Some((unread, _)) if *unread == place => "not read".to_owned(),
        _ => format!("{} of {acked}", text::count(found)),
    };
    writeln!(out, "Checked, by ids that only the devices know")?;
    row(out, "acked to devices", &acked, "")?;
    let how = "   read from disk by a fresh process";
    row(
        out,
        "found in the log",
        &of(findings.in_log, Place::Log),
        how,
    )?;
    let central = of(findings.in_central, Place::Central);
    row(out, "found in central", &central, "")?;
    row(out, "lost", &lost(findings, facts), "")?;
    row(
        out,
        "order broken within a device",
        &text::count(findings.order_broken),
        "",
    )?;
    let twice = findings.repeated_in_log + findings.unexplained_in_log;
    let why = match findings.unexplained_in_log {
        0 => "devices repeated them: their PUBACK died with the gateway".to_owned(),
        count => format!("of which no device repeated {}", text::count(count)),
    };
    explained(out, "twice in the log", twice, &why)?;
    let why = "at-least-once forwarding";
    explained(
        out,
        "twice in central only",
        findings.repeated_in_central,
        why,
    )?;
    if findings.foreign > 0 {
        let why = "their bytes are not what a device sent";
        explained(out, "nobody's records", findings.foreign, why)?;
    }
    writeln!(out)?;
    figures(out, facts)?;
    writeln!(out)?;
    writeln!(
        out,
        "kill -9 leaves the kernel's cache alone. For power cuts: tests/run crash"
    )?;
    verdict(out, findings, facts)
}

/// Nobody knows what is lost of what could not be read.
fn lost(findings: &Findings, facts: &Facts) -> String {
    match facts.unread {
        Some(_) => "not known".to_owned(),
        None => text::count(findings.lost),
    }
}

fn row(out: &mut String, name: &str, value: &str, note: &str) -> std::fmt::Result {
    // Numbers end in one column, "of" stands behind it.
    let (number, rest) = value.split_at(value.find(" of ").unwrap_or(value.len()));
    writeln!(out, "  {name:<30}{number:>14}{rest}{note}")
}

fn explained(out: &mut String, name: &str, number: u64, why: &str) -> std::fmt::Result {
    let why = if number == 0 {
        String::new()
    } else {
        format!("             {why}")
    };
    row(out, name, &text::count(number), &why)
}

fn figures(out: &mut String, facts: &Facts) -> std::fmt::Result {
    let (p50, p99) = (text::latency(facts.ack_us.0), text::latency(facts.ack_us.1));
    let gap = text::seconds(facts.gap_max);
    let sync = facts.bare_sync.map_or("not measured".to_owned(), |sync| {
        text::latency(sync.as_micros() as u64)
    });
    writeln!(
        out,
        "  acks           p50 {p50}   p99 {p99}   one fdatasync on this disk {sync}   \
         longest gap {gap}"
    )?;
    let (peak, payload) = (
        text::bytes(facts.peak_bytes),
        text::bytes(facts.payload_bytes),
    );
    let written = text::bytes(facts.written_bytes);
    writeln!(
        out,
        "  gateway peak   {peak} memory   {written} written for {payload} payload"
    )?;
    let refused = facts.refusals.len();
    if let Some(first) = facts.refusals.first() {
        writeln!(
            out,
            "  central        refused {refused} batches, the first: {first}"
        )?;
    }
    Ok(())
}

fn verdict(out: &mut String, findings: &Findings, facts: &Facts) -> std::fmt::Result {
    if let Some((place, why)) = &facts.unread {
        writeln!(out, "  {place} could not be read: {why}")?;
        let acked = text::count(findings.acked);
        return writeln!(
            out,
            "FAIL  acked {acked}, lost not known: {place} was not read"
        );
    }
    named(out, findings)?;
    let verdict = if pass(findings, facts) {
        "PASS"
    } else {
        "FAIL"
    };
    writeln!(
        out,
        "{verdict}  acked {}, found in log {}, in central {}, lost {}, duplicates {}",
        text::count(findings.acked),
        text::count(findings.in_log),
        text::count(findings.in_central),
        text::count(findings.lost),
        text::count(findings.duplicates()),
    )
}

/// The first of the missing ids.
fn named(out: &mut String, findings: &Findings) -> std::fmt::Result {
    for missing in findings.missing.iter().take(NAMED_MAX) {
        writeln!(out, "  missing  {missing}")?;
    }
    match findings.missing.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        rest => writeln!(out, "  missing  and {} more", text::count(rest as u64)),
    }
}

/// The same for programs.
pub fn json(findings: &Findings, facts: &Facts) -> serde_json::Value {
    let unread = facts.unread.as_ref();
    serde_json::json!({
        "pass": pass(findings, facts),
        "acked": findings.acked,
        "in_log": findings.in_log,
        "in_central": findings.in_central,
        "lost": unread.is_none().then_some(findings.lost),
        "duplicates": findings.duplicates(),
        "order_broken": findings.order_broken,
        "foreign": findings.foreign,
        "unread": unread.map(|(place, why)| format!("{place}: {why}")),
        "ack_us_p50": facts.ack_us.0,
        "ack_us_p99": facts.ack_us.1,
        "memory_bytes_max": facts.peak_bytes,
        "written_bytes": facts.written_bytes,
        "payload_bytes": facts.payload_bytes,
    })
}

#[cfg(test)]
mod tests;
