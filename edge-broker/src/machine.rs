//! Facts about this machine and process: memory, filesystem, clock, open files, who has a port.
//!
//! Reads /proc and asks the kernel; the only thing it changes is this process's file limit.

mod kernel_clock;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use edge_site::ClockTrust;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The day of this release, set with each: no clock that is right shows less.
const BUILT_AT_MS: i64 = 1_795_219_200_000;

/// Resident memory of this process.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Size and free bytes of the filesystem that holds `path`, as an unprivileged user sees them.
pub fn filesystem(path: &Path) -> Option<(u64, u64)> {
    let facts = rustix::fs::statvfs(path).ok()?;
    Some((
        facts.f_blocks * facts.f_frsize,
        facts.f_bavail * facts.f_frsize,
    ))
}

/// Whether a time service says that the clock is right; none where nobody says anything.
pub fn clock_synced() -> Option<bool> {
    synced_by(Path::new("/run"), kernel_clock::is_synchronised)
}

/// What a running chrony, ntpd or openntpd leaves in /run. They tell the kernel.
const TIME_SERVICES: [&str; 4] = ["chrony", "chronyd.pid", "ntpd.pid", "openntpd.pid"];

/// Without one of them nobody tells the kernel, and it says "not synchronised" for ever: then the
/// date alone decides, as on a machine whose host sets the clock.
fn synced_by(run: &Path, kernel: impl Fn() -> Option<bool>) -> Option<bool> {
    let timesync = run.join("systemd/timesync");
    if timesync.exists() {
        return Some(timesync.join("synchronized").exists());
    }
    let mut services = TIME_SERVICES.iter();
    match services.any(|service| run.join(service).exists()) {
        true => kernel(),
        false => None,
    }
}

/// Synced, or past the day of this release.
pub fn clock_trusted() -> bool {
    clock_synced() == Some(true) || wall_ms() > BUILT_AT_MS
}

/// How far a wall clock that shows so much can be believed.
pub fn clock_trust(wall_ms: i64) -> ClockTrust {
    match (clock_synced(), wall_ms > BUILT_AT_MS) {
        (Some(true), _) | (None, true) => ClockTrust::Right,
        (Some(false), true) => ClockTrust::Unsynced,
        (_, false) => ClockTrust::Unset,
    }
}

/// Wall clock, milliseconds since 1970.
pub fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// Raises the limit of open files to what the system allows; says what it is now.
pub fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Refused by a container: then the old limit rules, and the first line says so.
    let _ = setrlimit(Resource::Nofile, wanted);
    getrlimit(Resource::Nofile).current
}

/// Who listens on a port: `mosquitto (pid 712)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the process.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

/// The process that listens where `address` wants to; none where /proc does not tell.
pub fn port_owner(address: SocketAddr) -> Option<Owner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address))?;
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(Owner {
            name: name.trim().to_owned(),
            pid,
        })
    })
}

/// Whether systemd started it: its control group then ends in `.service`.
pub fn is_service(owner: &Owner) -> bool {
    let group = fs::read_to_string(format!("/proc/{}/cgroup", owner.pid)).unwrap_or_default();
    group.lines().any(|line| line.ends_with(".service"))
}

/// The inode of the listening socket that excludes `address`, from the text of /proc/net/tcp*.
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let ip = kernel_ip(ip)?;
        let same_ip = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        let listens = fields.get(3) == Some(&LISTEN);
        if same_port && same_ip && listens {
            fields.get(9)?.parse().ok()
        } else {
            None
        }
    })
}

/// `0100007F` → 127.0.0.1: words of 32 bits in the machine's order.
fn kernel_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok();
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes()))),
        32 => {
            let mut bytes = [0_u8; 16];
            for (position, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(position * 8)?.to_ne_bytes());
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(listener.local_addr().unwrap()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.name.is_empty());
    }

    #[test]
    fn only_listening_sockets_own_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:075B 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 11 1 0\n\
             1: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 22 1 0\n";
        assert_eq!(
            listening_inode(table, "127.0.0.1:1883".parse().unwrap()),
            Some(22)
        );
        assert_eq!(
            listening_inode(table, "0.0.0.0:1883".parse().unwrap()),
            Some(22)
        );
        assert_eq!(
            listening_inode(table, "127.0.0.1:1884".parse().unwrap()),
            None
        );
        assert_eq!(
            listening_inode(table, "10.0.0.1:1883".parse().unwrap()),
            None
        );
    }

    /// With chrony and a date of yesterday from fake-hwclock the clock counted as right at once.
    #[test]
    fn the_kernel_is_asked_where_a_time_service_tells_it() {
        let run = tempfile::tempdir().unwrap();
        let unsynced = || Some(false);
        assert_eq!(synced_by(run.path(), unsynced), None, "nobody tells it");
        fs::create_dir(run.path().join("chrony")).unwrap();
        assert_eq!(synced_by(run.path(), unsynced), Some(false));
        assert_eq!(synced_by(run.path(), || Some(true)), Some(true));
        fs::create_dir_all(run.path().join("systemd/timesync")).unwrap();
        fs::write(run.path().join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(
            synced_by(run.path(), unsynced),
            Some(true),
            "it says so itself"
        );
        assert!(kernel_clock::is_synchronised().is_some());
    }

    #[test]
    fn a_date_before_the_build_is_nobodys() {
        if clock_synced().is_none() {
            assert_eq!(clock_trust(1000), ClockTrust::Unset);
            assert_eq!(clock_trust(BUILT_AT_MS + 1), ClockTrust::Right);
        }
    }

    #[test]
    fn the_machine_says_something() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        let (bytes, free) = filesystem(Path::new("/")).unwrap();
        assert!(bytes >= free && bytes > 0);
        assert!(raise_file_limit().is_none_or(|files| files >= 256));
    }
}
