//! A ticket: the promise of one outcome, spent once.
//!
//! One small lock per ticket and no channel: a commit spends thousands of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::append::Appended;
use crate::error::Refused;

enum State<R> {
    Waiting(Option<Waker>),
    Done(R),
    Taken,
}

/// The waiting half.
pub(crate) struct Promise<R> {
    slot: Arc<Mutex<State<R>>>,
    lost: fn() -> R,
}

/// The other half, held by the site until the outcome is known. Dropped unspent (a thread ended),
/// it spends itself with what `lost` says, so that nobody waits for ever.
pub(crate) struct Spender<R> {
    slot: Option<Arc<Mutex<State<R>>>>,
    lost: fn() -> R,
}

/// A fresh pair.
pub(crate) fn promise<R>(lost: fn() -> R) -> (Spender<R>, Promise<R>) {
    let slot = Arc::new(Mutex::new(State::Waiting(None)));
    (
        Spender {
            slot: Some(slot.clone()),
            lost,
        },
        Promise { slot, lost },
    )
}

impl<R> Spender<R> {
    /// Spends it. Whoever waits is for the caller to wake, after its own locks are gone.
    pub(crate) fn spend(mut self, outcome: R) -> Option<Waker> {
        let slot = self.slot.take()?;
        spend(&slot, outcome)
    }
}

impl<R> Drop for Spender<R> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if let Some(waker) = spend(&slot, (self.lost)()) {
            waker.wake();
        }
    }
}

fn spend<R>(slot: &Mutex<State<R>>, outcome: R) -> Option<Waker> {
    match std::mem::replace(&mut *lock(slot), State::Done(outcome)) {
        State::Waiting(waker) => waker,
        State::Done(_) | State::Taken => None,
    }
}

fn lock<R>(slot: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> Future for Promise<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let mut state = lock(&self.slot);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => {
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Ready((self.lost)()),
        }
    }
}

/// Resolves when the records reached their level, or were refused.
///
/// Dropping it is safe and changes nothing about the records.
pub struct Ticket(Promise<Result<Appended, Refused>>);

pub(crate) type TicketSpender = Spender<Result<Appended, Refused>>;

/// A fresh ticket and its other half.
pub(crate) fn ticket() -> (TicketSpender, Ticket) {
    let (spender, promise) = promise(|| Err(Refused::Unknown));
    (spender, Ticket(promise))
}

impl Ticket {
    /// A ticket that is spent already.
    pub fn spent(outcome: Result<Appended, Refused>) -> Ticket {
        let (spender, ticket) = ticket();
        spender.spend(outcome);
        ticket
    }
}

impl Future for Ticket {
    type Output = Result<Appended, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}
