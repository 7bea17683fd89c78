//! Where things are: the configuration file, the data folder, the socket in it.
//!
//! Reads the environment and looks whether files exist; changes nothing.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// Where the machine's configuration is.
const SYSTEM_FILE: &str = "/etc/edge-broker/edge-broker.toml";

/// `sun_path` of Linux holds 108 bytes, one of them the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// No file: the defaults.
    BuiltIn,
}

impl Source {
    /// `--config`, else `$EDGE_BROKER_CONFIG`, else the system's file if it exists, else built in.
    pub fn find(flag: Option<&Path>) -> Source {
        let named = flag
            .map(PathBuf::from)
            .or_else(|| non_empty("EDGE_BROKER_CONFIG"));
        let system = || Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists());
        named.or_else(system).map_or(Source::BuiltIn, Source::File)
    }

    /// Its text.
    pub fn read(&self) -> Result<String, Failure> {
        let Source::File(path) = self else {
            return Ok(String::new());
        };
        std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                Exit::CONFIG,
                format!("configuration cannot be read: {}: {error}", path.display()),
            )
            .fix("name another one with --config, or leave it out for the built-in defaults")
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(out, "{}", path.display()),
            Source::BuiltIn => out.write_str("built-in defaults"),
        }
    }
}

/// `storage.dir = "auto"`.
pub fn data_dir_by_default() -> PathBuf {
    if let Some(dir) = non_empty("STATE_DIRECTORY") {
        // systemd separates several by colons; ours is the first.
        let text = dir.to_string_lossy();
        return PathBuf::from(text.split(':').next().unwrap_or(&text));
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/edge-broker");
    }
    let home = non_empty("HOME").unwrap_or_else(|| PathBuf::from("/"));
    non_empty("XDG_STATE_HOME")
        .unwrap_or_else(|| home.join(".local/state"))
        .join("edge-broker")
}

/// Where the socket of a data folder is to be made; not in the folder when its path is too long.
pub fn socket_path(data: &Path) -> PathBuf {
    let inside = data.join("admin.sock");
    if inside.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return inside;
    }
    let folder = non_empty("XDG_RUNTIME_DIR").unwrap_or_else(env::temp_dir);
    // The name follows from the folder, so that a restart replaces its own socket.
    folder.join(format!(
        "edge-broker-{:016x}.sock",
        fnv1a(data.as_os_str().as_encoded_bytes())
    ))
}

/// The file that names the socket when it is not in the data folder.
pub fn socket_pointer(data: &Path) -> PathBuf {
    data.join("admin.path")
}

fn non_empty(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
