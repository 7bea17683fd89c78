//! What happens when: the script of the demo as data.
//!
//! Pure. `stage` asks `due` with the time since the start and does what it says.

use std::time::Duration;

/// Something the demo does to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Central can no longer be reached.
    CutUplink,
    /// SIGKILL, then a new process on the same data.
    Kill,
    /// Central can be reached again.
    RestoreUplink,
    /// Devices publish nothing new; what is unacknowledged they repeat until it is.
    StopDevices,
    /// The time is up.
    End,
}

/// The default script, in 30 s: longer and shorter runs stretch it.
const SCRIPT: [(u64, Step); 6] = [
    (5, Step::CutUplink),
    (9, Step::Kill),
    (14, Step::RestoreUplink),
    (20, Step::Kill),
    (26, Step::StopDevices),
    (30, Step::End),
];
const SCRIPT_S: u64 = 30;

/// The steps that are still to come.
#[derive(Debug, Clone)]
pub struct Plan {
    seconds: u64,
    next: usize,
}

impl Plan {
    /// The script over that many seconds.
    pub fn new(seconds: u64) -> Plan {
        Plan { seconds, next: 0 }
    }

    /// The next step if its time has come.
    pub fn due(&mut self, since_start: Duration) -> Option<Step> {
        let (at_s, step) = *SCRIPT.get(self.next)?;
        if since_start < Duration::from_millis(at_s * 1000 * self.seconds / SCRIPT_S) {
            return None;
        }
        self.next += 1;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Plan, Step};

    fn steps(seconds: u64) -> Vec<(u64, Step)> {
        let mut plan = Plan::new(seconds);
        let times_ms = (0..=seconds * 10).map(|tenth| tenth * 100);
        times_ms
            .filter_map(|ms| Some((ms, plan.due(Duration::from_millis(ms))?)))
            .collect()
    }

    #[test]
    fn thirty_seconds_are_the_script() {
        let expected = [
            (5_000, Step::CutUplink),
            (9_000, Step::Kill),
            (14_000, Step::RestoreUplink),
            (20_000, Step::Kill),
            (26_000, Step::StopDevices),
            (30_000, Step::End),
        ];
        assert_eq!(steps(30), expected);
    }

    #[test]
    fn a_longer_run_stretches_every_step() {
        let times: Vec<u64> = steps(60).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [10_000, 18_000, 28_000, 40_000, 52_000, 60_000]);
    }
}
