//! A ticket: the promise of one append, spent once by the commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::append::Appended;
use crate::error::Refused;

enum State {
    Waiting(Option<Waker>),
    Done(Result<Appended, Refused>),
    Taken,
}

/// Resolves when the records reached their level, or were refused.
///
/// Dropping it is safe and changes nothing about the records.
pub struct Ticket {
    slot: Arc<Mutex<State>>,
}

/// The other half, held by the site until the outcome is known.
pub(crate) struct Spender {
    slot: Option<Arc<Mutex<State>>>,
}

/// A fresh pair.
pub(crate) fn ticket() -> (Spender, Ticket) {
    let slot = Arc::new(Mutex::new(State::Waiting(None)));
    (
        Spender {
            slot: Some(slot.clone()),
        },
        Ticket { slot },
    )
}

impl Ticket {
    /// A ticket that is spent already.
    pub fn spent(outcome: Result<Appended, Refused>) -> Ticket {
        Ticket {
            slot: Arc::new(Mutex::new(State::Done(outcome))),
        }
    }
}

impl Spender {
    /// Spends it; the waker, if somebody waits, is for the caller to wake after its locks are gone.
    pub(crate) fn spend(mut self, outcome: Result<Appended, Refused>) -> Option<Waker> {
        spend(self.slot.take()?, outcome)
    }
}

impl Drop for Spender {
    fn drop(&mut self) {
        if let Some(waker) = self
            .slot
            .take()
            .and_then(|slot| spend(slot, Err(Refused::Unknown)))
        {
            waker.wake();
        }
    }
}

fn spend(slot: Arc<Mutex<State>>, outcome: Result<Appended, Refused>) -> Option<Waker> {
    match std::mem::replace(&mut *lock(&slot), State::Done(outcome)) {
        State::Waiting(waker) => waker,
        State::Done(_) | State::Taken => None,
    }
}

fn lock(slot: &Mutex<State>) -> MutexGuard<'_, State> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Future for Ticket {
    type Output = Result<Appended, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.slot);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Ready(Err(Refused::Unknown)),
        }
    }
}
