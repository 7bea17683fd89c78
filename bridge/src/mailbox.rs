//! What waits for one connection: messages, and word from other tasks. Bounded.
//!
//! Publishers (QoS 0) and the live dispatcher (committed messages) put in, the connection's task
//! takes out. A QoS 0 message that finds no room is shed and counted by the caller. A committed
//! one is never dropped: the mailbox then falls *behind*, remembers from which frame on, and the
//! connection reads the log until it has caught up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edge_site::Gauge;

use crate::codec::packet::QoS;
use crate::message::Message;

/// One message for one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<u32>,
}

impl Delivery {
    /// What it takes in memory; a message counts for each who gets it, though they share it.
    pub(crate) fn bytes(&self) -> usize {
        // What a queue entry costs beside its texts, roughly.
        const ENTRY_BYTES: usize = 200;
        ENTRY_BYTES + self.message.bytes() + size_of_val(&self.subscription_ids[..])
    }
}

/// Word from other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Another connection came with the same client id.
    TakenOver,
    /// The gateway is short of memory, and no other client holds as much of it.
    HoldsMost,
    /// The gateway is stopping.
    Stop,
}

/// A record's place in the stream of committed frames: frame index, number within the frame.
pub(crate) type Position = (u64, u32);

/// Where a session stands in the stream of committed frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets what the dispatcher finds, from this place on.
    Live { from: Position },
    /// It reads frames itself, from this place on.
    Behind { from: Position },
}

/// The mailbox of one connection.
pub(crate) struct Mailbox {
    pub(crate) id: u64,
    pub(crate) client_id: Bytes,
    contents: Mutex<Contents>,
    /// What its connection holds beside what is in here.
    beside_bytes: AtomicUsize,
    /// What all connections hold together.
    all_bytes: Arc<Gauge>,
}

/// What is in it; seen by the owner under its lock.
pub(crate) struct Contents {
    pub(crate) live: VecDeque<Delivery>,
    pub(crate) committed: VecDeque<Delivery>,
    pub(crate) standing: Standing,
    pub(crate) signal: Option<Signal>,
    /// Its connection ends: nothing comes in any more.
    is_closed: bool,
    live_bytes: usize,
    committed_bytes: usize,
    all_bytes: Arc<Gauge>,
    waker: Option<Waker>,
}

/// Each of the two queues holds at most this.
const QUEUE_BYTES_MAX: usize = 256 << 10;
/// Mailboxes stop at this part of what the doors may hold: slow readers fall behind and read the
/// log, before anybody is refused or closed for want of memory.
const MAILBOXES_PERCENT: usize = 85;

impl Mailbox {
    pub(crate) fn new(id: u64, client_id: Bytes, all_bytes: Arc<Gauge>) -> Mailbox {
        let contents = Contents {
            live: VecDeque::new(),
            committed: VecDeque::new(),
            standing: Standing::Live { from: (0, 0) },
            signal: None,
            is_closed: false,
            live_bytes: 0,
            committed_bytes: 0,
            all_bytes: all_bytes.clone(),
            waker: None,
        };
        Mailbox {
            id,
            client_id,
            contents: Mutex::new(contents),
            beside_bytes: AtomicUsize::new(0),
            all_bytes,
        }
    }

    /// What the connection holds beside what is in here; whether it grew.
    pub(crate) fn note_held(&self, bytes: usize) -> bool {
        let before = self.beside_bytes.swap(bytes, Ordering::Relaxed);
        if bytes >= before {
            self.all_bytes.add(bytes - before);
        } else {
            self.all_bytes.sub(before - bytes);
        }
        bytes > before
    }

    /// What closing the client would give back: nothing where that has begun.
    pub(crate) fn held_bytes(&self) -> usize {
        let contents = self.lock();
        if contents.is_closed {
            return 0;
        }
        let queued = contents.live_bytes + contents.committed_bytes;
        queued + self.beside_bytes.load(Ordering::Relaxed)
    }

    /// Puts a QoS 0 delivery in; false = no room, it is shed.
    #[must_use]
    pub(crate) fn push_live(&self, delivery: Delivery) -> bool {
        let waker = {
            let mut contents = self.lock();
            if contents.is_closed {
                return true;
            }
            let bytes = delivery.bytes();
            if self.is_full(contents.live_bytes, bytes) {
                return false;
            }
            contents.live_bytes += bytes;
            contents.live.push_back(delivery);
            contents.waker.take()
        };
        wake(waker);
        true
    }

    /// Puts a committed delivery in; without room the session falls behind from here on.
    pub(crate) fn push_committed(&self, position: Position, delivery: Delivery) {
        let waker = {
            let mut contents = self.lock();
            match contents.standing {
                Standing::Live { from } if position >= from && !contents.is_closed => {}
                _ => return,
            }
            let bytes = delivery.bytes();
            if self.is_full(contents.committed_bytes, bytes) {
                contents.fall_behind(position);
            } else {
                contents.committed_bytes += bytes;
                contents.committed.push_back(delivery);
            }
            contents.waker.take()
        };
        wake(waker);
    }

    /// Its connection ends: what is in it goes, and nothing comes in any more.
    pub(crate) fn close(&self) {
        let mut contents = self.lock();
        contents.is_closed = true;
        while contents.pop_live().is_some() || contents.pop_committed().is_some() {}
    }

    /// Leaves word; the first word stands.
    pub(crate) fn signal(&self, signal: Signal) {
        let waker = {
            let mut contents = self.lock();
            contents.signal.get_or_insert(signal);
            contents.waker.take()
        };
        wake(waker);
    }

    /// Waits until there is word; it stays there for the owner.
    pub(crate) async fn signalled(&self) {
        std::future::poll_fn(|cx| {
            let mut contents = self.lock();
            contents.register(cx);
            match contents.signal {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// An empty queue takes a message of any size, as long as all together are within their share.
    fn is_full(&self, queued_bytes: usize, bytes: usize) -> bool {
        let full = if queued_bytes == 0 {
            self.all_bytes.bytes() >= self.all_bytes.bytes_max()
        } else {
            queued_bytes + bytes > QUEUE_BYTES_MAX
                || self.all_bytes.bytes() + bytes > self.mailboxes_bytes_max()
        };
        if !full {
            self.all_bytes.add(bytes);
        }
        full
    }

    /// Whether all connections together hold so much that slow readers have to make do with less.
    pub(crate) fn is_memory_short(&self) -> bool {
        self.all_bytes.bytes() > self.mailboxes_bytes_max()
    }

    fn mailboxes_bytes_max(&self) -> usize {
        self.all_bytes.bytes_max() / 100 * MAILBOXES_PERCENT
    }

    /// For the owner.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.note_held(0);
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        let left = self.live_bytes + self.committed_bytes;
        self.all_bytes.sub(left);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Contents {
    /// The owner wants to be woken by the next thing put in.
    pub(crate) fn register(&mut self, cx: &Context) {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }

    pub(crate) fn pop_live(&mut self) -> Option<Delivery> {
        let delivery = self.live.pop_front()?;
        self.live_bytes -= delivery.bytes();
        self.all_bytes.sub(delivery.bytes());
        if self.live.is_empty() {
            self.live = VecDeque::new();
        }
        Some(delivery)
    }

    pub(crate) fn pop_committed(&mut self) -> Option<Delivery> {
        let delivery = self.committed.pop_front()?;
        self.committed_bytes -= delivery.bytes();
        self.all_bytes.sub(delivery.bytes());
        if self.committed.is_empty() {
            self.committed = VecDeque::new();
        }
        Some(delivery)
    }

    /// From here on the owner reads for itself.
    fn fall_behind(&mut self, from: Position) {
        self.standing = Standing::Behind { from };
    }
}

#[cfg(test)]
mod tests;
