//! What is sent to a client: within its window, and no more than its socket takes.

use super::{Session, Step};
use crate::codec::packet::QoS;
use crate::codec::{Delivered, encode_publish, publish_bytes};
use crate::message::Message;

/// What happened to a message that was to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Sent,
    /// Larger than the client said it takes.
    TooLarge,
}

/// Beyond this many bytes waiting for the socket nothing more is delivered.
const TRANSMIT_BYTES_HIGH: usize = 64 << 10;

/// Beyond this many bytes, all of them acknowledgements, the client is not read either.
const TRANSMIT_BYTES_MAX: usize = 1 << 20;

impl Session {
    /// Whether the client reads its acknowledgements, so that it may be read, too.
    pub(crate) fn is_read_by_client(&self) -> bool {
        self.transmit.len() < TRANSMIT_BYTES_MAX
    }

    /// Whether a QoS 0 message may be written now.
    pub(crate) fn has_room(&self) -> bool {
        self.transmit.len() < TRANSMIT_BYTES_HIGH
    }

    /// Whether a QoS 1 message may be written now.
    pub(crate) fn has_window(&self) -> bool {
        self.has_room() && self.sent.len() < self.window
    }

    /// Writes a message towards the client; the caller asked `has_room` or `has_window`.
    pub(crate) fn deliver(
        &mut self,
        message: &Message,
        qos: QoS,
        retain: bool,
        subscription_ids: &[u32],
    ) -> Delivery {
        let mut how = Delivered {
            qos,
            pkid: 1,
            retain,
            dup: false,
            subscription_ids,
        };
        if publish_bytes(self.version, &message.publish, how) > self.packet_bytes_max {
            return Delivery::TooLarge;
        }
        if qos > QoS::AtMostOnce {
            how.pkid = self.next_pkid();
            self.sent.push_back(how.pkid);
        }
        encode_publish(self.version, &message.publish, how, &mut self.transmit);
        Delivery::Sent
    }

    /// An id that is not under way; the window is far smaller than the ids there are.
    fn next_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            if !self.sent.contains(&self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    pub(super) fn handle_puback(&mut self, pkid: u16) -> Step {
        if let Some(place) = self.sent.iter().position(|sent| *sent == pkid) {
            self.sent.remove(place);
        }
        Step::Idle
    }
}
