//! Who is connected: one connection per client id, and the older one makes way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use edge_site::Pressure;
use smol::channel::{Receiver, Sender};

use super::{Hub, lock};
use crate::mailbox::{Mailbox, Signal};

pub(super) struct Client {
    pub(super) mailbox: Arc<Mailbox>,
    /// Closes when the connection's task has ended.
    pub(super) ended: Receiver<()>,
}

/// A connection's place among the clients: given back when it is dropped, however that comes.
pub(crate) struct Registered {
    hub: Arc<Hub>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Dropped after the place is free: who takes over waits for it.
    _ended: Sender<()>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.hub.unregister(&self.mailbox);
    }
}

/// A client that is closed takes a moment to let go of what it holds.
const RELIEF_MS: u64 = 20;

/// How long a new connection waits for an older one of the same client.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(3);

impl Hub {
    /// Takes a client in, pushing out who has its id; `None` = as many as may be are connected.
    ///
    /// Waits until the older connection is done, so that its messages and its will come first.
    pub(crate) async fn register(self: &Arc<Self>, client_id: &Bytes) -> Option<Registered> {
        let (registered, older) = self.enter(client_id)?;
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
            registered.mailbox.signal(Signal::Stop);
        }
        Some(registered)
    }

    /// Takes the place of a client id, and gives back who had it.
    fn enter(self: &Arc<Self>, client_id: &Bytes) -> Option<(Registered, Option<Client>)> {
        let (sender, ended) = smol::channel::bounded(1);
        let held = self.site.memory().doors().clone();
        let mailbox = Arc::new(Mailbox::new(self.next_id(), client_id.clone(), held));
        let mut clients = lock(&self.clients);
        let full = clients.len() >= self.config.mqtt.connections_max
            || self.pressure() >= Pressure::RefuseClients;
        if full && !clients.contains_key(client_id) {
            return None;
        }
        let client = Client {
            mailbox: mailbox.clone(),
            ended,
        };
        let older = clients.insert(client_id.clone(), client);
        let registered = Registered {
            hub: self.clone(),
            mailbox,
            _ended: sender,
        };
        Some((registered, older))
    }

    /// How near the end all buffers are.
    pub(crate) fn pressure(&self) -> Pressure {
        self.site.memory().pressure()
    }

    /// Closes the client that holds the most, when nothing else is left to make room with.
    pub(crate) fn relieve(&self) {
        let now_ms = self.now_ms();
        let due_ms = self.relief_due_ms.load(Ordering::Relaxed);
        if self.pressure() < Pressure::CloseSlow || now_ms < due_ms {
            return;
        }
        let clients = lock(&self.clients);
        let held = |client: &&Client| client.mailbox.held_bytes();
        let most = clients.values().max_by_key(held);
        // Who holds nothing makes no room: somebody else's turn is not wasted on them.
        if let Some(most) = most.filter(|client| held(client) > 0) {
            let due_ms = now_ms + RELIEF_MS;
            self.relief_due_ms.store(due_ms, Ordering::Relaxed);
            most.mailbox.signal(Signal::HoldsMost);
        }
    }

    /// Lets a client go, unless another connection has taken its id over.
    fn unregister(&self, mailbox: &Mailbox) {
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
