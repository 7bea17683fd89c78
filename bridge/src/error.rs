//! Errors of the MQTT door, by who must act: the person who wrote the configuration, or the
//! one who looks after the machine. What a device does wrong is `codec::Violation`.

use std::fmt;
use std::net::SocketAddr;

/// Why the door did not open.
#[derive(Debug)]
pub enum StartError {
    /// A value in the configuration that cannot work.
    Config {
        /// The key, as written in the file.
        key: String,
        /// What is allowed.
        allowed: String,
        /// What is there.
        value: String,
    },
    /// Two routes give one topic different settings.
    RouteConflict {
        /// The topic.
        topic: String,
        /// The setting they disagree about.
        setting: &'static str,
        /// The filter and value of the earlier route.
        first: Box<(String, String)>,
        /// The filter and value of the later route.
        second: Box<(String, String)>,
    },
    /// An address that is in use or does not exist here.
    Bind {
        /// The address as written in the file.
        address: String,
        /// The socket address that failed, where the name could be resolved.
        resolved: Option<SocketAddr>,
        /// What the system says.
        error: std::io::Error,
    },
}

impl StartError {
    /// A value that cannot work.
    #[allow(clippy::needless_pass_by_value)] // so that callers can say what they have
    pub(crate) fn config(
        key: impl Into<String>,
        allowed: impl Into<String>,
        value: impl fmt::Display,
    ) -> Self {
        StartError::Config {
            key: key.into(),
            allowed: allowed.into(),
            value: value.to_string(),
        }
    }

    /// Whether the port is taken by another program.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, StartError::Bind { error, .. }
            if error.kind() == std::io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config {
                key,
                allowed,
                value,
            } => {
                write!(f, "{key} {allowed}: {value}")
            }
            StartError::RouteConflict {
                topic,
                setting,
                first,
                second,
            } => write!(
                f,
                "routes {:?} and {:?} give topic {topic} different {setting}; \
                 it belongs to the topic, make them equal: {} and {}",
                first.0, second.0, first.1, second.1
            ),
            StartError::Bind {
                address,
                resolved: Some(resolved),
                error,
            } => {
                write!(
                    f,
                    "cannot listen on {resolved} (mqtt.listener {address}): {error}"
                )
            }
            StartError::Bind {
                address,
                resolved: None,
                error,
            } if error.kind() == std::io::ErrorKind::InvalidInput => write!(
                f,
                "mqtt.listener address must be HOST:PORT or :PORT: {address:?}"
            ),
            StartError::Bind {
                address,
                resolved: None,
                error,
            } => write!(
                f,
                "no address is known for the name in mqtt.listener {address}: {error}"
            ),
        }
    }
}

impl std::error::Error for StartError {}
