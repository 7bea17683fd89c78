//! Every key there is: section, name, default, what is allowed, what it does. The one place.
//!
//! The check, the effective configuration and `configs/edge-broker.toml` are made from this table;
//! a test keeps it equal to the defaults in the code of each package.

use super::nearest::nearest;
use super::units::{self, parse_address, parse_bytes};
use crate::logger;

/// A table of the file, or a list of tables (`[[route]]`).
pub struct Section {
    /// Dotted name.
    pub name: &'static str,
    /// Whether it may occur many times.
    pub repeated: bool,
    /// One line above its keys; "" = none.
    pub about: &'static str,
    /// Its keys in the order of the file.
    pub keys: &'static [Key],
}

/// One key.
pub struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// The default as TOML.
    pub default: &'static str,
    /// Left out, it is not filled in: then something else decides, and the default is what that
    /// begins with.
    pub is_optional: bool,
    /// What is allowed.
    pub kind: Kind,
    /// What it does, with its unit where the name has none.
    pub about: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// Text that a function accepts; its error says what is allowed.
    Checked(fn(&str) -> Result<(), String>),
    /// One of these.
    Choice(&'static [&'static str]),
    /// A whole number in a range.
    Int(i64, i64),
    /// A number in a range.
    Number(f64, f64),
    /// A size in a range, `"16MiB"` or bytes.
    Bytes(u64, u64),
    /// The same, or `"auto"`.
    BytesAuto(u64, u64),
    /// A list of `host:port`.
    Addresses,
    /// A table of module = level.
    Levels,
}

/// Levels of [log].
pub const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const DAY_MS: i64 = 86_400_000;

/// Shortens the table.
const fn key(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        default,
        is_optional: false,
        kind,
        about,
    }
}

/// The same for a key that is not filled in.
const fn optional(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    about: &'static str,
) -> Key {
    Key {
        is_optional: true,
        ..key(name, default, kind, about)
    }
}

const fn section(name: &'static str, about: &'static str, keys: &'static [Key]) -> Section {
    Section {
        name,
        repeated: false,
        about,
        keys,
    }
}

const fn repeated(name: &'static str, about: &'static str, keys: &'static [Key]) -> Section {
    Section {
        name,
        repeated: true,
        about,
        keys,
    }
}

/// All sections in the order of the file.
pub const SECTIONS: &[Section] = &[
    section("site", "", SITE),
    section("storage", "", STORAGE),
    section("topics", "for new topics; Kafka's names and units", TOPICS),
    repeated(
        "route",
        "first match wins; a built-in last one equals this",
        ROUTE,
    ),
    section("mqtt", "", MQTT),
    repeated("mqtt.listener", "", LISTENER),
    section("central", "", CENTRAL),
    section("central.tls", "", TLS),
    section("central.sasl", "", SASL),
    section("admin", "", ADMIN),
    section("memory", "", MEMORY),
    section("log", "", LOG),
];

const SITE: &[Key] = &[key(
    "name",
    r#""""#,
    Kind::Checked(site_name),
    r#"[a-z0-9-]{1,40}; "" = node id"#,
)];

const STORAGE: &[Key] = &[
    key(
        "dir",
        r#""auto""#,
        Kind::Text,
        "$STATE_DIRECTORY, /var/lib/edge-broker as root, else ~/.local/state/edge-broker",
    ),
    key(
        "bytes_max",
        r#""auto""#,
        Kind::BytesAuto(4 * MIB, 64 * TIB),
        "all slices together; auto = 25 % of the filesystem, at most 8GiB",
    ),
    key(
        "free_bytes_min",
        r#""auto""#,
        Kind::BytesAuto(0, TIB),
        "left to the rest of the machine; auto = 5 % of the filesystem, at most 512MiB",
    ),
    key(
        "when_full",
        r#""drop-oldest""#,
        Kind::Choice(&["drop-oldest", "refuse"]),
        "drop-oldest (counted) | refuse; per route below",
    ),
    key(
        "wear_gb_per_day",
        "20",
        Kind::Number(0.0, 100_000.0),
        "commits go at once within this budget of device writes, beyond it they wait; \
         0 = never wait",
    ),
    key(
        "commit_interval_ms_max",
        "50",
        Kind::Int(0, 60_000),
        "the longest wait",
    ),
    key(
        "commit_interval_ms_relaxed",
        "1000",
        Kind::Int(0, 60_000),
        "the same for frames with QoS 0 only",
    ),
    key(
        "commit_bytes_max",
        r#""128KiB""#,
        Kind::Bytes(KIB, MIB),
        "as much as this never waits",
    ),
    key(
        "compression",
        r#""lz4""#,
        Kind::Choice(&["none", "lz4", "zstd"]),
        "batches built from MQTT: none | lz4 | zstd",
    ),
    key(
        "queue_bytes_max",
        r#""16MiB""#,
        Kind::Bytes(2 * MIB, 1024 * MIB),
        "received, not yet on disk; beyond it sockets wait",
    ),
    key(
        "slice_bytes",
        r#""16MiB""#,
        Kind::Bytes(MIB, 64 * MIB),
        "1MiB to 64MiB",
    ),
    key(
        "slices_open_max",
        "4",
        Kind::Int(2, 64),
        "files of older slices kept open for readers",
    ),
    key(
        "cache_bytes",
        r#""4MiB""#,
        Kind::Bytes(MIB, 64 * MIB),
        "of sled, for the slice that is written",
    ),
    key(
        "raft_window_bytes",
        r#""64MiB""#,
        Kind::Bytes(16 * MIB, 4096 * MIB),
        "on disk: what a peer may still ask for as frames",
    ),
    key(
        "raft_memory_bytes_max",
        r#""8MiB""#,
        Kind::Bytes(2 * MIB, 256 * MIB),
        "in memory: frames that are not yet committed or just were",
    ),
];

const TOPICS: &[Key] = &[
    key(
        "partitions",
        "1",
        Kind::Int(1, 1000),
        "of a topic that names no number",
    ),
    key(
        "auto_create",
        "true",
        Kind::Bool,
        "a route to a topic that does not exist creates it",
    ),
    key(
        "count_max",
        "1000",
        Kind::Int(1, 100_000),
        "topics; beyond it none is created",
    ),
    key(
        "retention.ms",
        "604_800_000",
        Kind::Int(-1, 36_500 * DAY_MS),
        "how long records are kept while it runs; -1 = no limit",
    ),
    key(
        "retention.bytes",
        "-1",
        Kind::Int(-1, i64::MAX),
        "within storage.bytes_max; -1 = no other limit",
    ),
    key(
        "max.message.bytes",
        "1_048_588",
        Kind::Int(1024, 8 << 20),
        "largest batch, in bytes",
    ),
    key(
        "cleanup.policy",
        r#""delete""#,
        Kind::Choice(&["delete", "compact", "compact,delete"]),
        "delete | compact (newest of each key) | compact,delete",
    ),
];

const ROUTE: &[Key] = &[
    key(
        "filter",
        r##""#""##,
        Kind::Text,
        "MQTT filter; here # also matches $ topics",
    ),
    key(
        "topic",
        r#""mqtt""#,
        Kind::Text,
        "{site} {client} {1} {2}…: n-th wildcard",
    ),
    key(
        "key",
        r#""{mqtt_topic}""#,
        Kind::Text,
        "key of the record; the same places, and {mqtt_topic}",
    ),
    key(
        "ack",
        r#""disk""#,
        Kind::Choice(&["memory", "disk"]),
        "memory | disk (site, central: later); retained ones are acknowledged at disk or later \
         in any case",
    ),
    optional(
        "forward",
        "true",
        Kind::Bool,
        "of the topic, like the next two: left out, topic set decides; else the file does, and \
         routes that disagree are refused",
    ),
    optional(
        "priority",
        r#""normal""#,
        Kind::Choice(&["normal", "high"]),
        "normal | high",
    ),
    optional(
        "when_full",
        r#""inherit""#,
        Kind::Choice(&["inherit", "drop-oldest", "refuse"]),
        "inherit | drop-oldest | refuse",
    ),
];

const MQTT: &[Key] = &[
    key(
        "connections_max",
        "10_000",
        Kind::Int(1, 1_000_000),
        "clients at the same time",
    ),
    key(
        "pre_auth_max",
        "256",
        Kind::Int(1, 100_000),
        "sockets before CONNECT; beyond it the oldest closes",
    ),
    key(
        "connect_timeout_s",
        "5",
        Kind::Int(1, 300),
        "from accept to CONNECT",
    ),
    key(
        "packet_bytes_max",
        "1_000_000",
        Kind::Bytes(KIB, MIB),
        "largest packet; announced in v5",
    ),
    key(
        "in_flight_max",
        "64",
        Kind::Int(1, 65_535),
        "receive maximum per client, announced in v5",
    ),
    key(
        "subscriptions_max",
        "1000",
        Kind::Int(1, 1_000_000),
        "per client",
    ),
    key(
        "topic_levels_max",
        "64",
        Kind::Int(1, 1024),
        "levels of a topic or filter",
    ),
    key(
        "retained_index_bytes_max",
        "\"8MiB\"",
        Kind::Bytes(64 * KIB, 256 * MIB),
        "names of topics with a retained message; beyond it one more is delivered, not kept",
    ),
    key(
        "hold_s_max",
        "60",
        Kind::Int(1, 3600),
        "an unacked 3.1.1 publish is held this long before its connection is closed; a will \
         waits as long for room",
    ),
];

const LISTENER: &[Key] = &[
    key(
        "address",
        r#""localhost:1883""#,
        Kind::Checked(address),
        r#"localhost = 127.0.0.1 and ::1; ":1883" = every address"#,
    ),
    key(
        "allow_anonymous",
        r#""loopback""#,
        Kind::Choice(&["loopback", "yes", "no"]),
        "loopback | yes | no",
    ),
];

const CENTRAL: &[Key] = &[
    key(
        "bootstrap",
        "[]",
        Kind::Addresses,
        r#"["kafka-1.example.com:9093"]; empty = no forwarding"#,
    ),
    key("topic", r#""{topic}""#, Kind::Text, "{topic} {site}"),
    key(
        "create_topics",
        "true",
        Kind::Bool,
        "same partition count, central's default replication",
    ),
    key(
        "on_rejected",
        r#""dead-letter""#,
        Kind::Choice(&["dead-letter", "park"]),
        "dead-letter | park: one record that central refuses for itself",
    ),
    key(
        "park_after_s",
        "60",
        Kind::Int(1, 86_400),
        "partition without leader",
    ),
    key(
        "linger_ms",
        "500",
        Kind::Int(0, 600_000),
        "0 = at once; link bytes against freshness",
    ),
    key(
        "linger_ms_high",
        "20",
        Kind::Int(0, 600_000),
        r#"priority = "high""#,
    ),
    key(
        "compression",
        r#""zstd""#,
        Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        "of merged batches: none | gzip | snappy | lz4 | zstd",
    ),
    key(
        "request_bytes_max",
        r#""512KiB""#,
        Kind::Bytes(16 * KIB, 8 * MIB),
        "one request to a broker",
    ),
    key("in_flight_max", "5", Kind::Int(1, 5), "requests per broker"),
    key(
        "bytes_per_s_max",
        "0",
        Kind::Bytes(0, TIB),
        "sent to central; 0 = no limit",
    ),
    key(
        "link_gb_per_month_max",
        "0",
        Kind::Number(0.0, 1_000_000.0),
        "both ways, an alarm only; 0 = no budget",
    ),
    key(
        "drain_jitter_s",
        "5",
        Kind::Int(0, 3600),
        "so that 200 gateways do not hit central together",
    ),
    key(
        "retry_ms_min",
        "250",
        Kind::Int(10, 60_000),
        "first wait after a failure",
    ),
    key(
        "retry_ms_max",
        "30_000",
        Kind::Int(10, 3_600_000),
        "longest wait; with jitter; a sixth where nobody answers",
    ),
    key(
        "source_headers",
        "false",
        Kind::Bool,
        "edge-src = site/topic/partition/offset",
    ),
];

const TLS: &[Key] = &[
    key("enabled", "false", Kind::Bool, "TLS to central"),
    key("ca_file", r#""""#, Kind::Text, r#""" = system roots"#),
    key(
        "cert_file",
        r#""""#,
        Kind::Text,
        "client certificate; needs key_file",
    ),
    key("key_file", r#""""#, Kind::Text, "mode 0600 checked"),
    key(
        "server_name",
        r#""""#,
        Kind::Text,
        r#"name in central's certificate; "" = the host"#,
    ),
];

const SASL: &[Key] = &[
    key(
        "mechanism",
        r#""""#,
        Kind::Choice(&["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        r#""" | PLAIN | SCRAM-SHA-256 | SCRAM-SHA-512"#,
    ),
    key("user", r#""""#, Kind::Text, "user name at central"),
    key(
        "password_file",
        r#""""#,
        Kind::Text,
        "mode 0600 checked; never in this file",
    ),
];

const ADMIN: &[Key] = &[
    key(
        "socket",
        r#""auto""#,
        Kind::Text,
        "<storage.dir>/admin.sock, 0600: commands that change something",
    ),
    key(
        "http",
        r#""localhost:9883""#,
        Kind::Checked(address_or_off),
        r#"read only: /health /ready /metrics /status; checks Host; "" = off"#,
    ),
];

const MEMORY: &[Key] = &[key(
    "bytes_max",
    r#""100MiB""#,
    Kind::Bytes(32 * MIB, TIB),
    "all buffers; QoS 0 is shed at 80 %, new clients are refused at 90 %, who holds the most is \
     closed at 97 %",
)];

const LOG: &[Key] = &[
    key(
        "level",
        r#""info""#,
        Kind::Choice(LEVELS),
        "off | error | warn | info | debug | trace",
    ),
    key(
        "modules",
        "{}",
        Kind::Levels,
        r#"the same per module: { bridge = "debug" }"#,
    ),
    key(
        "format",
        r#""auto""#,
        Kind::Choice(&["auto", "text", "json"]),
        "auto | text | json",
    ),
    key(
        "repeat_s",
        "60",
        Kind::Int(0, 86_400),
        "the same refusal of one client at most this often; 0 = always",
    ),
];

impl Section {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The section of that dotted name.
pub fn section_named(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The key of that dotted name (`storage.dir`, `topics.retention.ms`).
pub fn key_named(path: &str) -> Option<&'static Key> {
    let fits = |section: &&Section| {
        path.strip_prefix(section.name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    SECTIONS
        .iter()
        .filter(fits)
        .find_map(|section| section.key(&path[section.name.len() + 1..]))
}

impl Kind {
    /// What is allowed, in words.
    pub fn allowed(self) -> String {
        let size = |least: u64, most: u64| {
            format!(
                "{} to {}",
                units::exact_bytes(least),
                units::exact_bytes(most)
            )
        };
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Text | Kind::Checked(_) => "a text".into(),
            Kind::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                quoted.join(", ")
            }
            Kind::Int(least, i64::MAX) => format!("a whole number from {least} on"),
            Kind::Int(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Bytes(least, most) => format!("a size such as \"16MiB\", {}", size(least, most)),
            Kind::BytesAuto(least, most) => format!("\"auto\" or a size, {}", size(least, most)),
            Kind::Addresses => "a list such as [\"kafka-1.example.com:9092\"]".into(),
            Kind::Levels => format!("a table such as {{ bridge = \"debug\" }}: {LEVELS:?}"),
        }
    }

    /// Checks a value; says what is allowed otherwise.
    pub fn check(self, value: &toml::Value) -> Result<(), String> {
        let wrong = || format!("allowed: {}", self.allowed());
        let fits = match (self, value) {
            (Kind::Bool, toml::Value::Boolean(_)) | (Kind::Text, toml::Value::String(_)) => true,
            (Kind::Checked(check), toml::Value::String(text)) => return check(text),
            (Kind::Choice(names), toml::Value::String(text)) => names.contains(&text.as_str()),
            (Kind::Int(least, most), toml::Value::Integer(value)) => (least..=most).contains(value),
            (Kind::Number(least, most), toml::Value::Integer(value)) => {
                (least..=most).contains(&(*value as f64))
            }
            (Kind::Number(least, most), toml::Value::Float(value)) => {
                (least..=most).contains(value)
            }
            (Kind::BytesAuto(..), toml::Value::String(text)) if text == "auto" => true,
            (Kind::Bytes(least, most) | Kind::BytesAuto(least, most), value) => {
                bytes_of(value).is_some_and(|bytes| (least..=most).contains(&bytes))
            }
            (Kind::Addresses, toml::Value::Array(items)) => return addresses(items),
            (Kind::Levels, toml::Value::Table(table)) => return levels(table),
            _ => false,
        };
        if fits { Ok(()) } else { Err(wrong()) }
    }
}

/// A size as the file may write it.
pub fn bytes_of(value: &toml::Value) -> Option<u64> {
    match value {
        toml::Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        toml::Value::String(text) => parse_bytes(text),
        _ => None,
    }
}

/// A name that nothing logs under would be obeyed without a word.
fn levels(table: &toml::Table) -> Result<(), String> {
    for (module, level) in table {
        if !level.as_str().is_some_and(|level| LEVELS.contains(&level)) {
            return Err(format!("allowed: {}", Kind::Levels.allowed()));
        }
        if !logger::is_known(module) {
            let known = logger::OURS.iter().chain(&logger::OTHERS).copied();
            let near = nearest(module, known).map(|near| format!("; did you mean {near}?"));
            let (ours, near) = (logger::OURS.join(", "), near.unwrap_or_default());
            return Err(format!(
                "no module {module} logs anything; ours: {ours}{near}"
            ));
        }
    }
    Ok(())
}

fn site_name(name: &str) -> Result<(), String> {
    let fits = name.len() <= 40
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err("allowed: a-z, 0-9 and -, at most 40".into())
    }
}

fn address(text: &str) -> Result<(), String> {
    let parsed = parse_address(text).map(|_| ());
    parsed.map_err(|what| format!("{what}, as in localhost:1883 or :1883"))
}

fn address_or_off(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let parsed = parse_address(text).map(|_| ());
    parsed.map_err(|what| format!("{what}, as in localhost:9883"))
}

/// What a bootstrap server looks like.
const LIKE_KAFKA: &str = "as in kafka-1.example.com:9092";

fn addresses(items: &[toml::Value]) -> Result<(), String> {
    items.iter().try_for_each(|item| {
        let text = item
            .as_str()
            .ok_or("allowed: texts such as \"kafka-1.example.com:9092\"")?;
        match parse_address(text) {
            Ok((host, port)) if !host.is_empty() && port > 0 => Ok(()),
            Ok(_) => Err(format!("needs a host and a port, {LIKE_KAFKA}: {text:?}")),
            Err(what) => Err(format!("{what}, {LIKE_KAFKA}: {text:?}")),
        }
    })
}
