//! Where the admin doors listen: a Unix socket of mode 0600, and TCP addresses.
//!
//! Making, finding and removing them; what is spoken there is `http`'s business.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
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
    /// Device and inode: what stands at the path later may be another's.
    file: Option<(u64, u64)>,
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
        make_room(&path, setting)?;
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
            file: file_at(&path),
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
        if self.file.is_some() && file_at(&self.path) == self.file {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(pointer) = &self.pointer {
            let _ = fs::remove_file(pointer);
        }
    }
}

/// Takes away the socket that an earlier gateway left behind, and nothing else: a slip in
/// `admin.socket` must not cost a file, or another program its socket.
fn make_room(path: &Path, setting: &str) -> Result<(), Failure> {
    let what = match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => "is there and is no socket",
        Ok(_) if UnixStream::connect(path).is_ok() => "is the socket of a running program",
        // What else is wrong with the path, making the socket says.
        _ => {
            let _ = remove_if_there(path);
            return Ok(());
        }
    };
    let text = format!(
        "admin socket cannot be made, this {what}: {}",
        path.display()
    );
    Err(match setting {
        "auto" => Failure::new(Exit::IO, text).fix(format!("move it away: {}", path.display())),
        _ => Failure::new(Exit::CONFIG, text)
            .fix("name a path that is free: admin.socket, or \"auto\" for one in the data folder"),
    })
}

/// Which file stands at a path.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Listens with mode 0600 from the first moment: the mode is set before the name exists.
fn listen(path: &Path) -> io::Result<OwnedFd> {
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
                return Err(in_use(candidate, "--admin"));
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

/// `127.0.0.1:1883 is in use by mosquitto (pid 712)`, and how to get out: `flag` names another.
pub fn in_use(address: SocketAddr, flag: &str) -> Failure {
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
    let other = address.port().saturating_add(1);
    failure.fix(format!("or use another port: {flag} localhost:{other}"))
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
    fn what_is_no_left_over_socket_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "years of work").unwrap();
        let failure = Socket::bind(folder.path(), precious.to_str().unwrap()).unwrap_err();
        assert_eq!(failure.code, Exit::CONFIG, "{failure}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "years of work");
        // A socket that answers is another program's.
        let other = folder.path().join("other.sock");
        let _listening = UnixListener::bind(&other).unwrap();
        let failure = Socket::bind(folder.path(), other.to_str().unwrap()).unwrap_err();
        assert_eq!(failure.code, Exit::CONFIG, "{failure}");
        UnixStream::connect(&other).unwrap();
    }

    #[test]
    fn only_its_own_file_is_taken_away_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::bind(folder.path(), "auto").unwrap();
        // The file keeps its inode while it has another name.
        fs::rename(socket.path(), folder.path().join("aside")).unwrap();
        fs::write(socket.path(), "of somebody else").unwrap();
        socket.remove();
        assert!(socket.path().exists());
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
