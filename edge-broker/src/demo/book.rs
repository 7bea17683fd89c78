//! The devices' own book: every id they sent, and which of them the gateway acknowledged.
//!
//! An id is drawn by the device and told to nobody but the payload, so whoever finds it later
//! found the message. One book, shared by the device tasks, the picture and the check; never held
//! across an await.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// What one device has sent, in order.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Message `n` is entry `n`.
    pub sent: Vec<Sent>,
}

/// One message as its device knows it.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Drawn by the device.
    pub id: u64,
    /// How often it went out; more than once after a connection was lost.
    pub times: u32,
    /// Its PUBACK came.
    pub acked: bool,
}

/// Everything all devices know.
#[derive(Debug)]
pub struct Book {
    /// By number.
    pub devices: Vec<Device>,
    /// Messages that went out, repetitions not counted.
    pub published: u64,
    /// Messages whose PUBACK came.
    pub acked: u64,
    /// Payload bytes of the published.
    pub payload_bytes: u64,
    /// From the newest sending of a message to its PUBACK.
    pub latency: Histogram,
    /// The longest time without any PUBACK.
    pub gap_max: Duration,
    last_ack_at: Option<Instant>,
    awaited: Option<Awaited>,
    rng: fastrand::Rng,
}

/// Waiting for the first PUBACK of a gateway that was started again.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    since: Instant,
    came: Option<Duration>,
}

impl Book {
    /// An empty book; `seed` decides every id.
    pub fn new(devices: usize, seed: u64) -> Book {
        Book {
            devices: vec![Device::default(); devices],
            published: 0,
            acked: 0,
            payload_bytes: 0,
            latency: Histogram::default(),
            gap_max: Duration::ZERO,
            last_ack_at: None,
            awaited: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next message of a device: its number and its payload.
    pub fn write(&mut self, device: usize) -> (u32, Vec<u8>) {
        let id = self.rng.u64(1..);
        let sent = &mut self.devices[device].sent;
        let n = sent.len() as u32;
        sent.push(Sent {
            id,
            times: 1,
            acked: false,
        });
        let payload = payload(device, n, id);
        self.published += 1;
        self.payload_bytes += payload.len() as u64;
        (n, payload)
    }

    /// The same message once more, after its connection was lost.
    pub fn repeat(&mut self, device: usize, n: u32) -> Vec<u8> {
        let sent = &mut self.devices[device].sent[n as usize];
        sent.times += 1;
        payload(device, n, sent.id)
    }

    /// A PUBACK came for a message sent at `sent_at` over a connection opened at `connected_at`.
    pub fn ack(&mut self, device: usize, n: u32, times: AckTimes) {
        let sent = &mut self.devices[device].sent[n as usize];
        if sent.acked {
            return;
        }
        sent.acked = true;
        self.acked += 1;
        let AckTimes {
            connected_at,
            sent_at,
            now,
        } = times;
        self.latency
            .add(now.duration_since(sent_at).as_micros() as u64);
        if let Some(last) = self.last_ack_at.replace(now) {
            self.gap_max = self.gap_max.max(now.duration_since(last));
        }
        if let Some(awaited) = self.awaited.as_mut()
            && awaited.came.is_none()
            && connected_at > awaited.since
        {
            awaited.came = Some(now.duration_since(awaited.since));
        }
    }

    /// From now on the first PUBACK over a new connection is awaited.
    pub fn await_first_ack(&mut self, now: Instant) {
        self.awaited = Some(Awaited {
            since: now,
            came: None,
        });
    }

    /// How long the awaited PUBACK took, once it came.
    pub fn first_ack_after(&self) -> Option<Duration> {
        self.awaited.and_then(|awaited| awaited.came)
    }
}

/// The moments around one PUBACK.
#[derive(Debug, Clone, Copy)]
pub struct AckTimes {
    /// Its connection was opened.
    pub connected_at: Instant,
    /// The message went out, the last time.
    pub sent_at: Instant,
    /// The PUBACK was read.
    pub now: Instant,
}

/// Name of a device, its client id too.
pub fn device_name(device: usize) -> String {
    format!("press{:02}", device + 1)
}

/// MQTT topic of a device.
pub fn device_topic(device: usize) -> String {
    format!("plant/{}/state", device_name(device))
}

/// What message `n` of a device says: about 200 bytes of JSON, the same for the same id.
pub fn payload(device: usize, n: u32, id: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(id);
    let (temp, bar, rpm) = (
        60.0 + rng.f64() * 20.0,
        3.0 + rng.f64() * 2.0,
        rng.u32(1_200..1_600),
    );
    let name = device_name(device);
    format!(
        "{{{MARK}{id:016x}\",\"device\":\"{name}\",\"n\":{n},\"temperature_c\":{temp:.2},\
         \"pressure_bar\":{bar:.3},\"speed_rpm\":{rpm},\"state\":\"running\",\"alarm\":false,\
         \"program\":\"housing-4711\",\"firmware\":\"2.4.1\"}}"
    )
    .into_bytes()
}

/// What stands before the 16 hexadecimal digits of an id.
const MARK: &str = "\"id\":\"";

/// A message as somebody found it: enough to tell which one it is and whether it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The id it carries; 0 when it carries none.
    pub id: u64,
    /// Of all its bytes.
    pub digest: u64,
}

impl Sighting {
    /// Of a payload from the log or from central.
    pub fn of(payload: &[u8]) -> Sighting {
        let digits = payload
            .get(1 + MARK.len()..)
            .filter(|_| payload[1..].starts_with(MARK.as_bytes()))
            .and_then(|rest| std::str::from_utf8(rest.get(..16)?).ok());
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let mut hasher = DefaultHasher::new();
        hasher.write(payload);
        Sighting {
            id: id.unwrap_or(0),
            digest: hasher.finish(),
        }
    }
}
