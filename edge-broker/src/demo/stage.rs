//! The running demo: starts everything, follows the plan, shows it, checks it, cleans up.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;

use super::book::Book;
use super::central::Central;
use super::check::{Findings, Found, Place, check};
use super::device::{Device, Field};
use super::disk::{self, Folder};
use super::gateway::{Gateway, Recipe, Used};
use super::picture::{Flow, Head, SPARK_CELLS, Snapshot, headline};
use super::plan::{Plan, Step};
use super::readback;
use super::report::{self, Facts};
use super::screen::Screen;
use super::status::{self, Status};
use super::text;
use super::uplink::{State, Uplink};
use super::{DemoArgs, TOPIC};

const TICK: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// A cut is a black hole for this part of the time until the next step, then a refusal.
const BLACK_HOLE: Duration = Duration::from_secs(2);
/// After the end: as long as something moves, and this much longer.
const STILL_MAX: Duration = Duration::from_secs(15);
/// 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the demo.
pub async fn run(args: DemoArgs) -> io::Result<ExitCode> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let folder = match &args.data {
        Some(path) => Folder::at(path)?,
        None => Folder::create(args.keep)?,
    };
    let mut stage = Stage::build(&args, &folder, interrupted).await?;
    let code = stage.play().await;
    stage.gateway = None; // killed, if it still runs, before its folder goes
    if folder.is_kept() {
        stage.screen.say(&look_inside(&stage.recipe));
    }
    code
}

struct Stage {
    head: Head,
    recipe: Recipe,
    gateway: Option<Gateway>,
    central: Central,
    uplink: Uplink,
    field: Field,
    devices: Vec<smol::Task<()>>,
    plan: Plan,
    screen: Screen,
    interrupted: Arc<AtomicBool>,
    tamper: bool,
    started_at: Instant,
    cut_at: Option<Instant>,
    /// A restart whose first PUBACK is awaited.
    restart: Option<Restart>,
    watch: Watch,
}

/// What is said about a restart once its first PUBACK came.
struct Restart {
    at: Duration,
    pid: u32,
    opened_in_ms: u64,
}

/// What was seen of the gateway so far.
#[derive(Default)]
struct Watch {
    status: Status,
    /// Commits and records of the processes that are gone.
    commits_before: u64,
    committed_before: u64,
    /// Of the processes that are gone.
    used: Used,
    /// Moment, published, acked, central: the newest second.
    samples: VecDeque<(Instant, [u64; 3])>,
    backlog: VecDeque<u64>,
    /// Acknowledged before the status was asked for, so the log must hold as many.
    acked_before: u64,
    looked_at: Option<Instant>,
    said_s: Option<u64>,
}

impl Stage {
    async fn build(
        args: &DemoArgs,
        folder: &Folder,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Stage> {
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..1 << 24));
        let uplink = Uplink::new();
        let central = Central::start(args.central.as_deref(), seed, uplink.clone()).await?;
        let mut recipe = Recipe {
            folder: folder.path().to_owned(),
            central: Some(central.bootstrap()),
            mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        std::fs::write(recipe.config(), configuration(&central))?;
        let (gateway, status) = recipe.start().await?;
        recipe.mqtt = mqtt_address(&status)?;
        let mut screen = Screen::new(args.json);
        if folder.in_memory() {
            let path = folder.path().display();
            screen.say(&format!(
                "{path} is in memory: set TMPDIR to a folder on a disk\n"
            ));
        }
        Ok(Stage {
            head: Head {
                devices: args.devices as usize,
                rate: args.rate,
                seconds: args.seconds,
                seed,
                central: central.describe(),
            },
            field: Field {
                address: recipe.mqtt,
                book: Arc::new(Mutex::new(Book::new(args.devices as usize, seed))),
                stopped: Arc::default(),
                interval: Duration::from_secs_f64(args.devices as f64 / args.rate as f64),
            },
            recipe,
            gateway: Some(gateway),
            central,
            uplink,
            devices: Vec::new(),
            plan: Plan::new(args.seconds),
            screen,
            interrupted,
            tamper: args.tamper,
            started_at: Instant::now(),
            cut_at: None,
            restart: None,
            watch: Watch {
                status,
                ..Watch::default()
            },
        })
    }

    async fn play(&mut self) -> io::Result<ExitCode> {
        self.begin();
        while let Some(ended) = self.tick().await? {
            if ended {
                break;
            }
        }
        if self.interrupted() {
            self.screen.say("interrupted: nothing was checked\n");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        self.settle().await;
        let (findings, facts) = self.finish().await?;
        self.screen
            .say(&format!("\n{}", report::report(&findings, &facts)));
        self.screen.say_json(&report::json(&findings, &facts));
        let pass = report::pass(&findings, &facts);
        Ok(if pass {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn begin(&mut self) {
        if !self.screen.terminal() {
            let pid = self.gateway.as_ref().map_or(0, Gateway::pid);
            let (mqtt, central) = (self.recipe.mqtt, &self.head.central);
            let head = headline(&self.head);
            let text =
                format!("{head}\n  gateway  pid {pid}  mqtt {mqtt}     central  {central}\n");
            self.screen.say(&text);
        }
        self.started_at = Instant::now();
        let spread = self.field.interval / self.head.devices as u32;
        for number in 0..self.head.devices {
            let first_due = self.started_at + spread * number as u32;
            let device = Device::new(number, self.field.clone(), first_due);
            self.devices.push(smol::spawn(device.run()));
        }
    }

    /// One turn: whether the script is at its end, or none when the demo was interrupted.
    async fn tick(&mut self) -> io::Result<Option<bool>> {
        Timer::after(TICK).await;
        if self.interrupted() {
            return Ok(None);
        }
        let mut ended = false;
        while let Some(step) = self.plan.due(self.started_at.elapsed()) {
            self.act(step).await?;
            ended = step == Step::End;
        }
        self.deepen_cut();
        self.tell_restart(false);
        self.look().await;
        Ok(Some(ended))
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    async fn act(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::CutUplink => {
                self.uplink.set(State::BlackHole);
                self.cut_at = Some(Instant::now());
                let acked = self.watch.flow(1).per_s;
                self.event(
                    "uplink cut",
                    &format!("acks go on at {}/s", text::count(acked)),
                );
            }
            Step::Kill => self.kill().await?,
            Step::RestoreUplink => {
                self.uplink.set(State::Up);
                self.cut_at = None;
                let waiting = text::count(self.watch.status.waiting(TOPIC));
                self.event("uplink back", &format!("{waiting} messages to send"));
            }
            Step::StopDevices => {
                self.field.stopped.store(true, Ordering::Relaxed);
                let published = text::count(self.field.book().published);
                self.event("devices stop", &format!("{published} messages published"));
            }
            Step::End => self.tell_restart(true),
        }
        Ok(())
    }

    fn deepen_cut(&mut self) {
        if self.cut_at.is_some_and(|at| at.elapsed() > BLACK_HOLE) {
            self.cut_at = None;
            self.uplink.set(State::Refused);
        }
    }

    async fn kill(&mut self) -> io::Result<()> {
        let Some(gateway) = self.gateway.take() else {
            return Ok(());
        };
        let waiting = text::count(self.watch.status.waiting(TOPIC));
        self.field.book().await_first_ack(Instant::now());
        let pid = gateway.pid();
        self.watch.retire(gateway.kill().await?);
        self.event(
            &format!("kill -9 pid {pid}"),
            &format!("while {waiting} messages wait"),
        );
        let at = self.started_at.elapsed();
        let (gateway, status) = self.recipe.start().await?;
        self.restart = Some(Restart {
            at,
            pid: gateway.pid(),
            opened_in_ms: status.log.opened_in_ms,
        });
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Says how the restart went, once it is known or when there is no more time.
    fn tell_restart(&mut self, now: bool) {
        let came = self.field.book().first_ack_after();
        if came.is_none() && !now {
            return;
        }
        let Some(Restart {
            at,
            pid,
            opened_in_ms,
        }) = self.restart.take()
        else {
            return;
        };
        let opened = text::seconds(Duration::from_millis(opened_in_ms));
        let first = came.map_or("no PUBACK since".to_owned(), |came| {
            format!("first PUBACK after {}", text::seconds(came))
        });
        self.event_at(
            at,
            &format!("started pid {pid}"),
            &format!("log open in {opened}, {first}"),
        );
    }

    fn event(&mut self, what: &str, more: &str) {
        self.event_at(self.started_at.elapsed(), what, more);
    }

    fn event_at(&mut self, at: Duration, what: &str, more: &str) {
        self.screen
            .say_event(&format!("  {:>4.1} s  {what:<21}{more}", at.as_secs_f64()));
    }

    /// Asks the gateway, then shows everything.
    async fn look(&mut self) {
        if self.watch.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.watch.looked_at = Some(Instant::now());
        let acked_before = self.field.book().acked;
        let data = self.recipe.data();
        let asked = or(status::ask(&data), async {
            Timer::after(ASK_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        // Without an answer the last one stands.
        if let Ok(status) = asked.await {
            self.watch.acked_before = acked_before;
            self.watch.take(status);
        }
        if let Some(gateway) = self.gateway.as_mut() {
            gateway.used(); // a process that dies on its own leaves its last figures
        }
        let central = self.central.count(&self.watch.status);
        let (published, acked) = {
            let book = self.field.book();
            (book.published, book.acked)
        };
        self.watch.sample([published, acked, central]);
        self.show();
    }

    fn show(&mut self) {
        let snapshot = self.snapshot();
        if self.screen.terminal() {
            self.screen.draw(&snapshot.draw());
        } else if self.watch.said_s != Some(snapshot.elapsed.as_secs()) {
            self.watch.said_s = Some(snapshot.elapsed.as_secs());
            self.screen.say(&format!("{}\n", snapshot.line()));
        }
    }

    fn snapshot(&self) -> Snapshot {
        let watch = &self.watch;
        let on_disk = watch.status.stored(TOPIC);
        let latency = self.field.book().latency.clone();
        Snapshot {
            head: self.head.clone(),
            pid: self.gateway.as_ref().map(Gateway::pid),
            mqtt: self.recipe.mqtt.to_string(),
            elapsed: self.started_at.elapsed(),
            uplink: self.uplink.state(),
            published: watch.flow(0),
            acked: watch.flow(1),
            ack_us: (latency.quantile_us(0.5), latency.quantile_us(0.99)),
            on_disk,
            log_bytes: watch.status.log.bytes_used,
            commits: watch.commits_before + watch.status.log.commits,
            committed: watch.committed_before + watch.status.log.records,
            backlog: watch.status.waiting(TOPIC),
            history: watch.backlog.iter().copied().collect(),
            oldest_ms: watch.status.forward.oldest_age_ms,
            central: watch.flow(2),
            lost: watch.acked_before.saturating_sub(on_disk),
        }
    }

    /// After the script: until everything is acknowledged and central has all of it, or nothing
    /// moves any more.
    async fn settle(&mut self) {
        let mut moved_at = Instant::now();
        let mut last = (0, u64::MAX);
        while moved_at.elapsed() < STILL_MAX && !self.interrupted() {
            let unacked = {
                let book = self.field.book();
                book.published - book.acked
            };
            let now = (unacked, self.watch.status.waiting(TOPIC));
            if now == (0, 0) {
                self.watch.looked_at = None; // the last picture shows the end
                self.look().await;
                return;
            }
            if now != last {
                (last, moved_at) = (now, Instant::now());
            }
            Timer::after(TICK).await;
            self.look().await;
        }
    }

    /// Stops the gateway, reads everything back and compares.
    async fn finish(&mut self) -> io::Result<(Findings, Facts)> {
        self.devices.clear();
        let mut unread = None;
        if let Some(gateway) = self.gateway.take() {
            match gateway.stop().await {
                Ok(used) => self.watch.retire(used),
                Err(error) => unread = Some((Place::Log, error.to_string())),
            }
        }
        let folder = self.recipe.folder.clone();
        let bare_sync = smol::unblock(move || disk::bare_sync(&folder)).await.ok();
        if self.tamper {
            disk::damage(&self.recipe.data())?;
        }
        let log = self.read_log().await.unwrap_or_else(|error| {
            unread = Some((Place::Log, error.to_string()));
            Vec::new()
        });
        let central = self.central.sightings().await.unwrap_or_else(|error| {
            unread = Some((Place::Central, error.to_string()));
            Vec::new()
        });
        let book = self.field.book();
        let findings = check(&book.devices, &Found { log, central });
        let facts = Facts {
            ack_us: (
                book.latency.quantile_us(0.5),
                book.latency.quantile_us(0.99),
            ),
            bare_sync,
            gap_max: book.gap_max,
            peak_bytes: self.watch.used.peak_bytes,
            written_bytes: self.watch.used.written_bytes,
            payload_bytes: book.payload_bytes,
            unread,
            refusals: self.central.refusals(),
        };
        Ok((findings, facts))
    }

    /// By a fresh gateway that has no devices and no central.
    async fn read_log(&self) -> io::Result<Vec<Vec<super::book::Sighting>>> {
        let recipe = Recipe {
            central: None,
            mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..self.recipe.clone()
        };
        let (gateway, _) = recipe.start().await?;
        let read = readback::read_log(&recipe.data(), TOPIC).await;
        gateway.stop().await?;
        read
    }
}

impl Watch {
    fn take(&mut self, status: Status) {
        self.backlog.push_back(status.waiting(TOPIC));
        if self.backlog.len() > SPARK_CELLS {
            self.backlog.pop_front();
        }
        self.status = status;
    }

    /// A process is gone; its counters are kept.
    fn retire(&mut self, used: Used) {
        self.commits_before += std::mem::take(&mut self.status.log.commits);
        self.committed_before += std::mem::take(&mut self.status.log.records);
        self.used.peak_bytes = self.used.peak_bytes.max(used.peak_bytes);
        self.used.written_bytes += used.written_bytes;
    }

    fn sample(&mut self, counters: [u64; 3]) {
        let now = Instant::now();
        self.samples.push_back((now, counters));
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= Duration::from_secs(1))
        {
            self.samples.pop_front();
        }
    }

    fn flow(&self, counter: usize) -> Flow {
        let (Some((first_at, first)), Some((last_at, last))) =
            (self.samples.front(), self.samples.back())
        else {
            return Flow::default();
        };
        let span_s = (*last_at - *first_at).as_secs_f64();
        let grown = last[counter].saturating_sub(first[counter]) as f64;
        let per_s = if span_s > 0.0 { grown / span_s } else { 0.0 };
        Flow {
            total: last[counter],
            per_s: per_s as u64,
        }
    }
}

fn mqtt_address(status: &Status) -> io::Result<SocketAddr> {
    let first = status
        .doors
        .mqtt
        .first()
        .and_then(|address| address.parse().ok());
    first.ok_or_else(|| io::Error::other("the gateway does not say where its MQTT door is"))
}

/// What differs from the defaults, and why.
fn configuration(central: &Central) -> String {
    let topic = central.topic("{topic}");
    format!(
        "# The demo's gateway: built-in defaults but for these.\n\
         [central]\n\
         topic = \"{topic}\"\n\
         drain_jitter_s = 0    # one gateway: nobody else drains at the same moment\n\
         retry_ms_max = 1000   # outages of seconds, not of hours\n"
    )
}

fn look_inside(recipe: &Recipe) -> String {
    let (data, folder) = (recipe.data(), recipe.folder.display().to_string());
    let (data, config) = (data.display(), recipe.config());
    let config = config.display();
    format!(
        "\nkept {folder}\n  \
         edge-broker serve --data {data} --config {config} --mqtt localhost:0 --admin \"\"\n  \
         edge-broker tail mqtt --from-beginning --data {data}\n  \
         edge-broker status --data {data}\n  \
         rm -r {folder}\n"
    )
}
