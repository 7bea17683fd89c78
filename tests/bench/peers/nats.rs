//! NATS with JetStream and its MQTT door, told to sync every message.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::Folder;
use crate::Options;
use crate::process::{self, Server, Syncs};

const MODULE: &str = "github.com/nats-io/nats-server/v2@latest";

/// A running NATS.
#[derive(Debug)]
pub struct Nats {
    /// Its MQTT door.
    pub address: SocketAddr,
    _server: Server,
    _folder: Folder,
}

/// Starts one with `sync_interval: always`.
pub fn start(options: &Options, syncs: &Syncs) -> io::Result<Nats> {
    let program = install(options)?;
    let folder = Folder::create(options, "nats")?;
    let (port, mqtt) = (process::free_port()?, process::free_port()?);
    let config = folder.join("nats.conf");
    let store = folder.join("store");
    let text = format!(
        "server_name: bench\nlisten: 127.0.0.1:{port}\n\
         jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
         mqtt {{ listen: 127.0.0.1:{mqtt} }}\n",
        store.display()
    );
    std::fs::write(&config, text)?;
    let args = ["-c".to_owned(), config.display().to_string()];
    let server = Server::start(&program, &args, &folder.join("log"), syncs)?;
    let address = SocketAddr::from(([127, 0, 0, 1], mqtt));
    super::ready(address)?;
    Ok(Nats {
        address,
        _server: server,
        _folder: folder,
    })
}

fn install(options: &Options) -> io::Result<PathBuf> {
    let bin = options.peers.join("bin");
    let program = bin.join("nats-server");
    if !program.exists() {
        eprintln!(
            "   installing NATS: GOBIN={} go install {MODULE}",
            bin.display()
        );
        let go = Command::new("go")
            .args(["install", MODULE])
            .env("GOBIN", &bin)
            .output()?;
        if !go.status.success() {
            let said = String::from_utf8_lossy(&go.stderr).into_owned();
            return Err(io::Error::other(format!("go install {MODULE}: {said}")));
        }
    }
    Ok(program)
}

/// Name and version for the table.
pub fn version(options: &Options) -> String {
    let program = options.peers.join("bin/nats-server");
    let text = process::run(Command::new(program).arg("--version"));
    text.map_or("NATS".to_owned(), |text| {
        text.trim().replace("nats-server: ", "NATS ")
    })
}
