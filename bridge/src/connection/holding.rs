//! What is held in memory for one client, and which number bounds it.
//!
//! | what | bound for one client | counted |
//! |---|---|---|
//! | what it sent and we did not take yet | one packet and one read, or `AHEAD_BYTES_MAX` | yes |
//! | publishes that wait for room or for a topic | `GATHER_BYTES_MAX` and one packet | yes |
//! | publishes under way | `UNDER_WAY_BYTES_MAX` and one append | by the site, as its queue |
//! | what is to be written to it | `TRANSMIT_BYTES_HIGH` and one message; acks to `…_MAX` | yes |
//! | its mailbox | twice `QUEUE_BYTES_MAX`; an empty queue takes one message | yes |
//! | what it reads of the log, fallen behind | `PIECE_BYTES_MAX`, and one read or frame | yes |
//! | retained messages on their way to it | a page of topics, `MESSAGES_BYTES_MAX` or one | yes |
//! | its id | `CLIENT_ID_BYTES_MAX` | remembered |
//! | its will | a CONNECT, `CONNECT_BYTES_MAX` | remembered |
//! | its topic aliases | `TOPIC_ALIAS_MAX` topics | remembered |
//! | its subscriptions | `FILTER_BYTES_MAX`, `subscriptions_max`, `topic_levels_max` | remembered |
//! | ids at QoS 2 that it did not release | 65,535 | remembered |
//! | ways of its topics | `KEPT_TOPICS_MAX` short ones; a long one while it is used | remembered |
//!
//! What is counted is part of the doors' share of `memory.bytes_max`: near its end QoS 0 goes, then
//! new clients are refused, then the client that holds the most is closed. Of what is remembered
//! the first `REMEMBERED_BYTES_FREE` are what a connection costs by itself; the number of
//! connections bounds those.

use smol::io::{AsyncRead, AsyncWrite};

use super::Connection;
use super::catch_up::CatchUp;

/// An id, a will, a dozen subscriptions: what a client is remembered by is usually less.
const REMEMBERED_BYTES_FREE: usize = 8 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Tells what is held for this client beside its mailbox, and makes room where that is the
    /// last thing to do.
    pub(super) fn note_held(&mut self) {
        if self.mailbox.note_held(self.held_bytes()) {
            self.hub.relieve();
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let remembered = self.session.remembered_bytes() + self.intake.remembered_bytes();
        self.received.len()
            + self.session.transmit_bytes()
            + self.blocked_bytes()
            + self.catch_up.as_ref().map_or(0, CatchUp::held_bytes)
            + self.retained.held_bytes()
            + remembered.saturating_sub(REMEMBERED_BYTES_FREE)
    }

    /// What waits for room or for a topic. Its parts are slices of what was read together, which
    /// stays for the last of them.
    fn blocked_bytes(&self) -> usize {
        if !self.is_blocked() {
            return 0;
        }
        let room = self.waiting.room.as_ref();
        let topic = self.waiting.topic.as_ref();
        let batches: usize = self.batches.iter().map(|batch| batch.bytes).sum();
        let parts = batches
            + room.map_or(0, |waiting| waiting.sent.bytes)
            + topic.map_or(0, |waiting| waiting.publish.bytes());
        parts.max(self.read_together_bytes)
    }
}
