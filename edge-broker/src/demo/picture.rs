//! What the demo shows while it runs: the picture for a terminal, the line for everything else.
//!
//! Pure: a snapshot in, text out. `screen` puts it on the terminal.

use std::fmt::Write;
use std::time::Duration;

use super::text;
use super::uplink::State;

const BAR_CELLS: usize = 54;
const SPARK: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Samples of the backlog that are drawn.
pub const SPARK_CELLS: usize = 24;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many devices.
    pub devices: usize,
    /// Messages a second, all together.
    pub rate: u64,
    /// How long.
    pub seconds: u64,
    /// What decides the ids.
    pub seed: u64,
    /// Central in words.
    pub central: String,
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What was asked for.
    pub head: Head,
    /// Process id of the gateway, while one runs.
    pub pid: Option<u32>,
    /// Its MQTT door.
    pub mqtt: String,
    /// Since the start.
    pub elapsed: Duration,
    /// The way to central.
    pub uplink: State,
    /// Messages that went out, and in the last second.
    pub published: Flow,
    /// Messages acknowledged, and in the last second.
    pub acked: Flow,
    /// Microseconds from sending to PUBACK: median and 99th percentile.
    pub ack_us: (u64, u64),
    /// Records in the log.
    pub on_disk: u64,
    /// Bytes of its files.
    pub log_bytes: u64,
    /// Commits, one fdatasync each.
    pub commits: u64,
    /// Records in these.
    pub committed: u64,
    /// Records that central does not have.
    pub backlog: u64,
    /// The same over time, oldest first.
    pub history: Vec<u64>,
    /// Age of the oldest of them.
    pub oldest_ms: Option<u64>,
    /// Records in central, and in the last second.
    pub central: Flow,
    /// Acknowledged and not in the log.
    pub lost: u64,
}

/// A counter and its pace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Since the start.
    pub total: u64,
    /// In the last second.
    pub per_s: u64,
}

impl Snapshot {
    /// The picture.
    pub fn draw(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.draw_to(&mut out);
        out
    }

    fn draw_to(&self, out: &mut String) -> std::fmt::Result {
        let head = &self.head;
        let pid = self
            .pid
            .map_or("down".to_owned(), |pid| format!("pid {pid}"));
        writeln!(out, "{}", headline(head))?;
        writeln!(
            out,
            "  gateway  {pid}  mqtt {}     central  {}",
            self.mqtt, head.central
        )?;
        writeln!(out, "  {}  {}", self.bar(), self.progress())?;
        writeln!(out)?;
        writeln!(out, "              total        now")?;
        writeln!(out, "  published{}", columns(self.published))?;
        let (p50, p99) = (text::latency(self.ack_us.0), text::latency(self.ack_us.1));
        writeln!(
            out,
            "  acked    {}   p50 {p50}   p99 {p99}",
            columns(self.acked)
        )?;
        writeln!(
            out,
            "  on disk  {:>10}              {}   {} fdatasync, {:.1} messages each",
            text::count(self.on_disk),
            text::bytes(self.log_bytes),
            text::count(self.commits),
            self.committed as f64 / self.commits.max(1) as f64,
        )?;
        let oldest = self.oldest_ms.filter(|_| self.backlog > 0);
        let oldest = oldest.map_or(String::new(), |ms| {
            format!("  oldest {:.1} s", ms as f64 / 1e3)
        });
        let backlog = text::count(self.backlog);
        writeln!(
            out,
            "  backlog  {backlog:>10}   {}{oldest}",
            spark(&self.history)
        )?;
        writeln!(out, "  central  {}", columns(self.central))
    }

    fn progress(&self) -> String {
        let (at, of) = (
            self.elapsed.as_secs().min(self.head.seconds),
            self.head.seconds,
        );
        let uplink = match self.uplink {
            State::Up if self.backlog > self.head.rate * 2 => "UP, draining",
            State::Up => "UP",
            State::BlackHole => "CUT, no answer",
            State::Refused => "CUT, refused",
        };
        format!("{at} s of {of}    uplink {uplink}")
    }

    fn bar(&self) -> String {
        let share = self.elapsed.as_secs_f64() / self.head.seconds as f64;
        let done = ((share * BAR_CELLS as f64) as usize).min(BAR_CELLS);
        let rest = BAR_CELLS - done;
        if rest == 0 {
            return "━".repeat(done);
        }
        let (done, rest) = ("━".repeat(done), "━".repeat(rest - 1));
        format!("{done}╸\x1b[2m{rest}\x1b[0m")
    }

    /// The line for a file or a pipe.
    pub fn line(&self) -> String {
        let uplink = match self.uplink {
            State::Up => "up",
            State::BlackHole | State::Refused => "cut",
        };
        format!(
            "t={}s uplink={uplink} published={} acked={} disk={} backlog={} central={} lost={}",
            self.elapsed.as_secs(),
            self.published.total,
            self.acked.total,
            self.on_disk,
            self.backlog,
            self.central.total,
            self.lost,
        )
    }
}

/// The first line, which also stands above the lines without a terminal.
pub fn headline(head: &Head) -> String {
    let rate = text::count(head.rate);
    let (devices, seconds, seed) = (head.devices, head.seconds, head.seed);
    format!(
        "edge-broker demo   {devices} devices, {rate} msg/s, QoS 1, {seconds} s, seed {seed:06x}"
    )
}

fn columns(flow: Flow) -> String {
    let per_s = format!("{}/s", text::count(flow.per_s));
    format!("{:>10}  {per_s:>10}", text::count(flow.total))
}

fn spark(history: &[u64]) -> String {
    let newest = &history[history.len().saturating_sub(SPARK_CELLS)..];
    let top = newest.iter().copied().max().unwrap_or(0).max(1);
    let cell = |value: &u64| SPARK[(value * 7 / top) as usize];
    newest.iter().map(cell).collect()
}

#[cfg(test)]
mod tests;
