//! Who is connected: one connection per client id, and the older one makes way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use smol::channel::{Receiver, Sender};

use super::{Hub, lock};
use crate::mailbox::{Mailbox, Signal};

pub(super) struct Client {
    pub(super) mailbox: Arc<Mailbox>,
    /// Closes when the connection's task has ended.
    pub(super) ended: Receiver<()>,
}

/// A connection's place among the clients.
pub(crate) struct Registered {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Dropped when the connection's task ends.
    pub(crate) _ended: Sender<()>,
}

/// How long a new connection waits for an older one of the same client.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(3);

impl Hub {
    /// Takes a client in, pushing out who has its id; `None` = as many as may be are connected.
    ///
    /// Waits until the older connection is done, so that its messages and its will come first.
    pub(crate) async fn register(&self, client_id: &Bytes) -> Option<Registered> {
        let (sender, ended) = smol::channel::bounded(1);
        let queued = self.queued_bytes.clone();
        let mailbox = Arc::new(Mailbox::new(self.next_id(), client_id.clone(), queued));
        let older = {
            let mut clients = lock(&self.clients);
            let full = clients.len() >= self.config.mqtt.connections_max;
            if full && !clients.contains_key(client_id) {
                return None;
            }
            clients.insert(
                client_id.clone(),
                Client {
                    mailbox: mailbox.clone(),
                    ended,
                },
            )
        };
        if let Some(older) = older {
            self.counters.taken_over.add(1);
            older.mailbox.signal(Signal::TakenOver);
            let timeout = async {
                smol::Timer::after(TAKE_OVER_WAIT).await;
            };
            let ended = async {
                let _ = older.ended.recv().await;
            };
            smol::future::or(ended, timeout).await;
        }
        if self.stopping.load(Ordering::SeqCst) {
            mailbox.signal(Signal::Stop);
        }
        Some(Registered {
            mailbox,
            _ended: sender,
        })
    }

    /// Lets a client go, unless another connection has taken its id over.
    pub(crate) fn unregister(&self, mailbox: &Mailbox) {
        let mut clients = lock(&self.clients);
        if clients
            .get(&mailbox.client_id)
            .is_some_and(|c| c.mailbox.id == mailbox.id)
        {
            clients.remove(&mailbox.client_id);
        }
    }

    pub(crate) fn connected(&self) -> usize {
        lock(&self.clients).len()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Tells every connection to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for client in lock(&self.clients).values() {
            client.mailbox.signal(Signal::Stop);
        }
    }
}
