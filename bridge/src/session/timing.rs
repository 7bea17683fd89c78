//! What time does to a session: its keep-alive, and publishes that are held too long.

use super::{Close, Session, Step};
use crate::codec::packet::{Reason, Reply};

impl Session {
    pub(super) fn handle_ping(&mut self) -> Step {
        if self.pings_answered_ahead > 0 {
            self.pings_answered_ahead -= 1;
        } else {
            self.reply(&Reply::PingResp);
        }
        Step::Idle
    }

    /// A PINGREQ lies behind publishes that wait for room: it is answered now, and not again.
    pub(crate) fn handle_ping_ahead(&mut self, now_ms: u64) {
        self.last_packet_ms = now_ms;
        self.pings_answered_ahead += 1;
        self.reply(&Reply::PingResp);
    }

    /// The next moment `handle_tick` has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let silent = (self.keep_alive_ms > 0).then_some(self.last_packet_ms + self.keep_alive_ms);
        let held = self
            .held_since_ms
            .map(|since| since + self.limits.hold_ms_max);
        match (silent, held) {
            (Some(silent), Some(held)) => Some(silent.min(held)),
            (one, other) => one.or(other),
        }
    }

    /// Time passed. `is_read` = the socket is being read, so silence is the client's.
    pub(crate) fn handle_tick(&mut self, now_ms: u64, is_read: bool) -> Option<Close> {
        if !is_read {
            self.last_packet_ms = now_ms;
        }
        if self
            .held_since_ms
            .is_some_and(|since| now_ms >= since + self.limits.hold_ms_max)
        {
            let what = "a publish could not be stored within mqtt.hold_s_max";
            return Some(Close::gateway(Reason::QUOTA_EXCEEDED, what));
        }
        if self.keep_alive_ms > 0 && now_ms >= self.last_packet_ms + self.keep_alive_ms {
            let what = "silent for 1.5 times its keep-alive";
            return Some(Close::gateway(Reason::KEEP_ALIVE_TIMEOUT, what));
        }
        None
    }
}
