//! What the log says about a connection; each once per client and minute.

use bytes::Bytes;
use edge_site::{Refused, TopicError};
use smol::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::session::{Cause, Close};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn name(&self) -> String {
        name(self.session.client_id())
    }

    /// What came since it was said: in the first line usually all of it, a new kind in a later one.
    pub(super) fn say_reductions(&mut self) {
        let reductions = self.session.reductions();
        if reductions == self.said_reductions {
            return;
        }
        let said = std::mem::replace(&mut self.said_reductions, reductions);
        let mut new = reductions.words();
        new.retain(|words| !said.words().contains(words));
        // Each by itself: a client that comes back each few seconds says the same each time.
        new.retain(|words| self.hub.may_say(self.session.client_id(), words));
        if !new.is_empty() {
            log::info!("client {}: {}", self.name(), new.join("; "));
        }
    }

    pub(super) fn say_refused(&self, refused: &Refused) {
        if self.hub.may_say(self.session.client_id(), "refused") {
            log::warn!("client {}: publish refused: {refused}", self.name());
        }
    }

    pub(super) fn say_fallback(&self, topic: &str, error: &TopicError) {
        if self.hub.may_say(topic.as_bytes(), "fallback") {
            log::warn!("topic {topic} cannot be created, messages go to the last route: {error}");
        }
    }

    pub(super) fn say_close(&self, close: &Close) {
        match close.cause {
            Cause::Client | Cause::ClientWithWill => {
                log::debug!("client {} disconnected", self.name());
            }
            Cause::Gateway => log::debug!("client {} closed: {}", self.name(), close.what),
            Cause::Violation | Cause::Refused => {
                self.hub.counters.protocol_errors.add(1);
                if self.hub.may_say(self.session.client_id(), close.what) {
                    let (name, reason) = (self.name(), close.reason);
                    log::warn!("client {name} closed ({reason:?}): {}", close.what);
                }
            }
        }
    }
}

/// A client id for the log: bounded, without control characters.
pub(crate) fn name(client_id: &Bytes) -> String {
    String::from_utf8_lossy(&client_id[..client_id.len().min(64)])
        .escape_debug()
        .collect()
}
