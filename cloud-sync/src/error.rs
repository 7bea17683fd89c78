//! What can go wrong, by who must act.
//!
//! [`ConfigError`]: the operator's file. [`ConnectError`]: the way to central, one variant per
//! stage, each with a hint. What central says about one topic or record is not an error of the
//! package but a state of that topic (see [`crate::status`]).

use std::fmt;

/// A value in `[central]` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as in `central.tls.ca_file`.
    pub key: String,
    /// What is wrong with it and what is allowed.
    pub reason: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// How far a connection to central came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The name has no address.
    Dns,
    /// No TCP connection.
    Tcp,
    /// No TLS session: protocol, or a certificate nobody trusted.
    Tls,
    /// The certificate is for another name.
    TlsName,
    /// The certificate is not valid now.
    TlsDate,
    /// Our own certificate, key or authority file.
    LocalFile,
    /// Our own password file.
    PasswordFile,
    /// Authentication failed.
    Sasl,
    /// The cluster answers, and cannot give what forwarding needs.
    Refused,
    /// The other side does not speak Kafka as we do.
    Protocol,
    /// The connection broke while a request was under way.
    Broken,
    /// A request got no answer in time.
    Request,
    /// The forwarder itself ended by an error.
    Program,
}

/// Why central cannot be used just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// Where it stopped.
    pub stage: Stage,
    /// `host:port`.
    pub address: String,
    /// What happened.
    pub reason: String,
}

impl Stage {
    /// What to do about an error there.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Stage::Dns => "check the host name in central.bootstrap and this gateway's DNS",
            Stage::Tcp => "check the uplink, the port and firewalls; it is tried again by itself",
            Stage::Tls => {
                "set central.tls.ca_file to the authority that signed the broker's certificate; \
                 a plain listener needs central.tls.enabled = false"
            }
            Stage::TlsName => {
                "connect by a name that stands in the certificate, or set central.tls.server_name"
            }
            Stage::TlsDate => {
                "check this gateway's clock first (status shows it), then the certificate's dates"
            }
            Stage::LocalFile | Stage::PasswordFile => {
                "repair the named file; it is read again at the next try"
            }
            Stage::Sasl => {
                "check central.sasl.mechanism, user and password_file against the cluster"
            }
            Stage::Refused => "look at the brokers and their logs; it is tried again by itself",
            Stage::Protocol => {
                "check that the port is a Kafka listener of version 1.0 or newer, and whether it \
                 expects TLS or SASL"
            }
            Stage::Broken | Stage::Request => {
                "check the uplink and the brokers; it is tried again by itself"
            }
            Stage::Program => {
                "start the gateway again: what waits is stored; the log says where it ended"
            }
        }
    }

    /// The alarm an error there belongs to.
    pub(crate) fn alarm_code(self) -> &'static str {
        match self {
            Stage::Tls | Stage::TlsName | Stage::TlsDate | Stage::LocalFile => "central.tls",
            Stage::Sasl | Stage::PasswordFile => "central.auth",
            _ => "central.unreachable",
        }
    }
}

impl ConnectError {
    pub(crate) fn new(stage: Stage, address: &str, reason: impl fmt::Display) -> Self {
        Self {
            stage,
            address: address.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        self.stage.hint()
    }

    /// There was no connection: next to nothing was sent, and nothing there needs a person.
    pub(crate) fn is_early(&self) -> bool {
        matches!(self.stage, Stage::Dns | Stage::Tcp)
    }

    /// The alarm this error belongs to.
    pub fn alarm_code(&self) -> &'static str {
        self.stage.alarm_code()
    }
}

impl ConnectError {
    /// What became of a request: its connection broke, or nothing came in time.
    pub(crate) fn of_request(address: &str, error: &std::io::Error, words: String) -> Self {
        let stage = match error.kind() {
            std::io::ErrorKind::TimedOut => Stage::Request,
            _ => Stage::Broken,
        };
        Self::new(stage, address, words)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.stage {
            Stage::Dns => "name not resolved",
            Stage::Tcp => "no connection",
            Stage::Tls => "TLS failed",
            Stage::TlsName => "certificate is for another name",
            Stage::TlsDate => "certificate is not valid now",
            Stage::LocalFile => "file cannot be used",
            Stage::PasswordFile => "password file cannot be used",
            Stage::Sasl => "authentication refused",
            Stage::Refused => "refused by the cluster",
            Stage::Protocol => "not understood",
            Stage::Broken => "connection lost",
            Stage::Request => "no answer in time",
            Stage::Program => "stopped",
        };
        write!(f, "{}: {what}: {}", self.address, self.reason)
    }
}

impl std::error::Error for ConnectError {}
