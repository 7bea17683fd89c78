//! The `[central]` section: every key, its default and what is allowed.
//!
//! Read by `edge-broker` from TOML, handed to [`crate::start`]. Nothing here opens a file or a
//! socket: secrets are read when a connection is made, so a rotated password needs no restart.

use std::fmt;
use std::net::IpAddr;

use edge_site::Compression;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{error::ConfigError, mapping::TopicTemplate};

/// Where central is and how records travel there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CentralConfig {
    /// `host:port` of some brokers; empty = no forwarding.
    pub bootstrap: Vec<String>,
    /// Name of the central topic: `{topic}` and `{site}` are filled in.
    pub topic: String,
    /// Create missing central topics with the same partition count.
    pub create_topics: bool,
    /// What happens to one record that central refuses for itself.
    pub on_rejected: OnRejected,
    /// How long a partition may lack a leader before its topic is parked.
    pub park_after_s: u64,
    /// How long records wait for company on the live link; 0 = not at all.
    pub linger_ms: u64,
    /// The same for topics with `priority = "high"`.
    pub linger_ms_high: u64,
    /// Codec of batches that are merged here.
    #[serde(with = "as_text")]
    pub compression: Compression,
    /// Largest Produce request.
    #[serde(with = "byte_size")]
    pub request_bytes_max: u64,
    /// Produce requests under way per broker.
    pub in_flight_max: u32,
    /// Cap of what is sent; 0 = none.
    #[serde(with = "byte_size")]
    pub bytes_per_s_max: u64,
    /// What the link may carry in a calendar month, both ways, before an alarm says so; 0 = no
    /// budget. Nothing is held back.
    pub link_gb_per_month_max: f64,
    /// Random wait before a backlog is drained after an outage, so that sites do not all start
    /// at once.
    pub drain_jitter_s: u64,
    /// First wait before a failed connection or request is tried again.
    pub retry_ms_min: u64,
    /// Longest wait between tries; a sixth of it where not even a connection came about, which
    /// costs next to nothing and is how the return of central is noticed.
    pub retry_ms_max: u64,
    /// Add the header `edge-src` = site/topic/partition/offset to each record.
    pub source_headers: bool,
    /// Encryption.
    pub tls: TlsConfig,
    /// Authentication.
    pub sasl: SaslConfig,
}

/// What happens to a record that central refuses for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRejected {
    /// It goes to the local topic `_dead_letter`; the rest goes on.
    DeadLetter,
    /// Its topic is parked until somebody has repaired the cause.
    Park,
}

/// `[central.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Speak TLS.
    pub enabled: bool,
    /// PEM file of the authorities to trust; "" = the system's.
    pub ca_file: String,
    /// PEM file of our certificate chain, for brokers that ask for one.
    pub cert_file: String,
    /// PEM file of its key; only its owner may read it.
    pub key_file: String,
    /// Name to expect in the broker's certificate; "" = the host connected to.
    pub server_name: String,
}

/// `[central.sasl]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaslConfig {
    /// "" | PLAIN | SCRAM-SHA-256 | SCRAM-SHA-512.
    #[serde(with = "as_text")]
    pub mechanism: Mechanism,
    /// User name.
    pub user: String,
    /// File with the password and nothing else; only its owner may read it.
    pub password_file: String,
}

/// How to prove who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mechanism {
    /// No SASL.
    #[default]
    None,
    /// User and password as they are: only over TLS, or to this machine.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

impl Default for CentralConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            topic: "{topic}".into(),
            create_topics: true,
            on_rejected: OnRejected::DeadLetter,
            park_after_s: 60,
            linger_ms: 500,
            linger_ms_high: 20,
            compression: Compression::Zstd,
            request_bytes_max: 512 << 10,
            in_flight_max: 5,
            bytes_per_s_max: 0,
            link_gb_per_month_max: 0.0,
            drain_jitter_s: 5,
            retry_ms_min: 250,
            retry_ms_max: 30_000,
            source_headers: false,
            tls: TlsConfig::default(),
            sasl: SaslConfig::default(),
        }
    }
}

impl CentralConfig {
    /// Checks what values alone can be wrong about. Files are read when a
    /// connection is made.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// All of it at once, so that nobody mends one line after the other.
    pub fn problems(&self) -> Vec<ConfigError> {
        let addresses = self.bootstrap.iter();
        let addresses = addresses.map(|address| split_host_port(address).map(drop));
        let request = (16 << 10, 8 << 20);
        let retry_ms = (self.retry_ms_min, 3_600_000);
        let others = [
            TopicTemplate::parse(&self.topic).map(drop),
            range("in_flight_max", self.in_flight_max.into(), (1, 5)),
            range("request_bytes_max", self.request_bytes_max, request),
            range("retry_ms_min", self.retry_ms_min, (10, 60_000)),
            range("retry_ms_max", self.retry_ms_max, retry_ms),
            range("linger_ms", self.linger_ms, (0, 600_000)),
            range("linger_ms_high", self.linger_ms_high, (0, 600_000)),
            range("drain_jitter_s", self.drain_jitter_s, (0, 3_600)),
            range("park_after_s", self.park_after_s, (1, 86_400)),
            self.validate_tls(),
            self.validate_sasl(),
        ];
        addresses.chain(others).filter_map(Result::err).collect()
    }

    fn validate_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.tls;
        if tls.cert_file.is_empty() != tls.key_file.is_empty() {
            return Err(ConfigError::new(
                "central.tls.key_file",
                "cert_file and key_file go together: set both or neither",
            ));
        }
        let used = [&tls.ca_file, &tls.cert_file, &tls.server_name];
        if !tls.enabled && used.iter().any(|text| !text.is_empty()) {
            return Err(ConfigError::new(
                "central.tls.enabled",
                "is false, but other keys of [central.tls] are set: set it to true",
            ));
        }
        Ok(())
    }

    fn validate_sasl(&self) -> Result<(), ConfigError> {
        let sasl = &self.sasl;
        match sasl.mechanism {
            Mechanism::None if sasl.user.is_empty() && sasl.password_file.is_empty() => Ok(()),
            Mechanism::None => Err(ConfigError::new(
                "central.sasl.mechanism",
                "is empty, but user or password_file is set: PLAIN, SCRAM-SHA-256 or \
                 SCRAM-SHA-512",
            )),
            _ if sasl.user.is_empty() => Err(ConfigError::new(
                "central.sasl.user",
                "is empty: set the user name",
            )),
            _ if sasl.password_file.is_empty() => Err(ConfigError::new(
                "central.sasl.password_file",
                "is empty: name a file that holds the password, mode 0600",
            )),
            Mechanism::Plain if !self.tls.enabled && !self.is_on_this_machine() => {
                Err(ConfigError::new(
                    "central.sasl.mechanism",
                    "PLAIN would send the password readable over the network: set \
                     central.tls.enabled = true, or use SCRAM-SHA-256 or SCRAM-SHA-512",
                ))
            }
            _ => Ok(()),
        }
    }
}

impl CentralConfig {
    /// Nothing goes over a network: a cluster for trials, or a tunnel.
    fn is_on_this_machine(&self) -> bool {
        let is_loopback = |host: &str| {
            let address = host.parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        let mut hosts = self
            .bootstrap
            .iter()
            .map(|address| split_host_port(address));
        hosts.all(|host| host.is_ok_and(|(host, _)| is_loopback(&host)))
    }
}

/// Splits `host:port`, `[v6]:port`; the port is required.
pub(crate) fn split_host_port(address: &str) -> Result<(String, u16), ConfigError> {
    let bad = || {
        ConfigError::new(
            "central.bootstrap",
            format!("host:port is needed, as in kafka-1.example.com:9092: {address}"),
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(bad)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(bad)?,
        None if host.contains(':') => return Err(bad()),
        None => host,
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

fn range(key: &str, value: u64, (min, max): (u64, u64)) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(
        format!("central.{key}"),
        format!("from {min} to {max} is allowed: {value}"),
    ))
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        })
    }
}

impl std::str::FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => Self::None,
            "PLAIN" => Self::Plain,
            "SCRAM-SHA-256" => Self::ScramSha256,
            "SCRAM-SHA-512" => Self::ScramSha512,
            other => {
                return Err(format!(
                    "\"\", PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 is allowed: {other}"
                ));
            }
        })
    }
}

/// A value written as its text.
mod as_text {
    use std::{fmt::Display, str::FromStr};

    use super::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer, T: Display>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Bytes as a number or as text with a unit: `524288`, `"512KiB"`, `"2MB"`.
mod byte_size {
    use super::{Deserializer, Serializer, de, fmt};

    const UNITS: [(&str, u64); 7] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
        ("B", 1),
    ];

    pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        let unit = UNITS[..3]
            .iter()
            .find(|(_, bytes)| *value >= *bytes && value.is_multiple_of(*bytes));
        match unit {
            Some((name, bytes)) => to.collect_str(&format_args!("{}{name}", value / bytes)),
            None => to.serialize_u64(*value),
        }
    }

    pub fn parse(text: &str) -> Option<u64> {
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(name, factor)| Some((text.strip_suffix(name)?, *factor)))
            .unwrap_or((text, 1));
        digits
            .trim()
            .replace('_', "")
            .parse::<u64>()
            .ok()?
            .checked_mul(factor)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        struct Size;
        impl de::Visitor<'_> for Size {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes, as in 524288 or \"512KiB\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
                Ok(value)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests;
