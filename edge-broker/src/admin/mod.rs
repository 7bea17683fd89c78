//! The admin doors: commands on the Unix socket, figures and health on a local TCP address.
//!
//! ```text
//!  commands ─▶ admin.sock (0600) ─┐             ┌─▶ commands ─▶ Site, CloudSync
//!                                 ├─▶ service ──┼─▶ stream   (tail)
//!  Prometheus ─▶ localhost:9883 ──┘  (per door) └─▶ gather ─▶ report ─▶ verdict, metrics
//! ```
//! Started by `serve` once the other parts run. Nothing here is on the way of a message.

mod alarm_log;
mod alarms;
pub mod api;
pub mod client;
mod commands;
pub mod filter;
mod gather;
mod http;
mod metrics;
mod rates;
pub mod record;
pub mod report;
mod service;
mod socket;
pub mod stream;
mod verdict;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bridge::{Bridge, BridgeStats};
use cloud_sync::{CentralConfig, CloudSync, FileProblem};
use edge_site::Site;
use smol::Async;

use crate::failure::Failure;
use alarm_log::AlarmLog;
use rates::{Rates, Sample};
use report::{Doors, Report};
use service::Door;
pub use socket::in_use;

/// Counters are sampled this often.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// When the sampling task did not run for this long, the executor does not turn.
const HEARTBEAT_MS_MAX: u64 = 10_000;

/// Files of `[central]` are looked at this often.
const FILES_INTERVAL_MS: u64 = 10_000;

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Data folder.
    pub data: PathBuf,
    /// Where the configuration was read.
    pub config: String,
    /// This gateway's name for itself.
    pub node: String,
    /// `memory.bytes_max`.
    pub memory_bytes_max: u64,
    /// `[central]`, for the files it names.
    pub central: CentralConfig,
}

/// Files of `[central]` that cannot be used.
#[derive(Debug, Default)]
struct Files {
    problems: Vec<FileProblem>,
    /// When to look again.
    next_ms: u64,
}

/// The running gateway as the admin doors see it.
pub struct App {
    site: Site,
    bridge: Arc<Bridge>,
    central: CloudSync,
    facts: Facts,
    started: Instant,
    rates: Mutex<Rates>,
    alarms: Mutex<AlarmLog>,
    files: Mutex<Files>,
    heartbeat_ms: AtomicU64,
    doors: OnceLock<Doors>,
}

impl App {
    /// Puts the parts together; nothing listens yet.
    pub fn new(site: Site, bridge: Arc<Bridge>, central: CloudSync, facts: Facts) -> App {
        App {
            site,
            bridge,
            central,
            facts,
            started: Instant::now(),
            rates: Mutex::default(),
            alarms: Mutex::default(),
            files: Mutex::default(),
            heartbeat_ms: AtomicU64::new(0),
            doors: OnceLock::new(),
        }
    }

    /// Everything at this moment.
    pub async fn report(&self) -> Report {
        gather::report(self).await
    }

    /// Whether the loops turn.
    fn health(&self) -> Result<(), String> {
        if let Some(what) = self.site.fatal() {
            return Err(what);
        }
        let silent_ms = self.now_ms();
        // Another thread may have beaten since.
        let silent_ms = silent_ms.saturating_sub(self.heartbeat_ms.load(Ordering::Relaxed));
        if silent_ms > HEARTBEAT_MS_MAX {
            return Err(format!("the executor did not turn for {silent_ms} ms"));
        }
        Ok(())
    }

    /// Whether messages can be stored.
    async fn ready(&self) -> Result<(), String> {
        self.health()?;
        let status = self.site.status().await;
        if status.ready {
            return Ok(());
        }
        let storage = status
            .alarms
            .iter()
            .find(|alarm| alarm.code.starts_with("storage."));
        Err(storage.map_or_else(
            || "not ready to store".to_owned(),
            |alarm| alarm.message.clone(),
        ))
    }

    fn device_stats(&self) -> Option<BridgeStats> {
        Some(self.bridge.stats())
    }

    fn doors(&self) -> Doors {
        self.doors.get().cloned().unwrap_or_default()
    }

    /// Poisoning is no reason to stop showing figures.
    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarms(&self) -> MutexGuard<'_, AlarmLog> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was wrong with the files of `[central]` when they were looked at last.
    fn file_problems(&self) -> Vec<FileProblem> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.problems.clone()
    }

    async fn look_at_files(&self, now_ms: u64) {
        let files = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files().next_ms > now_ms {
            return;
        }
        let config = self.facts.central.clone();
        let problems = smol::unblock(move || cloud_sync::check_files(&config)).await;
        *files() = Files {
            problems,
            next_ms: now_ms + FILES_INTERVAL_MS,
        };
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    async fn sample(&self) {
        self.look_at_files(self.now_ms()).await;
        let report = self.report().await;
        let now_ms = self.now_ms();
        self.rates().handle_sample(now_ms, Sample::of(&report));
        for line in self.alarms().handle_alarms(now_ms, &report.alarms) {
            log::log!(line.level, "{}", line.text);
        }
        self.heartbeat_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// The open doors; dropped, they close.
pub struct Admin {
    /// Real addresses.
    pub doors: Doors,
    tasks: Vec<smol::Task<()>>,
    socket: socket::Socket,
}

impl Admin {
    /// Stops listening and removes the socket.
    pub async fn stop(self) {
        for task in self.tasks {
            task.cancel().await;
        }
        self.socket.remove();
    }
}

/// Opens both doors.
pub async fn start(app: &Arc<App>, config: &crate::config::Admin) -> Result<Admin, Failure> {
    let socket = socket::Socket::bind(&app.facts.data, &config.socket)?;
    let listeners = socket::bind_http(&config.http)?;
    let doors = Doors {
        mqtt: app
            .bridge
            .addresses()
            .iter()
            .map(|(address, _)| address.to_string())
            .collect(),
        http: listeners
            .iter()
            .map(|(address, _)| address.to_string())
            .collect(),
        socket: socket.path().display().to_string(),
    };
    // Set once: this is the only call.
    let _ = app.doors.set(doors.clone());
    let commands = accept_commands(app.clone(), socket.listener()?);
    let mut tasks = vec![
        app.site
            .spawn("sampling of figures", sample_for_ever(app.clone())),
        app.site.spawn("command door", commands),
    ];
    for (_, listener) in listeners {
        let accept = accept_readers(app.clone(), listener);
        tasks.push(app.site.spawn("http door", accept));
    }
    Ok(Admin {
        doors,
        tasks,
        socket,
    })
}

async fn sample_for_ever(app: Arc<App>) {
    loop {
        app.sample().await;
        smol::Timer::after(SAMPLE_INTERVAL).await;
    }
}

async fn accept_commands(app: Arc<App>, listener: Async<UnixListener>) {
    let room = http::Room::default();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let app = app.clone();
                http::serve(socket, &room, move |request| {
                    service::handle(app.clone(), Door::Socket, request)
                });
            }
            Err(error) => http::after_failed_accept(error).await,
        }
    }
}

async fn accept_readers(app: Arc<App>, listener: Async<TcpListener>) {
    let room = http::Room::default();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let app = app.clone();
                http::serve(socket, &room, move |request| {
                    service::handle(app.clone(), Door::Http, request)
                });
            }
            Err(error) => http::after_failed_accept(error).await,
        }
    }
}

/// Every address of `localhost:9883`, `:9883` or `host:port`.
pub fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    use std::net::{Ipv4Addr, Ipv6Addr, ToSocketAddrs};
    match host {
        "localhost" => vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ],
        "" => vec![(Ipv6Addr::UNSPECIFIED, port).into()],
        _ => (host, port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default(),
    }
}
