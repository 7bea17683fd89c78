//! Eclipse Mosquitto: acknowledges from memory.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use super::Folder;
use crate::Options;
use crate::process::{self, Server, Syncs};

/// A running Mosquitto.
#[derive(Debug)]
pub struct Mosquitto {
    /// Its door.
    pub address: SocketAddr,
    _server: Server,
    _folder: Folder,
}

/// Starts one with its defaults, open to everybody on this machine.
pub fn start(options: &Options) -> io::Result<Mosquitto> {
    let program = super::debian("mosquitto", "mosquitto")?;
    let folder = Folder::create(options, "mosquitto")?;
    let port = process::free_port()?;
    let config = folder.join("mosquitto.conf");
    std::fs::write(
        &config,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\n"),
    )?;
    let args = ["-c".to_owned(), config.display().to_string()];
    let server = Server::start(&program, &args, &folder.join("log"), &Syncs::Plain)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    super::ready(address)?;
    Ok(Mosquitto {
        address,
        _server: server,
        _folder: folder,
    })
}

/// Name and version for the table.
pub fn version() -> String {
    let help = Command::new("/usr/sbin/mosquitto").arg("-h").output();
    let text = help.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or("mosquitto")
        .to_owned()
}
