//! Where things are: the configuration file, the data folder, the socket in it.
//!
//! Reads the environment and looks whether files exist; changes nothing.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// Where the machine's configuration is.
const SYSTEM_FILE: &str = "/etc/edge-broker/edge-broker.toml";

/// Names a file for everything that is started from here.
const VARIABLE: &str = "EDGE_BROKER_CONFIG";

/// `sun_path` of Linux holds 108 bytes, one of them the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file that the command line names.
    File(PathBuf),
    /// A file that the environment names.
    Variable(PathBuf),
    /// The machine's file.
    System(PathBuf),
    /// No file: the defaults.
    BuiltIn,
}

impl Source {
    /// `--config`, else `$EDGE_BROKER_CONFIG`, else the system's file if it exists, else built in.
    pub fn find(flag: Option<&Path>) -> Source {
        match (flag, non_empty(VARIABLE)) {
            (Some(file), _) => Source::File(file.into()),
            (None, Some(file)) => Source::Variable(file),
            (None, None) => Source::system(Path::new(SYSTEM_FILE)),
        }
    }

    /// A file that may be there but not be looked at counts as there: defaults in its place, and
    /// without a word, would be another gateway than the one that was set up.
    fn system(path: &Path) -> Source {
        match path.try_exists() {
            Ok(false) => Source::BuiltIn,
            Ok(true) | Err(_) => Source::System(path.into()),
        }
    }

    /// Its text.
    pub fn read(&self) -> Result<String, Failure> {
        let (path, fix) = match self {
            Source::BuiltIn => return Ok(String::new()),
            Source::File(path) => (path, "name another file, or none for the built-in defaults"),
            Source::Variable(path) => (path, "$EDGE_BROKER_CONFIG names it: set or unset that"),
            Source::System(path) => (
                path,
                "use a user who may read it, or name another file: --config FILE",
            ),
        };
        std::fs::read_to_string(path).map_err(|error| {
            let text = format!("configuration cannot be read: {}: {error}", path.display());
            Failure::new(Exit::CONFIG, text).fix(fix)
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) | Source::Variable(path) | Source::System(path) => {
                write!(out, "{}", path.display())
            }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As with a folder of mode 0700: a look at it says neither yes nor no.
    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let missing = folder.path().join("missing.toml");
        assert_eq!(Source::system(&missing), Source::BuiltIn);
        let hidden = file.join("edge-broker.toml");
        assert_eq!(Source::system(&hidden), Source::System(hidden.clone()));
        assert_eq!(
            Source::system(&hidden).read().unwrap_err().code,
            Exit::CONFIG
        );
    }

    #[test]
    fn the_remedy_names_what_named_the_file() {
        let missing = PathBuf::from("/nowhere/edge-broker.toml");
        let fixes = |source: Source| source.read().unwrap_err().fixes.join("");
        assert!(fixes(Source::Variable(missing.clone())).contains("$EDGE_BROKER_CONFIG"));
        assert!(fixes(Source::System(missing)).contains("--config"));
    }
}
