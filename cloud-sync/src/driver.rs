//! The shell around the forwarder: turns its outputs into reads, requests and marks, and what
//! comes of them into its inputs.
//!
//! One task owns the loop; reads, the question under way and each link are tasks of their own
//! that report by [`Event`]. All queues are bounded: the core never has more under way than they
//! hold.

mod notes;
mod work;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

use edge_site::{Priority, Site, TopicPartition, TopicTable};
use smol::{
    Task,
    channel::{Receiver, Sender, bounded},
    future::FutureExt,
    lock::Mutex as AsyncMutex,
};

use crate::{
    config::CentralConfig,
    connection::Dialer,
    control::ControlLink,
    error::{ConnectError, Stage},
    forwarder::{
        Forwarder,
        types::{
            Class, ControlAnswer, LinkId, LocalMarks, LocalTopic, Ms, PartAnswer, ProduceRequest,
            ReadOutcome, Settings,
        },
    },
    mapping::TopicTemplate,
    meter::{Meter, wall_ms},
    packing::PackThread,
    status::{CentralStatus, Failure, LinkStatus},
};

/// Brokers forget producers after a day by default; some are set to less.
const PRODUCER_IDLE_MS: Ms = 600_000;
/// Commits are looked at no more often than this.
const SCAN_MS_MIN: Ms = 5;
/// Events on their way to the loop; whoever brings more waits.
const EVENTS_MAX: usize = 256;
/// How long `stop` waits for answers under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What happened.
pub(crate) enum Event {
    Read {
        tp: TopicPartition,
        number: u64,
        outcome: ReadOutcome,
    },
    Control(ControlAnswer),
    Connected(LinkId),
    Disconnected(LinkId, Option<ConnectError>),
    Answered {
        link: LinkId,
        number: u64,
        answers: Vec<PartAnswer>,
        throttle_ms: Ms,
    },
    DeadLettered {
        tp: TopicPartition,
        number: u64,
        written: Result<(), String>,
    },
    Retry {
        topic: String,
        reply: Sender<bool>,
    },
    Committed,
    Stop {
        reply: Sender<()>,
    },
}

/// What the handle and the loop share.
pub(crate) struct Shared {
    core: Mutex<Forwarder>,
    meter: Arc<Meter>,
    started: Instant,
    configured: bool,
    link_bytes_max: u64,
    /// What a part of the forwarder ended by, if one did by an error of its own.
    ended: OnceLock<String>,
}

impl Shared {
    /// Runs a part of the forwarder. A panic in it never resolves and is told in `status` from then
    /// on; it does not end the gateway, because devices can do without central.
    pub async fn guard(&self, name: &str, work: impl Future<Output = ()>) {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            self.end(name);
            smol::future::pending().await
        }
    }

    /// A part of the forwarder is gone; the log has why.
    pub fn end(&self, name: &str) {
        let why = format!("the {name} ended by an error of its own");
        log::error!("{why}");
        self.ended.get_or_init(|| why);
    }

    fn failure(&self, of_link: Option<(&ConnectError, u64)>) -> Option<Failure> {
        match self.ended.get() {
            Some(why) => {
                let error = ConnectError::new(Stage::Program, "forwarding", why);
                Some(Failure::new(&error, 0))
            }
            None => of_link.map(|(error, tries)| Failure::new(error, tries)),
        }
    }

    fn now(&self) -> Ms {
        self.started.elapsed().as_millis() as Ms
    }

    fn core(&self) -> MutexGuard<'_, Forwarder> {
        self.core
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn is_configured(&self) -> bool {
        self.configured
    }

    /// A snapshot for `status` and the metrics.
    pub fn status(&self) -> CentralStatus {
        let now = self.now();
        let core = self.core();
        let (reachable, since_ms, failure) = core.reachability(now);
        let failure = self.failure(failure);
        CentralStatus {
            configured: self.configured,
            reachable: reachable && self.ended.get().is_none(),
            since_ms,
            next_try_ms: failure.as_ref().and_then(|_| core.next_try_ms(now)),
            failure,
            guarantee: core.guarantee(),
            topics: core.topic_status(now),
            link: LinkStatus {
                month_bytes_max: self.link_bytes_max,
                ..self.meter.status(wall_ms())
            },
            records_forwarded: core.counters.records,
            records_dead_lettered: core.counters.dead_lettered,
            requests: core.counters.requests,
            held_bytes: core.held_bytes() as u64,
        }
    }
}

/// The loop's own state.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    site: Site,
    site_name: String,
    config: CentralConfig,
    template: Option<TopicTemplate>,
    dialer: Arc<Dialer>,
    control: Arc<AsyncMutex<ControlLink>>,
    events: Sender<Event>,
    links: HashMap<LinkId, Running>,
    topics: Option<Arc<TopicTable>>,
    progress: HashMap<TopicPartition, i64>,
    lost: Vec<(TopicPartition, u64)>,
    link_told: Instant,
    packer: Option<PackThread>,
    tasks: Vec<Task<()>>,
}

/// A link's task and how requests get there.
struct Running {
    requests: Sender<ProduceRequest>,
    _task: Task<()>,
}

/// Prepares the loop; it runs when its future is polled.
pub(crate) fn prepare(config: CentralConfig, site: Site) -> (Arc<Shared>, Sender<Event>, Start) {
    let meter = Arc::new(Meter::default());
    meter.resume(site.link());
    let started = Instant::now();
    let held_bytes_max = site.memory().forwarder().bytes_max();
    let core = Forwarder::new(settings(&config, held_bytes_max), fastrand::u64(..), 0);
    let shared = Arc::new(Shared {
        core: Mutex::new(core),
        meter: meter.clone(),
        started,
        configured: !config.bootstrap.is_empty(),
        link_bytes_max: (config.link_gb_per_month_max * 1e9) as u64,
        ended: OnceLock::new(),
    });
    let (events, inbox) = bounded(EVENTS_MAX);
    let driver = Driver {
        shared: shared.clone(),
        site_name: site.name(),
        template: TopicTemplate::parse(&config.topic).ok(),
        dialer: Arc::new(Dialer::new(&config.tls, &config.sasl, meter)),
        control: Arc::new(AsyncMutex::new(ControlLink::new(config.bootstrap.clone()))),
        config,
        site,
        events: events.clone(),
        links: HashMap::new(),
        topics: None,
        progress: HashMap::new(),
        lost: Vec::new(),
        link_told: started,
        packer: None,
        tasks: Vec::new(),
    };
    (shared, events, Start { driver, inbox })
}

/// A loop that has not begun.
pub(crate) struct Start {
    driver: Driver,
    inbox: Receiver<Event>,
}

impl Start {
    /// Runs until it is told to stop.
    pub async fn run(self) {
        let Self { mut driver, inbox } = self;
        let watcher = smol::spawn(watch(driver.site.clone(), driver.events.clone()));
        driver.run(&inbox).await;
        watcher.cancel().await;
    }
}

/// Tells the loop that something was committed, at a pace it can follow.
async fn watch(site: Site, events: Sender<Event>) {
    let mut commits = site.watch();
    loop {
        commits.changed().await;
        if events.send(Event::Committed).await.is_err() {
            return;
        }
        smol::Timer::after(Duration::from_millis(SCAN_MS_MIN)).await;
    }
}

fn settings(config: &CentralConfig, held_bytes_max: usize) -> Settings {
    Settings {
        in_flight_max: config.in_flight_max as usize,
        request_bytes_max: config.request_bytes_max as usize,
        linger_ms: config.linger_ms,
        linger_ms_high: config.linger_ms_high,
        bytes_per_s_max: config.bytes_per_s_max,
        drain_jitter_ms: config.drain_jitter_s * 1000,
        retry_ms_min: config.retry_ms_min,
        retry_ms_max: config.retry_ms_max,
        park_after_ms: config.park_after_s * 1000,
        create_topics: config.create_topics,
        on_rejected: config.on_rejected,
        producer_idle_ms: PRODUCER_IDLE_MS,
        held_bytes_max,
    }
}

impl Driver {
    async fn run(&mut self, inbox: &Receiver<Event>) {
        self.packer = PackThread::start(self.config.compression).ok();
        self.scan();
        let mut stopping = None;
        loop {
            self.carry_out();
            let held = self.shared.core().held_bytes();
            self.site.memory().forwarder().set(held);
            self.store_progress().await;
            if let Some((reply, until)) = &stopping
                && (!self.shared.core().is_sending() || Instant::now() >= *until)
            {
                self.tell_link().await;
                let reply: &Sender<()> = reply;
                let _ = reply.try_send(());
                return;
            }
            let Some(event) = self.next_event(inbox, stopping.is_some()).await else {
                continue;
            };
            if let Event::Stop { reply } = event {
                self.shared.core().stop();
                stopping = Some((reply, Instant::now() + STOP_GRACE));
                continue;
            }
            self.handle(event);
            while let Ok(event) = inbox.try_recv() {
                if let Event::Stop { reply } = event {
                    self.shared.core().stop();
                    stopping = Some((reply, Instant::now() + STOP_GRACE));
                    break;
                }
                self.handle(event);
            }
        }
    }

    /// The next event; none when it is time to plan again.
    async fn next_event(&self, inbox: &Receiver<Event>, stopping: bool) -> Option<Event> {
        let deadline = self.shared.core().deadline_ms();
        let wait = deadline.map(|at| at.saturating_sub(self.shared.now()));
        let wait = if stopping {
            Some(wait.unwrap_or(50).min(50))
        } else {
            wait
        };
        let event = async { inbox.recv().await.ok() };
        match wait {
            None => event.await,
            Some(ms) => {
                let timer = async {
                    smol::Timer::after(Duration::from_millis(ms)).await;
                    None
                };
                event.or(timer).await
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.shared.now();
        match event {
            Event::Committed => return self.scan(),
            Event::Disconnected(link, _) => drop(self.links.remove(&link)),
            _ => {}
        }
        let mut core = self.shared.core();
        match event {
            Event::Read {
                tp,
                number,
                outcome,
            } => core.handle_read(tp, number, outcome, now),
            Event::Control(answer) => {
                if let ControlAnswer::Failed(error) = &answer {
                    log::debug!("question to the cluster: {error}");
                }
                core.handle_control_answer(answer, now);
            }
            Event::Connected(link) => core.handle_connected(link, now),
            Event::Disconnected(link, error) => {
                if let Some(error) = &error {
                    log::debug!("broker {} ({:?}): {error}", link.node, link.class);
                }
                core.handle_disconnected(link, error, now);
            }
            Event::Answered {
                link,
                number,
                answers,
                throttle_ms,
            } => {
                for answer in answers.iter().filter(|answer| answer.error_code != 0) {
                    let code = kafka_wire::protocol::ErrorCode(answer.error_code);
                    log::debug!("broker {} refuses a batch: {code}", link.node);
                }
                core.handle_produce_response(link, number, &answers, throttle_ms, now);
            }
            Event::DeadLettered {
                tp,
                number,
                written,
            } => core.handle_dead_lettered(tp, number, written, now),
            Event::Retry { topic, reply } => {
                let _ = reply.try_send(core.handle_retry(&topic, now));
            }
            Event::Committed | Event::Stop { .. } => {}
        }
    }

    /// Looks at topics and marks.
    fn scan(&mut self) {
        let now = self.shared.now();
        let table = self.site.topics();
        let mut core = self.shared.core();
        if !self
            .topics
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &table))
        {
            let topics = table
                .iter()
                .filter(|topic| topic.config.forward && !topic.is_internal());
            let topics = topics.map(|topic| self.local_topic(topic)).collect();
            core.handle_topics(topics, now);
        }
        for topic in table
            .iter()
            .filter(|topic| topic.config.forward && !topic.is_internal())
        {
            for partition in 0..topic.partitions {
                let tp = topic.partition(partition);
                if let Some(marks) = self.site.marks(tp) {
                    let marks = LocalMarks {
                        start: marks.start,
                        committed_end: marks.committed_end,
                        forwarded: marks.forwarded,
                    };
                    core.handle_marks(tp, marks);
                }
            }
        }
        drop(core);
        self.topics = Some(table);
    }

    fn local_topic(&self, topic: &edge_site::Topic) -> LocalTopic {
        let central = match &self.template {
            Some(template) => template.fill(&topic.name, &self.site_name),
            None => Err("central.topic is not a template".into()),
        };
        LocalTopic {
            id: topic.id,
            name: topic.name.to_string(),
            central,
            partitions: topic.partitions,
            class: match topic.config.priority {
                Priority::High => Class::High,
                Priority::Normal => Class::Normal,
            },
        }
    }
}

#[cfg(test)]
mod tests;
