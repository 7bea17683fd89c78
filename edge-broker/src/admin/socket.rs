//! Where the admin doors listen: a Unix socket of mode 0600, and TCP addresses.
//!
//! Making, finding and removing them; what is spoken there is `http`'s business.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use smol::Async;

use super::resolve;
use crate::config::{socket_path, socket_pointer, units};
use crate::failure::{Exit, Failure};
use crate::machine;

const BACKLOG: i32 = 64;

/// The admin socket while the gateway runs.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// The file that names it, where it is not in the data folder.
    pointer: Option<PathBuf>,
    listening: OwnedFd,
}

impl Socket {
    /// Binds it for the gateway that holds `data`; what an earlier one left there is removed.
    pub fn bind(data: &Path, setting: &str) -> Result<Socket, Failure> {
        let inside = data.join("admin.sock");
        let path = if setting == "auto" {
            socket_path(data)
        } else {
            PathBuf::from(setting)
        };
        let pointer = (path != inside).then(|| socket_pointer(data));
        let listening = listen(&path).map_err(|error| {
            Failure::new(
                Exit::IO,
                format!("admin socket cannot be made: {}: {error}", path.display()),
            )
            .fix("name a path of at most 107 bytes in a folder of yours: admin.socket")
        })?;
        match &pointer {
            Some(pointer) => fs::write(pointer, path.as_os_str().as_encoded_bytes()),
            None => remove_if_there(&socket_pointer(data)),
        }
        .map_err(|error| Failure::new(Exit::IO, format!("{}: {error}", data.display())))?;
        Ok(Socket {
            path,
            pointer,
            listening,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the accepting task.
    pub fn listener(&self) -> Result<Async<UnixListener>, Failure> {
        let listener = self.listening.try_clone().map(UnixListener::from);
        let listener = listener.and_then(Async::new);
        listener.map_err(|error| Failure::new(Exit::IO, format!("admin socket: {error}")))
    }

    /// Takes it away: nobody answers there any more.
    pub fn remove(&self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
        if let Some(pointer) = &self.pointer {
            let _ = fs::remove_file(pointer);
        }
    }
}

/// Listens with mode 0600 from the first moment: the mode is set before the name exists.
fn listen(path: &Path) -> io::Result<OwnedFd> {
    remove_if_there(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The socket of the gateway that holds `data`.
pub fn find(data: &Path) -> PathBuf {
    match fs::read_to_string(socket_pointer(data)) {
        Ok(path) => PathBuf::from(path.trim()),
        Err(_) => socket_path(data),
    }
}

/// Listens on every address that `address` means; "" = none.
pub fn bind_http(address: &str) -> Result<Vec<(SocketAddr, Async<TcpListener>)>, Failure> {
    let Ok((host, port)) = units::parse_address(address) else {
        return Ok(Vec::new());
    };
    let mut bound: Vec<(SocketAddr, Async<TcpListener>)> = Vec::new();
    let mut first_error = None;
    for mut candidate in resolve(&host, port) {
        // Port 0 is the same free port on both addresses of localhost.
        if let (0, Some((first, _))) = (candidate.port(), bound.first()) {
            candidate.set_port(first.port());
        }
        match Async::<TcpListener>::bind(candidate) {
            Ok(listener) => bound.push((
                listener.get_ref().local_addr().unwrap_or(candidate),
                listener,
            )),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(in_use(candidate, "--admin localhost:9884"));
            }
            // A machine without IPv6 has no ::1; one address is enough.
            Err(error) => first_error = first_error.or(Some((candidate, error))),
        }
    }
    if !bound.is_empty() {
        return Ok(bound);
    }
    let text = match first_error {
        Some((candidate, error)) => format!("cannot listen on {candidate} (admin.http): {error}"),
        None => format!("no address found for admin.http: {address}"),
    };
    Err(Failure::new(Exit::UNAVAILABLE, text))
}

/// `127.0.0.1:1883 is in use by mosquitto (pid 712)`, and how to get out.
pub fn in_use(address: SocketAddr, other: &str) -> Failure {
    let owner = machine::port_owner(address);
    let by = owner
        .as_ref()
        .map(|owner| format!(" by {} (pid {})", owner.name, owner.pid));
    let text = format!("{address} is in use{}", by.unwrap_or_default());
    let failure = Failure::new(Exit::UNAVAILABLE, text);
    let failure = match owner {
        Some(owner) if machine::is_service(&owner) => failure.fix(format!(
            "stop it: sudo systemctl disable --now {}",
            owner.name
        )),
        Some(owner) => failure.fix(format!("stop it: kill {}", owner.pid)),
        None => failure,
    };
    failure.fix(format!("or use another port: {other}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::bind(folder.path(), "auto").unwrap();
        let mode = fs::metadata(socket.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(find(folder.path()), folder.path().join("admin.sock"));
        socket.remove();
        assert!(!folder.path().join("admin.sock").exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = Socket::bind(folder.path(), "auto").unwrap();
        drop(first);
        Socket::bind(folder.path(), "auto").unwrap();
    }

    #[test]
    fn a_long_folder_names_its_socket_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("x".repeat(120));
        fs::create_dir(&data).unwrap();
        let socket = Socket::bind(&data, "auto").unwrap();
        assert_eq!(find(&data), socket.path());
        assert!(data.join("admin.path").exists());
        socket.remove();
        assert!(!data.join("admin.path").exists());
    }

    #[test]
    fn a_port_in_use_names_the_process() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let failure = bind_http(&address.to_string()).unwrap_err();
        assert_eq!(failure.code, Exit::UNAVAILABLE);
        assert!(
            failure
                .message
                .contains(&format!("(pid {})", std::process::id())),
            "{failure}"
        );
        assert!(
            failure.fixes.iter().any(|fix| fix.contains("--admin")),
            "{failure}"
        );
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let bound = bind_http("localhost:0").unwrap();
        assert_eq!(bound[0].0.ip(), std::net::Ipv4Addr::LOCALHOST);
        assert!(
            bound
                .iter()
                .all(|(address, _)| address.port() == bound[0].0.port())
        );
        assert!(bind_http("").unwrap().is_empty());
    }
}
