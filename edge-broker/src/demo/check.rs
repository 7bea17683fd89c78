//! The check at the end: what the devices know against what was found.
//!
//! Pure. The devices' book says which ids were acknowledged and which were sent more than once;
//! the log and central are lists of sightings in their order. Called once, at the end.

use std::collections::HashMap;
use std::fmt;

use super::book::{Device, Sighting, device_name, payload};

/// What was found where, in the order of each partition.
#[derive(Debug, Default)]
pub struct Found {
    /// In the log, partition by partition.
    pub log: Vec<Vec<Sighting>>,
    /// In central, partition by partition.
    pub central: Vec<Vec<Sighting>>,
}

/// Where something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The log of the gateway.
    Log,
    /// The central cluster.
    Central,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Place::Log => "the log",
            Place::Central => "central",
        })
    }
}

/// An acknowledged message that is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its id.
    pub id: u64,
    /// Number of its device.
    pub device: usize,
    /// Its number among the messages of the device.
    pub n: u32,
    /// Where it is missing.
    pub place: Place,
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, name, n, place) = (self.id, device_name(self.device), self.n, self.place);
        write!(out, "{id:016x} ({name}, message {n}) is not in {place}")
    }
}

/// The result.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages whose PUBACK came.
    pub acked: u64,
    /// Of these, found in the log.
    pub in_log: u64,
    /// Of these, found in central.
    pub in_central: u64,
    /// Acknowledged and missing in the log, in central or in both.
    pub lost: u64,
    /// What is missing, in the order of the devices.
    pub missing: Vec<Missing>,
    /// Messages that came after a later one of their device, in the log or in central.
    pub order_broken: u64,
    /// Copies in the log beyond the first, of messages that their device sent again.
    pub repeated_in_log: u64,
    /// Copies in the log beyond the first that no device can have caused.
    pub unexplained_in_log: u64,
    /// Copies in central beyond those in the log.
    pub repeated_in_central: u64,
    /// Records whose bytes are not those that were sent, or that nobody sent.
    pub foreign: u64,
}

impl Findings {
    /// Nothing lost, nothing invented, nothing out of order.
    pub fn pass(&self) -> bool {
        self.lost == 0
            && self.acked > 0
            && self.order_broken == 0
            && self.unexplained_in_log == 0
            && self.foreign == 0
    }

    /// Copies beyond the first, wherever they are.
    pub fn duplicates(&self) -> u64 {
        self.repeated_in_log + self.unexplained_in_log + self.repeated_in_central
    }
}

/// Compares the devices' book with what was found.
pub fn check(devices: &[Device], found: &Found) -> Findings {
    let ids = by_id(devices);
    let mut findings = Findings::default();
    let log = count(&found.log, devices, &ids, &mut findings);
    let central = count(&found.central, devices, &ids, &mut findings);
    for (device, sent) in devices.iter().enumerate() {
        for (n, message) in sent.sent.iter().enumerate() {
            let (in_log, in_central) = (times(&log, message.id), times(&central, message.id));
            let extra = in_log.saturating_sub(1);
            let explained = extra.min(u64::from(message.times.saturating_sub(1)));
            findings.repeated_in_log += explained;
            findings.unexplained_in_log += extra - explained;
            findings.repeated_in_central += in_central.saturating_sub(in_log.max(1));
            if !message.acked {
                continue;
            }
            findings.acked += 1;
            findings.in_log += u64::from(in_log > 0);
            findings.in_central += u64::from(in_central > 0);
            findings.lost += u64::from(in_log == 0 || in_central == 0);
            for (times, place) in [(in_log, Place::Log), (in_central, Place::Central)] {
                if times == 0 {
                    findings.missing.push(Missing {
                        id: message.id,
                        device,
                        n: n as u32,
                        place,
                    });
                }
            }
        }
    }
    findings
}

type Ids = HashMap<u64, (usize, u32)>;

fn by_id(devices: &[Device]) -> Ids {
    let mut ids = HashMap::new();
    for (device, sent) in devices.iter().enumerate() {
        for (n, message) in sent.sent.iter().enumerate() {
            ids.insert(message.id, (device, n as u32));
        }
    }
    ids
}

fn times(counted: &HashMap<u64, u64>, id: u64) -> u64 {
    counted.get(&id).copied().unwrap_or(0)
}

/// Counts every id of one place and judges what can be judged there: bytes and order.
fn count(
    partitions: &[Vec<Sighting>],
    devices: &[Device],
    ids: &Ids,
    findings: &mut Findings,
) -> HashMap<u64, u64> {
    let mut counted: HashMap<u64, u64> = HashMap::new();
    // A device has one key, so all its messages are in one partition.
    let mut newest: Vec<Option<u32>> = vec![None; devices.len()];
    for sighting in partitions.iter().flatten() {
        let whole = |&(device, n): &(usize, u32)| {
            *sighting == Sighting::of(&payload(device, n, sighting.id))
        };
        let Some(&(device, n)) = ids.get(&sighting.id).filter(|place| whole(place)) else {
            findings.foreign += 1;
            continue;
        };
        let times = counted.entry(sighting.id).or_default();
        *times += 1;
        if *times > 1 {
            continue; // a copy says nothing about order: the first one counts
        }
        if newest[device].is_some_and(|newest| newest > n) {
            findings.order_broken += 1;
        }
        newest[device] = newest[device].max(Some(n));
    }
    counted
}

#[cfg(test)]
mod tests;
