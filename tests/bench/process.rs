//! Child processes: started in a group of their own, killed as a group, asked through /proc.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How a server's syncs are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syncs {
    /// As they are.
    Plain,
    /// Each takes that much longer.
    Slowed(Duration),
    /// Counted: every one is a line of that file.
    Counted(PathBuf),
}

/// A running server. Dropping it kills it and everything it started.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The server itself where a tracer stands in front of it.
    traced: bool,
}

impl Server {
    /// Starts a program; what it prints goes to `log`.
    pub fn start(program: &Path, args: &[String], log: &Path, syncs: &Syncs) -> io::Result<Server> {
        let log = File::create(log)?;
        let mut command = match syncs {
            Syncs::Plain => Command::new(program),
            Syncs::Slowed(_) | Syncs::Counted(_) => tracer(program, syncs),
        };
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Server {
            child,
            traced: *syncs != Syncs::Plain,
        })
    }

    /// Process id of the server itself.
    pub fn pid(&self) -> u32 {
        let tracer = self.child.id();
        if !self.traced {
            return tracer;
        }
        let path = format!("/proc/{tracer}/task/{tracer}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let first = children.split_whitespace().next();
        first.and_then(|pid| pid.parse().ok()).unwrap_or(tracer)
    }

    /// Whether it has ended on its own.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// A number from `/proc/<pid>/<file>`, by the name before it.
    pub fn proc(&self, file: &str, name: &str) -> u64 {
        let path = format!("/proc/{}/{file}", self.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    }

    /// Resident memory now, bytes.
    pub fn resident(&self) -> u64 {
        self.proc("status", "VmRSS:") * 1024
    }

    /// The most it ever was, bytes.
    pub fn resident_max(&self) -> u64 {
        self.proc("status", "VmHWM:") * 1024
    }

    /// Bytes it caused to be written to a device.
    pub fn written(&self) -> u64 {
        self.proc("io", "write_bytes:")
    }

    /// SIGTERM, and patience; then SIGKILL.
    pub fn stop(mut self) {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            // Gone already is fine.
            let _ = kill_process(pid, Signal::TERM);
        }
        let begun = Instant::now();
        while !self.ended() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // The group is ours alone: it was made for this child.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// strace that touches no other system call than the syncs.
fn tracer(program: &Path, syncs: &Syncs) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync"]);
    match syncs {
        Syncs::Slowed(delay) => {
            let delay = delay.as_micros();
            command.args(["-o", "/dev/null", "-e"]);
            command.arg(format!("inject=fsync,fdatasync:delay_exit={delay}"));
        }
        Syncs::Counted(to) => {
            command.args(["-y", "-ttt", "-o"]).arg(to);
        }
        Syncs::Plain => {}
    }
    command.arg("--").arg(program);
    command
}

/// Waits until something holds; an error when it does not in time.
pub fn wait_for(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> io::Result<()> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > patience {
            let text = format!("{what}: not within {} s", patience.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs a command to its end; an error with what it printed when it fails.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "{command:?}: {}: {said}",
        output.status
    )))
}

/// A port nobody uses now.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
