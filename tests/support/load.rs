//! Devices under load: they publish at QoS 1 with a window, reconnect, repeat what was not
//! acknowledged, and know exactly what was.
//!
//! A message's value is `c<client>-<number>` and padding; numbers of a client grow by one. Called
//! by the crash and peer tests; [`check`] compares what devices know with what a log holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gateway::Stored;
use super::mqtt::{Client, End, Hello, Packet};

/// Client and number: the identity that only devices know.
pub type Id = (u32, u32);

/// How devices behave.
#[derive(Clone)]
pub struct Plan {
    pub clients: u32,
    /// Unacknowledged messages per client.
    pub window: usize,
    /// Payload size; shorter than the identity means no padding.
    pub payload_bytes: usize,
    /// Messages per second of all clients; 0 = as fast as acks come.
    pub rate: u32,
    /// Ends by itself after so many messages per client; 0 = when stopped.
    pub messages_each: u32,
    /// MQTT topics per client; a message goes to `load/<client>/<number % topics>`.
    pub topics: u32,
    /// First number of each client, so that a second run continues the first.
    pub from: u32,
}

impl Default for Plan {
    fn default() -> Plan {
        let (clients, window, payload_bytes, topics) = (4, 16, 200, 1);
        Plan {
            clients,
            window,
            payload_bytes,
            rate: 0,
            messages_each: 0,
            topics,
            from: 0,
        }
    }
}

/// What devices know at the end.
#[derive(Debug, Default)]
pub struct Report {
    /// Acknowledged messages.
    pub acked: BTreeSet<Id>,
    /// Sent at least once.
    pub sent: BTreeSet<Id>,
    /// Sent more than once, because the acknowledgement did not come.
    pub repeated: BTreeSet<Id>,
    /// (our port, packet id) of each first send.
    pub packets: BTreeMap<(u16, u16), Id>,
    /// The longest time between two acknowledgements of anybody.
    pub longest_gap: Duration,
}

/// Running devices.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    /// Where the gateway is now; a restart changes its port.
    address: Mutex<SocketAddr>,
    stop: AtomicBool,
    acks: AtomicU64,
    report: Mutex<Report>,
    last_ack: Mutex<Instant>,
}

impl Load {
    /// Starts the devices.
    pub fn start(address: SocketAddr, plan: Plan) -> Load {
        let clients = plan.clients;
        let shared = Arc::new(Shared {
            plan,
            address: Mutex::new(address),
            stop: AtomicBool::new(false),
            acks: AtomicU64::new(0),
            report: Mutex::new(Report::default()),
            last_ack: Mutex::new(Instant::now()),
        });
        let run = |n| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Device::new(n, shared).run())
        };
        let threads = (0..clients).map(run).collect();
        Load { shared, threads }
    }

    /// The gateway is at another address now.
    pub fn moved_to(&self, address: SocketAddr) {
        *self.shared.address.lock().unwrap() = address;
    }

    /// How many messages were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.shared.acks.load(Ordering::Relaxed)
    }

    /// Waits until so many more were acknowledged.
    pub fn wait_for(&self, more: u64, time: Duration) {
        let goal = self.acked() + more;
        super::eventually("acknowledgements", time, || {
            (self.acked() >= goal).then_some(())
        });
    }

    /// True when devices with a fixed number of messages have all of them acknowledged.
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for devices with a fixed number of messages.
    pub fn finish(self, time: Duration) -> Report {
        super::eventually("all messages acked", time, || self.is_done().then_some(()));
        self.stop()
    }

    /// Stops the devices where they are.
    pub fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a device");
        }
        std::mem::take(&mut self.shared.report.lock().unwrap())
    }
}

struct Device {
    number: u32,
    shared: Arc<Shared>,
    next: u32,
    waiting: VecDeque<(u16, u32)>,
    began: Instant,
}

impl Device {
    fn new(number: u32, shared: Arc<Shared>) -> Device {
        let next = shared.plan.from;
        Device {
            number,
            shared,
            next,
            waiting: VecDeque::new(),
            began: Instant::now(),
        }
    }

    fn run(mut self) {
        while !self.is_over() {
            let address = *self.shared.address.lock().unwrap();
            let hello = Hello::v3(&format!("dev-{}", self.number));
            if let Ok(mut client) = Client::dial(address)
                && let Ok(Packet::Connack { code: 0, .. }) = client.greet(&hello)
            {
                self.serve(client);
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// One connection: first what waits from the one before, then new messages.
    fn serve(&mut self, mut client: Client) {
        let port = client.port();
        for (_, number) in std::mem::take(&mut self.waiting) {
            self.send(&mut client, port, number, true);
        }
        while !self.is_over() {
            while self.may_send() {
                let number = self.next;
                self.next += 1;
                self.send(&mut client, port, number, false);
            }
            match client.next(Duration::from_millis(5)) {
                Ok(Packet::Puback { id, .. }) => self.acked(id),
                Ok(_) | Err(End::Silent) => {}
                Err(End::Closed) => return,
            }
        }
    }

    fn is_over(&self) -> bool {
        let plan = &self.shared.plan;
        let all = plan.messages_each > 0 && self.next - plan.from >= plan.messages_each;
        self.shared.stop.load(Ordering::Relaxed) || (all && self.waiting.is_empty())
    }

    fn may_send(&self) -> bool {
        let plan = &self.shared.plan;
        let sent = self.next - plan.from;
        let in_time = plan.rate == 0 || {
            let due = self.began.elapsed().as_secs_f64() * f64::from(plan.rate);
            f64::from(sent) < due / f64::from(plan.clients)
        };
        let more = plan.messages_each == 0 || sent < plan.messages_each;
        self.waiting.len() < plan.window && in_time && more
    }

    fn send(&mut self, client: &mut Client, port: u16, number: u32, again: bool) {
        let plan = &self.shared.plan;
        let topic = format!("load/{}/{}", self.number, number % plan.topics);
        let value = value(self.number, number, plan.payload_bytes);
        let id = (self.number, number);
        let packet = client.publish(&topic, value.as_bytes(), 1, false);
        self.waiting.push_back((packet, number));
        let mut report = self.shared.report.lock().unwrap();
        report.sent.insert(id);
        report.packets.insert((port, packet), id);
        if again {
            report.repeated.insert(id);
        }
    }

    fn acked(&mut self, packet: u16) {
        let Some(i) = self.waiting.iter().position(|(p, _)| *p == packet) else {
            return;
        };
        let (_, number) = self.waiting.remove(i).expect("it was found");
        let now = Instant::now();
        let mut last = self.shared.last_ack.lock().unwrap();
        let gap = now.duration_since(*last);
        *last = now;
        let mut report = self.shared.report.lock().unwrap();
        report.longest_gap = report.longest_gap.max(gap);
        report.acked.insert((self.number, number));
        self.shared.acks.fetch_add(1, Ordering::Relaxed);
    }
}

/// The value of a message.
pub fn value(client: u32, number: u32, bytes: usize) -> String {
    let mut text = format!("c{client}-{number} ");
    let mut state = u64::from(client) << 32 | u64::from(number);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push(char::from(b'a' + (state >> 59) as u8 % 26));
    }
    text
}

/// The identity in a value.
pub fn identity(value: &str) -> Option<Id> {
    let (client, number) = value
        .split(' ')
        .next()?
        .strip_prefix('c')?
        .split_once('-')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

/// What a log holds of what devices sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged and not there: the first ten.
    pub lost: Vec<Id>,
    /// There more than once although sent once.
    pub doubled: Vec<Id>,
    /// Where the first copies of a device's messages are out of order.
    pub disordered: Vec<Id>,
    /// There with other bytes, or never sent by anybody.
    pub foreign: Vec<String>,
    /// Records that are there more than once because devices repeated them.
    pub repeats: usize,
}

impl Verdict {
    /// Fails unless nothing is wrong; `repeats` are never wrong.
    pub fn insist(&self, about: &str) {
        let wrong = [self.lost.len(), self.doubled.len(), self.disordered.len()];
        let fine = wrong.iter().sum::<usize>() == 0 && self.foreign.is_empty();
        assert!(fine, "{about}: {self:#?}");
    }
}

/// Compares a log with what devices know: `acked` must be there, `may_repeat` may be there twice.
pub fn check(
    log: &[Stored],
    acked: impl IntoIterator<Item = Id>,
    may_repeat: &BTreeSet<Id>,
    payload_bytes: usize,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen: BTreeSet<Id> = BTreeSet::new();
    let mut newest: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    for record in log {
        let Some(id) = identity(&record.value) else {
            verdict.foreign.push(record.value.clone());
            continue;
        };
        if record.value != value(id.0, id.1, payload_bytes) {
            verdict.foreign.push(record.value.clone());
        }
        if !seen.insert(id) {
            let list = if may_repeat.contains(&id) {
                None
            } else {
                Some(&mut verdict.doubled)
            };
            list.map_or_else(|| verdict.repeats += 1, |l| l.push(id));
            continue;
        }
        let before = newest.insert((id.0, record.key.as_str()), id.1);
        if before.is_some_and(|b| b > id.1) {
            verdict.disordered.push(id);
        }
    }
    verdict.lost = acked
        .into_iter()
        .filter(|id| !seen.contains(id))
        .take(10)
        .collect();
    verdict.foreign.truncate(10);
    verdict
}
