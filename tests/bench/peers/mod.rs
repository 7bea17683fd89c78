//! The servers under load: this gateway and its peers, each installed when it is missing.

pub mod gateway;
pub mod kafka;
pub mod mosquitto;
pub mod nats;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::load;
use crate::process;

/// A server may take so long until it acknowledges its first publish.
const FIRST_ACK_MAX: Duration = Duration::from_secs(30);

/// A fresh folder for one server of one scenario; removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Below `--data`, else below the temporary folder.
    pub fn create(options: &Options, name: &str) -> io::Result<Folder> {
        let below = options.data.clone().unwrap_or_else(std::env::temp_dir);
        let path = below.join(format!("edge-broker-bench-{}-{name}", std::process::id()));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&path)?,
        }
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing to be done about what cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until a server acknowledges.
fn ready(address: SocketAddr) -> io::Result<Duration> {
    load::first_ack(address, FIRST_ACK_MAX)
}

/// The program of that name, from Debian's package when it is missing.
fn debian(program: &str, package: &str) -> io::Result<PathBuf> {
    let candidates = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    let find = || {
        candidates
            .iter()
            .map(|dir| Path::new(dir).join(program))
            .find(|path| path.exists())
    };
    if let Some(path) = find() {
        return Ok(path);
    }
    eprintln!("   installing {package} by apt-get");
    process::run(Command::new("apt-get").args([
        "install",
        "-y",
        "--no-install-recommends",
        package,
    ]))
    .map_err(|error| io::Error::other(format!("{error}\n  apt-get install {package}")))?;
    find().ok_or_else(|| io::Error::other(format!("{package} has no {program}")))
}
