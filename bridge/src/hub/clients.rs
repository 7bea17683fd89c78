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
    ended: Receiver<()>,
    /// Until it begins: the same of the connection that it waits for.
    waits_for: Option<Receiver<()>>,
}

/// Why there is no place for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// As many as may be are connected.
    Full,
    /// Another connection of the same client came while this one waited, or the gateway stops.
    GaveWay,
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

/// How long a new connection waits for an older one of the same client: longer than the last
/// appends of that one may wait for room, because its will is in line for room right behind them.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(4);

impl Hub {
    /// Takes a client in, pushing out who has its id.
    ///
    /// Waits until the older connection is done, so that its messages and its will come first.
    /// Only the newest waits: however often a client connects, few sockets are its.
    pub(crate) async fn register(
        self: &Arc<Self>,
        client_id: &Bytes,
    ) -> Result<Registered, NoPlace> {
        let (registered, older_ended) = self.enter(client_id)?;
        if let Some(older_ended) = older_ended {
            let timeout = async {
                smol::Timer::after(TAKE_OVER_WAIT).await;
            };
            let ended = async {
                let _ = older_ended.recv().await;
            };
            let signalled = registered.mailbox.signalled();
            smol::future::or(signalled, smol::future::or(ended, timeout)).await;
        }
        if !self.begin(&registered.mailbox) {
            return Err(NoPlace::GaveWay);
        }
        Ok(registered)
    }

    /// Takes the place of a client id, and gives back when its predecessor is done.
    fn enter(
        self: &Arc<Self>,
        client_id: &Bytes,
    ) -> Result<(Registered, Option<Receiver<()>>), NoPlace> {
        let (sender, ended) = smol::channel::bounded(1);
        let held = self.site.memory().doors().clone();
        let mailbox = Arc::new(Mailbox::new(self.next_id(), client_id.clone(), held));
        let mut clients = lock(&self.clients);
        let full = clients.len() >= self.config.mqtt.connections_max
            || self.pressure() >= Pressure::RefuseClients;
        if full && !clients.contains_key(client_id) {
            return Err(NoPlace::Full);
        }
        let older_ended = clients.remove(client_id).map(|older| {
            self.counters.taken_over.add(1);
            older.mailbox.signal(Signal::TakenOver);
            // One that waits itself is gone at once: what it waited for is to be waited for.
            older.waits_for.unwrap_or(older.ended)
        });
        let client = Client {
            mailbox: mailbox.clone(),
            ended,
            waits_for: older_ended.clone(),
        };
        clients.insert(client_id.clone(), client);
        let registered = Registered {
            hub: self.clone(),
            mailbox,
            _ended: sender,
        };
        Ok((registered, older_ended))
    }

    /// The waiting is over; false = it was in vain.
    fn begin(&self, mailbox: &Mailbox) -> bool {
        let mut clients = lock(&self.clients);
        let client = clients.get_mut(&mailbox.client_id);
        let is_newest = client
            .filter(|client| client.mailbox.id == mailbox.id)
            .map(|client| client.waits_for = None)
            .is_some();
        is_newest && !self.stopping.load(Ordering::SeqCst)
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
