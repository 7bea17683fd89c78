//! The configuration: where it comes from, what it says, and who gets which part.
//!
//! ```text
//!  file ─▶ check ─▶ values (defaults filled in) ◀─ flags
//!                     │
//!                     ├─▶ Config: typed, for the program      ├─▶ render: --effective
//!                     └─▶ BridgeConfig, CentralConfig (serde), SiteConfig (mapping in `site`)
//! ```
//! Only this folder knows TOML.

mod across;
mod check;
pub mod nearest;
mod paths;
mod render;
mod schema;
mod site;
pub mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bridge::BridgeConfig;
use cloud_sync::CentralConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use check::Problem;
pub use paths::{Source, data_dir_by_default, socket_path, socket_pointer};
pub use site::{Disk, site_config};

use crate::cli::ServeArgs;
use crate::failure::{Exit, Failure};
use schema::{Kind, SECTIONS};

/// Everything that `serve` is told.
#[derive(Debug)]
pub struct Config {
    /// Where it was read.
    pub source: Source,
    /// `[site]`
    pub site: Site,
    /// `[storage]`
    pub storage: Storage,
    /// `[topics]`
    pub topics: Topics,
    /// `[mqtt]` and `[[route]]`, owned by bridge.
    pub bridge: BridgeConfig,
    /// `[central]`, owned by cloud-sync.
    pub central: CentralConfig,
    /// `[admin]`
    pub admin: Admin,
    /// `[memory]`
    pub memory: Memory,
    /// `[log]`
    pub log: Log,
    values: Table,
}

/// `[site]`
#[derive(Debug, Deserialize)]
pub struct Site {
    /// Name; "" = node id.
    pub name: String,
}

/// `[storage]`; `None` where the file says "auto".
#[derive(Debug, Deserialize)]
pub struct Storage {
    /// Data folder; "auto" is resolved when the configuration is read.
    pub dir: PathBuf,
    /// All slices together.
    pub bytes_max: Option<u64>,
    /// Left to the rest of the machine.
    pub free_bytes_min: Option<u64>,
    /// `drop-oldest` or `refuse`.
    pub when_full: String,
    /// Budget of device writes; 0 = none.
    pub wear_gb_per_day: f64,
    /// The longest a commit waits.
    pub commit_interval_ms_max: u64,
    /// The same for QoS 0 only.
    pub commit_interval_ms_relaxed: u64,
    /// As much as this never waits.
    pub commit_bytes_max: u64,
    /// Codec of batches built from MQTT.
    pub compression: String,
    /// Received, not yet on disk.
    pub queue_bytes_max: u64,
    /// Size of a slice.
    pub slice_bytes: u64,
    /// Files of older slices kept open for readers.
    pub slices_open_max: u64,
    /// Of sled, for the slice that is written.
    pub cache_bytes: u64,
    /// What a peer may ask for as frames.
    pub raft_window_bytes: u64,
    /// Frames kept in memory.
    pub raft_memory_bytes_max: u64,
}

/// `[topics]`
#[derive(Debug, Deserialize)]
pub struct Topics {
    /// Of a topic that names no number.
    pub partitions: u32,
    /// Routes create missing topics.
    pub auto_create: bool,
    /// Limit of topics.
    pub count_max: usize,
    /// Settings by their Kafka names.
    #[serde(flatten)]
    pub settings: BTreeMap<String, Value>,
}

/// `[admin]`
#[derive(Debug, Deserialize)]
pub struct Admin {
    /// Path of the socket; "auto" = in the data folder.
    pub socket: String,
    /// Address of the read-only door; "" = off.
    pub http: String,
}

/// `[memory]`
#[derive(Debug, Deserialize)]
pub struct Memory {
    /// All buffers.
    pub bytes_max: u64,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    /// Level of everything that `modules` does not name.
    pub level: String,
    /// Level by module.
    pub modules: BTreeMap<String, String>,
    /// `auto`, `text` or `json`.
    pub format: String,
    /// The same refusal at most this often.
    pub repeat_s: u64,
}

/// What is wrong with a configuration, all of it at once.
#[derive(Debug)]
pub struct Refused {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Refused {
    fn sorted(mut problems: Vec<Problem>) -> Refused {
        problems.sort_by_key(|problem| problem.line);
        Refused { problems }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let lines: Vec<String> = refused.problems.iter().map(Problem::to_string).collect();
        // A wrong flag is wrong usage; who also has a wrong file has to look there first.
        let code = match refused.problems.iter().all(Problem::is_of_a_flag) {
            true => Exit::USAGE,
            false => Exit::CONFIG,
        };
        Failure::new(code, lines.join("\nerror: "))
    }
}

impl Config {
    /// Reads the file that rules and lays the flags over it.
    pub fn load(args: &ServeArgs) -> Result<Config, Failure> {
        let source = Source::find(args.config.as_deref());
        Ok(Config::from_text(&source.read()?, &source, args)?)
    }

    /// The same from a text.
    pub fn from_text(text: &str, source: &Source, args: &ServeArgs) -> Result<Config, Refused> {
        let mut checked = check::check(text, &source.to_string());
        checked
            .problems
            .extend(lay_flags(&mut checked.values, args));
        let place = Place {
            source,
            lines: &checked.lines,
        };
        let mut problems = checked.problems;
        let config = match Config::typed(checked.values, source.clone(), &place) {
            Ok(config) => config,
            // The rest cannot be looked at; where something is wrong already, it is due to that.
            Err(refused) if problems.is_empty() => return Err(refused),
            Err(_) => return Err(Refused::sorted(problems)),
        };
        let across = config.across(&place).into_iter();
        let across: Vec<Problem> = across
            .filter(|found| !problems.iter().any(|known| known.hides(found)))
            .collect();
        problems.extend(across);
        match problems.is_empty() {
            true => Ok(config),
            false => Err(Refused::sorted(problems)),
        }
    }

    /// Every key with the value that rules, as a commented file.
    pub fn effective(&self) -> String {
        render::render(&self.values)
    }

    /// The same as JSON.
    pub fn effective_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.values).unwrap_or_default()
    }

    fn typed(values: Table, source: Source, place: &Place<'_>) -> Result<Config, Refused> {
        let plain = plain_numbers(&values);
        let mut storage: Storage = part(&plain, "storage", place)?;
        if storage.dir == Path::new("auto") {
            storage.dir = data_dir_by_default();
        }
        let site: Site = part(&plain, "site", place)?;
        let log: Log = part(&plain, "log", place)?;
        let bridge = BridgeConfig {
            site_name: site.name.clone(),
            mqtt: part(&plain, "mqtt", place)?,
            routes: part(&plain, "route", place)?,
            log_repeat_s: log.repeat_s,
        };
        Ok(Config {
            source,
            site,
            storage,
            bridge,
            topics: part(&plain, "topics", place)?,
            central: part(&plain, "central", place)?,
            admin: part(&plain, "admin", place)?,
            memory: part(&plain, "memory", place)?,
            log,
            values,
        })
    }
}

/// Finds the line of a key for problems that the check of single values cannot see.
struct Place<'a> {
    source: &'a Source,
    lines: &'a BTreeMap<String, usize>,
}

impl Place<'_> {
    fn problem(&self, key: &str, message: String) -> Problem {
        let line = self.lines.get(key).copied();
        let place = match line {
            Some(line) => format!("{}:{line}", self.source),
            None => self.source.to_string(),
        };
        Problem {
            place,
            line: line.unwrap_or(0),
            key: key.to_owned(),
            message,
            nearest: None,
            allowed: None,
        }
    }
}

fn part<T: DeserializeOwned>(
    values: &Table,
    section: &str,
    place: &Place<'_>,
) -> Result<T, Refused> {
    let value = values
        .get(section)
        .cloned()
        .unwrap_or_else(|| Value::Table(Table::new()));
    value.try_into().map_err(|error: toml::de::Error| {
        let text = format!("[{section}]: {}", error.message());
        Refused {
            problems: vec![place.problem(section, text)],
        }
    })
}

/// Sizes as numbers; "auto" is left out.
fn plain_numbers(values: &Table) -> Table {
    let mut plain = values.clone();
    for section in SECTIONS.iter().filter(|section| !section.repeated) {
        let mut table = Some(&mut plain);
        for name in section.name.split('.') {
            table = table
                .and_then(|table| table.get_mut(name))
                .and_then(Value::as_table_mut);
        }
        let Some(table) = table else { continue };
        for key in section.keys {
            let (Kind::Bytes(..) | Kind::BytesAuto(..)) = key.kind else {
                continue;
            };
            match table.get(key.name).and_then(schema::bytes_of) {
                Some(bytes) => {
                    table.insert(key.name.to_owned(), Value::Integer(bytes as i64));
                }
                None => {
                    table.remove(key.name);
                }
            }
        }
    }
    plain
}

/// Flags win over the file; all that is wrong with them.
fn lay_flags(values: &mut Table, args: &ServeArgs) -> Vec<Problem> {
    let text = |text: &str| Value::String(text.to_owned());
    let data = args.common.data.as_ref();
    let data = data.map(|dir| text(&dir.to_string_lossy()));
    let servers = args.central.iter().map(|server| text(server.trim()));
    let servers = (!args.central.is_empty()).then(|| Value::Array(servers.collect()));
    let anonymous = args.allow_anonymous.then(|| text("yes"));
    let mqtt = args.mqtt.as_deref().map(text);
    let flags = [
        ("--data", "storage.dir", data),
        ("--admin", "admin.http", args.admin.as_deref().map(text)),
        ("--central", "central.bootstrap", servers),
        (
            "--allow-anonymous",
            "mqtt.listener.allow_anonymous",
            anonymous,
        ),
        ("--mqtt", "mqtt.listener.address", mqtt),
    ];
    let given = flags
        .into_iter()
        .filter_map(|(flag, path, value)| Some((flag, path, value?)));
    let problems = given.filter_map(|(flag, path, value)| check::set(values, path, value, flag));
    let problems = problems.collect();
    if args.mqtt.is_some() {
        first_listener_only(values);
    }
    problems
}

/// `--mqtt` names the one address; what else the first listener says stays.
fn first_listener_only(values: &mut Table) {
    let mqtt = values.get_mut("mqtt").and_then(Value::as_table_mut);
    if let Some(list) = mqtt
        .and_then(|mqtt| mqtt.get_mut("listener"))
        .and_then(Value::as_array_mut)
    {
        list.truncate(1);
    }
}

#[cfg(test)]
mod tests;
