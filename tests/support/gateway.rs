//! A real gateway in its own process: started on a folder, asked, stopped, killed.
//!
//! Ports are always 0; the real ones are read from the door lines. Leaves what clients say to
//! [`super::mqtt`]. Used by every system test.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::WallClock;
use super::shim::Shim;

/// How long a start may take before a test gives up.
const START_MAX: Duration = Duration::from_secs(30);

/// How a gateway is to be started.
pub struct Setup {
    dir: PathBuf,
    config: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// A running gateway. Dropped, it is killed.
pub struct Gateway {
    child: Child,
    dir: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
    mqtt: SocketAddr,
    http: Option<SocketAddr>,
    started_in: Duration,
}

/// A start that ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub said: Vec<String>,
}

impl Setup {
    /// A gateway on `dir` with the defaults.
    pub fn on(dir: &Path) -> Setup {
        let (config, args) = (String::new(), Vec::new());
        let (env, wrapper) = (Vec::new(), Vec::new());
        Setup {
            dir: dir.to_path_buf(),
            config,
            args,
            env,
            wrapper,
        }
    }

    /// Adds lines to its configuration file.
    pub fn config(mut self, toml: &str) -> Setup {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Adds flags of `serve`.
    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Forwards to this cluster.
    pub fn central(self, address: &str) -> Setup {
        self.args(&["--central", address])
    }

    /// Loads the shim into it.
    pub fn shim(mut self, shim: &Shim) -> Setup {
        self.env.extend(shim.environment());
        self
    }

    /// Gives it a wall clock of its own.
    pub fn clock(mut self, clock: &WallClock) -> Setup {
        self.env.extend(clock.environment());
        self
    }

    /// Runs it under another program (`strace …`).
    pub fn under(mut self, wrapper: &[&str]) -> Setup {
        self.wrapper = wrapper.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err(ended) => panic!("the gateway did not start: {ended:#?}"),
        }
    }

    /// Starts it and waits until it is ready or ends.
    pub fn try_start(&self) -> Result<Gateway, Ended> {
        let begun = Instant::now();
        let mut child = self.command().spawn().expect("the gateway's binary");
        let said = Arc::new(Mutex::new(Vec::new()));
        listen(child.stdout.take().expect("its stdout"), &said);
        listen(child.stderr.take().expect("its stderr"), &said);
        let mqtt = loop {
            if let Some(address) = ready(&said.lock().unwrap()) {
                break address;
            }
            if let Some(status) = child.try_wait().expect("a child") {
                std::thread::sleep(Duration::from_millis(100));
                return Err(Ended {
                    status,
                    said: said.lock().unwrap().clone(),
                });
            }
            if begun.elapsed() > START_MAX {
                let _ = child.kill();
                panic!("not ready after {START_MAX:?}: {:#?}", said.lock().unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let http = door(&said.lock().unwrap(), "http");
        let (dir, started_in) = (self.dir.clone(), begun.elapsed());
        Ok(Gateway {
            child,
            dir,
            said,
            mqtt,
            http,
            started_in,
        })
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_edge-broker");
        let mut command = match self.wrapper.split_first() {
            Some((first, rest)) => {
                let mut wrapped = Command::new(first);
                wrapped.args(rest).arg(binary);
                wrapped
            }
            None => Command::new(binary),
        };
        command.arg("serve").arg("--data").arg(&self.dir);
        command
            .args(["--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(&self.args);
        if !self.config.is_empty() {
            command.arg("--config").arg(config_file(&self.config));
        }
        command
            .env_remove("EDGE_BROKER_CONFIG")
            .envs(self.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A file with this text, outside the data folder; the same text is the same file.
fn config_file(text: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let file = super::scratch_root().join(format!("config-{:x}.toml", hasher.finish()));
    std::fs::write(&file, text).expect("a configuration file");
    file
}

/// Collects what a process says.
fn listen(from: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

/// The MQTT door, once the gateway says that it is ready.
fn ready(said: &[String]) -> Option<SocketAddr> {
    said.iter()
        .any(|line| line.contains("ready in"))
        .then(|| door(said, "mqtt"))?
}

/// The first address on the line of a door.
fn door(said: &[String], name: &str) -> Option<SocketAddr> {
    let lines = said
        .iter()
        .filter(|line| line.split_whitespace().any(|word| word == name));
    lines
        .flat_map(|line| line.split([' ', '/', ',']))
        .find_map(|word| word.parse().ok())
}

impl Gateway {
    /// A gateway on `dir` with the defaults.
    pub fn start(dir: &Path) -> Gateway {
        Setup::on(dir).start()
    }

    /// Where MQTT clients go.
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where /health, /ready, /metrics and /status are.
    pub fn http(&self) -> SocketAddr {
        self.http.expect("the line of the http door")
    }

    /// From the start of the process to its `ready` line.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// True while the process lives.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill9(mut self) {
        self.child.kill().expect("a child to kill");
        self.child.wait().expect("a killed child");
    }

    /// Waits for its end (by a kill point) and says whether SIGKILL was the cause.
    pub fn was_killed_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.signal() == Some(9);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Sends SIGTERM and gives the exit status and the time it took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().expect("a stopped child");
        (status, begun.elapsed())
    }

    /// Waits for its end, whoever caused it.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("a child that ends")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a child to signal");
    }

    /// Resident memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("the kernel's view of the process");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kib * 1024
    }

    /// Runs a command of the program against this gateway.
    pub fn run(&self, args: &[&str]) -> Output {
        command_on(&self.dir, args)
    }

    /// The same; insists on success and gives what it printed.
    pub fn ask(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{args:?}: {text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        text
    }

    /// `status --json`.
    pub fn status(&self) -> serde_json::Value {
        let out = self.run(&["status", "--json"]);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
            panic!("status --json: {e}: {out:?}");
        })
    }

    /// Every stored record of a topic, oldest first, as the gateway serves it.
    pub fn log(&self, topic: &str) -> Vec<Stored> {
        let format = r"%p\t%o\t%k\t%s\n";
        let text = self.ask(&["tail", topic, "--from-beginning", "-e", "--format", format]);
        text.lines().map(Stored::parse).collect()
    }

    /// An HTTP GET on the read-only door: status code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.http()).expect("the http door");
        let host = self.http();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let code = text
            .split(' ')
            .nth(1)
            .and_then(|c| c.parse().ok())
            .expect("a status code");
        let body = text
            .split_once("\r\n\r\n")
            .map_or(String::new(), |(_, b)| b.to_owned());
        (code, body)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `serve` with just these flags until it ends by itself.
pub fn serve_once(dir: &Path, args: &[&str]) -> Output {
    command_on(dir, &[&["serve"], args].concat())
}

/// Runs a command of the program against the gateway of a folder.
pub fn command_on(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-broker"));
    command.args(args).arg("--data").arg(dir);
    command.env_remove("EDGE_BROKER_CONFIG");
    output_within(command, COMMAND_MAX)
}

/// How long a command of the program may take before a test calls it stuck.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// The output of a program that ends in time; one that does not is killed and fails the test.
fn output_within(mut command: Command, time: Duration) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program's binary");
    let stdout = drain(child.stdout.take().expect("its stdout"));
    let stderr = drain(child.stderr.take().expect("its stderr"));
    let until = Instant::now() + time;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > until {
            let stacks = stacks_of_all();
            let _ = child.kill();
            panic!("stuck for {time:?}: {command:?}\n{stacks}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let stdout = stdout.join().expect("its stdout");
    Output {
        status,
        stdout,
        stderr: stderr.join().expect("its stderr"),
    }
}

/// What every gateway and command on this machine waits for, when a test is stuck.
///
/// Stacks where gdb is installed, else where in the kernel each thread is; and their sockets.
fn stacks_of_all() -> String {
    const ASK: &str = "for pid in $(pidof edge-broker); do
        echo \"== $pid $(tr '\\0' ' ' </proc/$pid/cmdline)\"
        gdb -p $pid -batch -ex 'thread apply all bt 30' 2>/dev/null || head /proc/$pid/task/*/wchan
        done; ss -xtp 2>/dev/null | grep edge-broker";
    let out = Command::new("sh").args(["-c", ASK]).output();
    out.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).into()
    })
}

/// Reads all that a process says, so that it never waits for us.
fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// One record as `tail` prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub partition: u32,
    pub offset: i64,
    pub key: String,
    pub value: String,
}

impl Stored {
    fn parse(line: &str) -> Stored {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [partition, offset, key, value] = parts[..] else {
            panic!("tail printed {line:?}")
        };
        Stored {
            partition: partition.parse().expect("a partition"),
            offset: offset.parse().expect("an offset"),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }
}
