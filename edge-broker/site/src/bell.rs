//! A bell: wakes everybody who waits for "something changed"; coalescing, bounded by listeners.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Inner {
    rings: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    wakers: HashMap<u64, Waker>,
}

/// Rung by one side, listened to by many.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Inner>);

impl Bell {
    /// Rings: everybody who waits goes on, everybody who asks later knows.
    pub fn ring(&self) -> Vec<Waker> {
        self.0.rings.fetch_add(1, Ordering::Release);
        let mut waiting = lock(&self.0.waiting);
        if waiting.wakers.is_empty() {
            return Vec::new();
        }
        waiting.wakers.drain().map(|(_, waker)| waker).collect()
    }

    /// Rings and wakes.
    pub fn ring_now(&self) {
        self.ring().into_iter().for_each(Waker::wake);
    }

    /// Hears rings from now on.
    pub fn listen(&self) -> Listener {
        Listener {
            heard: self.0.rings.load(Ordering::Acquire),
            bell: self.clone(),
            id: None,
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One listener.
pub(crate) struct Listener {
    bell: Bell,
    heard: u64,
    id: Option<u64>,
}

impl Listener {
    /// Returns after the next ring, or at once if it rang since the last call. Safe to drop.
    pub async fn heard(&mut self) {
        Hearing { listener: self }.await;
    }

    fn forget(&mut self) {
        if let Some(id) = self.id.take() {
            lock(&self.bell.0.waiting).wakers.remove(&id);
        }
    }
}

impl Clone for Listener {
    fn clone(&self) -> Self {
        Listener {
            bell: self.bell.clone(),
            heard: self.heard,
            id: None,
        }
    }
}

struct Hearing<'a> {
    listener: &'a mut Listener,
}

impl Future for Hearing<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let listener = &mut *self.listener;
        let mut waiting = lock(&listener.bell.0.waiting);
        let rings = listener.bell.0.rings.load(Ordering::Acquire);
        if rings != listener.heard {
            listener.heard = rings;
            if let Some(id) = listener.id.take() {
                waiting.wakers.remove(&id);
            }
            return Poll::Ready(());
        }
        let id = *listener.id.get_or_insert_with(|| {
            waiting.next_id += 1;
            waiting.next_id
        });
        waiting.wakers.insert(id, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.listener.forget();
    }
}

#[cfg(test)]
mod tests;
