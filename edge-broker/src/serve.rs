//! The `serve` command: puts the parts together, says what runs, stops them in order.
//!
//! ```text
//!  configuration ─▶ logger ─▶ Site::open ─▶ bridge::start ─▶ cloud_sync::start ─▶ admin doors
//!                                  stop: doors first, then the forwarder, the site last
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::{Anonymous, Bridge, BridgeConfig};
use edge_site::state::INCARNATION_JUMP;
use edge_site::{OpenError, OpenReport, Site, SiteStatus, StoreConfig, node_id};
use smol::io::AsyncReadExt;

use crate::admin::{self, App, Facts};
use crate::cli::ServeArgs;
use crate::config::units::{show_bytes, show_count, show_duration};
use crate::config::{Config, Disk, site_config};
use crate::failure::{Exit, Failure};
use crate::{logger, machine};

/// A stop takes no longer; what is not done then is as after a power cut, which is safe.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Runs the gateway until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let mut config = Config::load(args)?;
    logger::start(&config.log);
    logger::log_panics();
    let signals = Signals::catch()?;
    let files = machine::raise_file_limit();
    config.storage.dir = data_folder(&config.storage.dir)?;
    let (site, opened, room) = open_site(&config)?;
    let node = node_id(opened.store_id);
    say_head(&config, &site.name(), &node);
    say_log(&opened, &smol::block_on(site.status()));
    say(&room);
    smol::block_on(async {
        let running = match Running::start(&config, site.clone(), node).await {
            Ok(running) => running,
            Err(failure) => {
                site.stop().await;
                return Err(failure);
            }
        };
        running.say(&config, args.common.json).await;
        warn_about_files(files, config.bridge.mqtt.connections_max as u64);
        say(&format!("ready in {}", show_duration(begun.elapsed())));
        notify_systemd("READY=1");
        let end = running.until_told(signals).await;
        notify_systemd("STOPPING=1");
        running.stop().await;
        end
    })
}

/// The folder by its whole name, made for this user alone: other programs find the socket in it.
fn data_folder(dir: &Path) -> Result<PathBuf, Failure> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| dir.canonicalize());
    made.map_err(|error| {
        Failure::new(
            Exit::IO,
            format!("data folder cannot be made: {}: {error}", dir.display()),
        )
        .fix("name another one: --data DIR, or storage.dir in the configuration")
    })
}

/// The site, how it was found, and a line about the room it has.
fn open_site(config: &Config) -> Result<(Site, OpenReport, String), Failure> {
    let dir = &config.storage.dir;
    let (bytes, _) = machine::filesystem(dir).unwrap_or_default();
    let site_config = site_config(config, &Disk { bytes })?;
    let room = room(config, &site_config.store, bytes);
    let opened = Site::open(dir, site_config);
    let (site, opened) = opened.map_err(|error| open_failure(dir, &error))?;
    Ok((site, opened, room))
}

/// How much is stored at most: chosen by itself, it stands in no file.
fn room(config: &Config, store: &StoreConfig, filesystem_bytes: u64) -> String {
    let why = match config.storage.bytes_max {
        Some(_) => "storage.bytes_max".to_owned(),
        None => format!("by itself, of {}", show_bytes(filesystem_bytes)),
    };
    format!(
        "room            at most {} ({why}), {} are left to other programs",
        show_bytes(store.bytes_max),
        show_bytes(store.free_bytes_min)
    )
}

fn open_failure(dir: &Path, error: &OpenError) -> Failure {
    let (code, fix) = match error {
        OpenError::Locked(_) => (
            Exit::LOCKED,
            format!(
                "ask that one: edge-broker status --data {}; or use another folder: --data DIR",
                dir.display()
            ),
        ),
        OpenError::Storage(_) => (
            Exit::IO,
            "look at the mount and its permissions, or use --data DIR".into(),
        ),
        OpenError::Config(_) => (Exit::CONFIG, "edge-broker check-config --effective".into()),
    };
    Failure::new(code, error.to_string()).fix(fix)
}

/// The parts that run.
struct Running {
    site: Site,
    bridge: Arc<Bridge>,
    central: cloud_sync::CloudSync,
    admin: admin::Admin,
    app: Arc<App>,
}

impl Running {
    /// Opens the doors, starts the forwarder.
    async fn start(config: &Config, site: Site, node: String) -> Result<Running, Failure> {
        let doors = BridgeConfig {
            site_name: site.name(),
            ..config.bridge.clone()
        };
        let bridge = bridge::start(doors, site.clone());
        let bridge = Arc::new(
            bridge
                .await
                .map_err(|error| bridge_failure(config, &error))?,
        );
        let central = cloud_sync::start(config.central.clone(), site.clone());
        let facts = Facts {
            data: config.storage.dir.clone(),
            config: config.source.to_string(),
            node,
            memory_bytes_max: config.memory.bytes_max,
            central: config.central.clone(),
        };
        let app = App::new(site.clone(), bridge.clone(), central.clone(), facts);
        let app = Arc::new(app);
        match admin::start(&app, &config.admin).await {
            Ok(admin) => Ok(Running {
                site,
                bridge,
                central,
                admin,
                app,
            }),
            Err(failure) => {
                bridge.stop().await;
                Err(failure)
            }
        }
    }

    /// The lines that follow from running parts.
    async fn say(&self, config: &Config, json: bool) {
        say_doors(&self.bridge.addresses(), &self.admin);
        say_central(config, &self.app).await;
        if json {
            say_json(&self.admin.doors);
        }
    }

    /// Ends with a signal, or with an error that only a restart cures.
    async fn until_told(&self, signals: Signals) -> Result<ExitCode, Failure> {
        let told = async {
            signals.first().await;
            log::info!("told to stop");
            Ok(ExitCode::SUCCESS)
        };
        let failed = async {
            let what = self.site.failed().await;
            Err(
                Failure::new(Exit::SOFTWARE, format!("the store ended: {what}"))
                    .fix("what was acknowledged is safe; start the gateway again"),
            )
        };
        smol::future::or(told, failed).await
    }

    /// Doors first, so that nothing new comes; the site last, so that all of it is stored.
    async fn stop(self) {
        std::thread::spawn(|| {
            std::thread::sleep(STOP_MAX);
            log::error!(
                "not stopped in {} s: ending as after a power cut",
                STOP_MAX.as_secs()
            );
            std::process::exit(0);
        });
        self.bridge.stop().await;
        self.central.stop().await;
        self.admin.stop().await;
        self.site.stop().await;
        log::info!("stopped");
    }
}

/// `SIGTERM`, `SIGINT`; the second one ends the process at once.
struct Signals(smol::net::unix::UnixStream);

impl Signals {
    fn catch() -> Result<Signals, Failure> {
        let failed = |error| Failure::new(Exit::SOFTWARE, format!("signals: {error}"));
        let (read, write) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            let again = Arc::new(std::sync::atomic::AtomicBool::new(false));
            // Order matters: the exit looks at the flag that the first signal sets after it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, again.clone())
                .and_then(|_| signal_hook::flag::register(signal, again))
                .map_err(failed)?;
            let write = write.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, write).map_err(failed)?;
        }
        let read = smol::net::unix::UnixStream::try_from(read).map_err(failed)?;
        Ok(Signals(read))
    }

    /// Waits for the first one.
    async fn first(mut self) {
        let mut byte = [0; 1];
        // The pipe cannot end: its writing ends live as long as the process.
        let _ = self.0.read(&mut byte).await;
    }
}

fn bridge_failure(config: &Config, error: &bridge::StartError) -> Failure {
    use bridge::StartError::{Bind, Config as Value, RouteConflict};
    match error {
        Bind {
            resolved: Some(address),
            ..
        } if error.is_address_in_use() => admin::in_use(*address, "--mqtt"),
        Bind {
            resolved: Some(address),
            error: cause,
            ..
        } if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::UNAVAILABLE, error.to_string())
                .fix("ports below 1024 need root or CAP_NET_BIND_SERVICE")
                .fix(format!(
                    "or use another port: --mqtt localhost:{}",
                    free_port(address)
                ))
        }
        Bind { .. } => Failure::new(Exit::UNAVAILABLE, error.to_string())
            .fix("use an address of this machine: --mqtt localhost:1883, or --mqtt :1883 for all"),
        Value { .. } | RouteConflict { .. } => {
            Failure::new(Exit::CONFIG, format!("{}: {error}", config.source))
        }
    }
}

/// One that every user may listen on.
fn free_port(refused: &std::net::SocketAddr) -> u16 {
    match refused.port() {
        0..1024 => 1883,
        port => port.saturating_add(1),
    }
}

/// One line of what `serve` says at its start.
fn say(line: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `--json`: the doors as one line on stdout, for programs that start a gateway.
fn say_json(doors: &admin::report::Doors) {
    if let Ok(line) = serde_json::to_string(doors) {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }
}

fn say_head(config: &Config, name: &str, node: &str) {
    say(&format!(
        "edge-broker {}   site {name}   node {node}",
        env!("CARGO_PKG_VERSION")
    ));
    say(&format!("configuration   {}", config.source));
    say(&format!("data            {}", config.storage.dir.display()));
}

fn say_log(opened: &OpenReport, status: &SiteStatus) {
    let how = match (opened.last_index, opened.clean) {
        (0, _) => "new".to_owned(),
        (_, true) => "stopped in order".to_owned(),
        (last, false) => format!("recovered to {}", show_count(last)),
    };
    let slices = match opened.slices {
        1 => "1 slice".to_owned(),
        count => format!("{} slices", show_count(count as u64)),
    };
    let time = show_duration(Duration::from_millis(opened.opened_in_ms));
    say(&format!(
        "log             opened in {time}, {slices}, {how}"
    ));
    for lost in &opened.lost {
        say(&format!("log             LOST {lost}"));
    }
    if let Some(text) = new_identity(opened) {
        log::warn!("{text}");
    }
    for aside in &opened.quarantined {
        say(&format!("log             put aside {aside}"));
    }
    for stopped in status.alarms.iter().filter(|alarm| alarm.code == READ_ONLY) {
        say(&format!(
            "log             NOTHING IS STORED: {}",
            stopped.message
        ));
        say(&format!("                {}", stopped.fix));
    }
}

/// A new id is a new start for whoever knew this gateway by the old one.
fn new_identity(opened: &OpenReport) -> Option<String> {
    let why = match opened.previous_store_id? {
        0 => "identity was missing or damaged".to_owned(),
        before => format!(
            "records were lost that were durable, by node {}",
            node_id(before)
        ),
    };
    Some(format!(
        "{why}: node is {} from now on; offsets go on {} higher, so that none is given twice",
        node_id(opened.store_id),
        show_count(INCARNATION_JUMP.unsigned_abs())
    ))
}

/// The log cannot be applied: what is in it, and what waits for central, is not known.
const READ_ONLY: &str = "storage.readonly";

fn say_doors(mqtt: &[(std::net::SocketAddr, Anonymous)], admin: &admin::Admin) {
    for (address, anonymous) in mqtt {
        let who = match anonymous {
            Anonymous::Yes => "everybody who reaches it, without a user name",
            Anonymous::Loopback if address.ip().is_loopback() => "programs on this machine",
            Anonymous::Loopback => {
                "programs on this machine (others need --allow-anonymous for now)"
            }
            Anonymous::No => "nobody without a user name",
        };
        say(&format!("mqtt            {address}   {who}"));
    }
    match admin.doors.http.as_slice() {
        [] => say("http            off"),
        addresses => say(&format!(
            "http            {}   read only: /health /ready /metrics /status",
            addresses.join("  ")
        )),
    }
    say(&format!("commands        {}", admin.doors.socket));
}

async fn say_central(config: &Config, app: &App) {
    if config.central.bootstrap.is_empty() {
        return say("central         none: nothing is forwarded (--central HOST:PORT)");
    }
    let report = app.report().await;
    let unknown = report.alarms.iter().any(|alarm| alarm.code == READ_ONLY);
    let waiting: u64 = report.topics.iter().filter_map(|topic| topic.waiting).sum();
    let servers = config.central.bootstrap.join(", ");
    let backlog = match waiting {
        _ if unknown => "what waits is not known".to_owned(),
        0 => "nothing waits".to_owned(),
        count => format!("{} messages wait", show_count(count)),
    };
    say(&format!(
        "central         {servers}   at-least-once, {backlog}"
    ));
    // On a link that is down no connection comes as far as saying it.
    for problem in cloud_sync::check_files(&config.central) {
        log::warn!("{}; {}", problem.message, problem.hint());
    }
}

/// Each client is a file; too few is known now rather than when the gateway is full.
fn warn_about_files(files: Option<u64>, connections_max: u64) {
    /// Slices, sockets of the forwarder and the doors.
    const OTHERS: u64 = 200;
    if let Some(files) = files.filter(|files| *files < connections_max + OTHERS) {
        log::warn!(
            "only {files} open files are allowed: about {} clients fit, mqtt.connections_max is \
             {connections_max}; raise LimitNOFILE",
            files.saturating_sub(OTHERS)
        );
    }
}

/// Tells systemd (Type=notify); does nothing elsewhere.
fn notify_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        // systemd then waits for its own timeout, and says so.
        let _ = socket.send_to(state.as_bytes(), Path::new(&path));
    }
}

#[cfg(test)]
mod tests;
