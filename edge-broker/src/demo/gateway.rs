//! The gateway under test: this very program as `serve` in a child process.
//!
//! Starts it, waits until it answers, kills it, and reads from the kernel what it used. The child
//! is in a process group of its own, so that Ctrl-C on the terminal ends the demo first, which
//! then ends the child.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use smol::Timer;

use super::status::{self, Status};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
const LOOK_UP: Duration = Duration::from_millis(10);
/// Of the child's log, shown when it does not come up.
const LOG_TAIL_BYTES: u64 = 2_000;

/// How to start a gateway.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Folder of the demo; data, configuration and log of the gateway are in it.
    pub folder: PathBuf,
    /// Central, if it forwards.
    pub central: Option<String>,
    /// Its MQTT address: port 0 the first time, then the one it got.
    pub mqtt: SocketAddr,
}

impl Recipe {
    /// Data folder of the gateway.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it prints.
    pub fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("edge-broker.toml")
    }

    /// Starts it and waits until it answers on its admin socket.
    pub async fn start(&self) -> io::Result<(Gateway, Status)> {
        let begun = Instant::now();
        let mut gateway = self.spawn()?;
        loop {
            // The socket of a killed predecessor may still be there; nobody answers on it.
            if let Ok(status) = status::ask(&self.data()).await {
                return Ok((gateway, status));
            }
            if let Some(code) = gateway.child.try_wait()? {
                return Err(self.failure(&format!("the gateway ended at once, {code}")));
            }
            if begun.elapsed() > ANSWER_TIMEOUT {
                gateway.kill().await?;
                let seconds = ANSWER_TIMEOUT.as_secs();
                return Err(self.failure(&format!("the gateway did not answer in {seconds} s")));
            }
            Timer::after(LOOK_UP).await;
        }
    }

    fn spawn(&self) -> io::Result<Gateway> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .args(["--admin", ""])
            .args(["--mqtt", &self.mqtt.to_string()])
            .arg("--config")
            .arg(self.config())
            .arg("--data")
            .arg(self.data());
        if let Some(central) = &self.central {
            command.args(["--central", central]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Gateway {
            child,
            used: Used::default(),
        })
    }

    fn failure(&self, what: &str) -> io::Error {
        let tail = tail(&self.log()).unwrap_or_default();
        io::Error::other(format!("{what}\n{}", tail.trim_end()))
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a process used, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Most memory it held at once.
    pub peak_bytes: u64,
    /// Bytes it caused to be written to a device.
    pub written_bytes: u64,
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    used: Used,
}

impl Gateway {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads what it used so far; keeps the last answer of a process that is gone.
    pub fn used(&mut self) -> Used {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let number = |file: &str, name: &str| {
            let text = std::fs::read_to_string(proc.join(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if let Some(kilobytes) = number("status", "VmHWM:") {
            self.used.peak_bytes = kilobytes * 1024;
        }
        if let Some(bytes) = number("io", "write_bytes:") {
            self.used.written_bytes = bytes;
        }
        self.used
    }

    /// SIGKILL; returns what it had used.
    pub async fn kill(mut self) -> io::Result<Used> {
        let used = self.used();
        self.child.kill()?;
        self.gone(STOP_TIMEOUT).await?;
        Ok(used)
    }

    /// SIGTERM; returns what it had used. One that does not end is an error, and is killed.
    pub async fn stop(mut self) -> io::Result<Used> {
        let used = self.used();
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        self.gone(STOP_TIMEOUT).await?;
        Ok(used)
    }

    async fn gone(&mut self, patience: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > patience {
                let text = format!("the gateway did not end in {} s", patience.as_secs());
                return Err(io::Error::other(text));
            }
            Timer::after(LOOK_UP).await;
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
