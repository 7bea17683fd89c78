//! The log: one line per event on stderr, levels per module, no flood.
//!
//! ```text
//!  log::warn!(target: "bridge", …) ─▶ Levels ─▶ Repeats (warnings, errors) ─▶ Format ─▶ stderr
//! ```
//! `text`: time, level, module, message. `json`: one object per line. `auto`: text; without the
//! time where the journal writes its own. Called by the `log` macros of every package.

mod repeats;

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Metadata, Record};

use crate::config::{self, units};
use repeats::{Repeats, Verdict};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// With the time in front.
    Text,
    /// For the journal: `<4>` for a warning, no time.
    Journal,
    /// One object per line.
    Json,
}

/// Which events are written, by the longest module name that fits.
#[derive(Debug)]
struct Levels {
    default: LevelFilter,
    /// Longest first.
    modules: Vec<(String, LevelFilter)>,
}

impl Levels {
    fn new(config: &config::Log) -> Levels {
        let level = |text: &str| text.parse().unwrap_or(LevelFilter::Info);
        let mut modules: Vec<(String, LevelFilter)> = config
            .modules
            .iter()
            .map(|(name, text)| (name.replace('-', "_"), level(text)))
            .collect();
        modules.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Levels {
            default: level(&config.level),
            modules,
        }
    }

    fn of(&self, target: &str) -> LevelFilter {
        let fits = |name: &str| {
            target
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let named = self
            .modules
            .iter()
            .find(|(name, _)| fits(name))
            .map(|(_, level)| *level);
        named.unwrap_or_else(|| {
            if is_ours(target) {
                self.default
            } else {
                self.default.min(LevelFilter::Warn)
            }
        })
    }

    fn most(&self) -> LevelFilter {
        self.modules
            .iter()
            .map(|(_, level)| *level)
            .max()
            .unwrap_or(self.default)
            .max(self.default)
    }
}

/// The modules of this program.
pub const OURS: [&str; 6] = [
    "edge_broker",
    "edge_site",
    "edge_log",
    "kafka_wire",
    "bridge",
    "cloud_sync",
];

/// Other people's crates in it that log something.
pub const OTHERS: [&str; 7] = [
    "rumqttd", "hyper", "rustls", "sled", "raft", "polling", "async_io",
];

/// Other people's crates speak up for warnings only, unless `log.modules` names them.
fn is_ours(target: &str) -> bool {
    OURS.contains(&crate_of(target))
}

/// Whether anything logs under a name of `log.modules`.
pub fn is_known(module: &str) -> bool {
    let module = module.replace('-', "_");
    let first = crate_of(&module);
    OURS.contains(&first) || OTHERS.contains(&first)
}

fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

/// The logger of this process.
struct Logger {
    levels: Levels,
    format: Format,
    repeats: Option<Mutex<Repeats>>,
    started: Instant,
}

/// Makes this the process's logger. Does nothing if there is one already.
pub fn start(config: &config::Log) {
    let levels = Levels::new(config);
    let most = levels.most();
    let format = match config.format.as_str() {
        "json" => Format::Json,
        "text" => Format::Text,
        _ if std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal() => {
            Format::Journal
        }
        _ => Format::Text,
    };
    let repeats = (config.repeat_s > 0)
        .then(|| Mutex::new(Repeats::new(Duration::from_secs(config.repeat_s))));
    let logger = Logger {
        levels,
        format,
        repeats,
        started: Instant::now(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(most);
    }
}

/// A panic becomes one line too. What it means for the process is decided where it is caught.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let what = panic.payload_as_str().unwrap_or("no message");
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        log::error!(
            "thread {} panicked{place}: {what}",
            thread.name().unwrap_or("unnamed")
        );
    }));
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.levels.of(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let Some(repeated) = self.admitted(record, &message) else {
            return;
        };
        let event = Event {
            unix_ms: unix_ms(),
            level: record.level(),
            module: record.target().split("::").next().unwrap_or_default(),
            message: &message,
            repeated,
        };
        // One write per line, so that lines of two threads do not mix. A closed stderr leaves
        // nobody to tell.
        let _ = std::io::stderr()
            .lock()
            .write_all(event.line(self.format).as_bytes());
    }

    fn flush(&self) {}
}

impl Logger {
    /// How often the same was left out before; none if it is left out now.
    fn admitted(&self, record: &Record<'_>, message: &str) -> Option<u64> {
        let Some(repeats) = self
            .repeats
            .as_ref()
            .filter(|_| record.level() <= Level::Warn)
        else {
            return Some(0);
        };
        // A logger that panicked elsewhere still logs.
        let mut repeats = repeats
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match repeats.meet(record.target(), message, self.started.elapsed()) {
            Verdict::Say { left_out } => Some(left_out),
            Verdict::LeaveOut => None,
        }
    }
}

/// One event, ready to be written.
struct Event<'a> {
    unix_ms: i64,
    level: Level,
    module: &'a str,
    message: &'a str,
    repeated: u64,
}

impl Event<'_> {
    fn line(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Journal => format!("<{}>{}\n", priority(self.level), self.text()),
            Format::Text => {
                let level = self.level.as_str().to_lowercase();
                format!(
                    "{} {level:<5} {}\n",
                    units::show_time(self.unix_ms),
                    self.text()
                )
            }
        }
    }

    /// A message is one line whatever a client put into it.
    fn text(&self) -> String {
        let message: String = self
            .message
            .chars()
            .flat_map(|letter| {
                let escaped = letter.is_control().then(|| letter.escape_default());
                let plain = escaped.is_none().then_some(letter);
                escaped.into_iter().flatten().chain(plain)
            })
            .collect();
        let again = match self.repeated {
            0 => String::new(),
            count => format!(" (and {count} times before, left out)"),
        };
        format!("{}: {message}{again}", self.module)
    }

    fn json(&self) -> String {
        let mut object = serde_json::json!({
            "time": units::show_time(self.unix_ms),
            "level": self.level.as_str().to_lowercase(),
            "module": self.module,
            "message": self.message,
        });
        if self.repeated > 0 {
            object["left_out_before"] = self.repeated.into();
        }
        format!("{object}\n")
    }
}

/// syslog's numbers, which the journal understands.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests;
