//! This project's program under load, asked through its own `/status`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Folder;
use crate::Options;
use crate::process::{self, Server, Syncs};

/// How to start one.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Its configuration.
    pub config: &'a str,
    /// Central, if it forwards.
    pub central: Option<String>,
    /// How its syncs are treated.
    pub syncs: Syncs,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            config: "",
            central: None,
            syncs: Syncs::Plain,
        }
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its MQTT door.
    pub address: SocketAddr,
    /// From starting the process to the first PUBACK.
    pub ready_after: Duration,
    /// The process.
    pub server: Server,
    http: SocketAddr,
}

/// Starts one on a folder, which may hold data of an earlier one.
pub fn start(options: &Options, folder: &Folder, setup: &Setup<'_>) -> io::Result<Gateway> {
    let config = folder.join("edge-broker.toml");
    std::fs::write(&config, setup.config)?;
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (address, http) = (
        loopback(process::free_port()?),
        loopback(process::free_port()?),
    );
    let mut args = vec!["serve".to_owned()];
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    flag("--config", config.display().to_string());
    flag("--data", data(folder.path()));
    flag("--mqtt", address.to_string());
    flag("--admin", http.to_string());
    if let Some(central) = &setup.central {
        flag("--central", central.clone());
    }
    let server = Server::start(&options.program, &args, &folder.join("log"), &setup.syncs)?;
    let ready_after = super::ready(address).map_err(|error| {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        io::Error::other(format!("{error}\n{log}"))
    })?;
    Ok(Gateway {
        address,
        ready_after,
        server,
        http,
    })
}

/// Its data in a folder.
pub fn data(folder: &Path) -> String {
    folder.join("data").display().to_string()
}

impl Gateway {
    /// What it says about itself.
    pub fn status(&self) -> io::Result<Value> {
        let mut stream = TcpStream::connect(self.http)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| io::Error::other(format!("{error}: {answer}")))
    }

    /// A number of `/status` by its JSON pointer; 0 where it is not there.
    pub fn number(&self, pointer: &str) -> f64 {
        let status = self.status().unwrap_or_default();
        status
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    }
}
