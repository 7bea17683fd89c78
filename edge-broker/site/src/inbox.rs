//! The site thread's inbox: one lock, taken once per request and once per batch drained.
//!
//! Bounded by bytes and count of what was received and is not yet on disk: who finds no room
//! waits, in order. What the storage thread reports and what only adds up needs no room.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use edge_log::{Durable, Entry, Maintained, PersistError, TopicId, TopicPartition, Usage};

use crate::append::AppendRequest;
use crate::core::TopicOp;
use crate::error::Refused;
use crate::error::TopicError;
use crate::ledger::LossCause;
use crate::link::LinkUse;
use crate::memory::Gauge;
use crate::status::QueueStatus;
use crate::ticket::{Spender, Ticket, TicketSpender, ticket};
use crate::topics::Topic;
use std::sync::Arc;

/// Outcome of a topic operation.
pub(crate) type TopicOutcome = Result<Option<Arc<Topic>>, TopicError>;

/// Whom an outcome of the core belongs to.
pub(crate) enum Waiter {
    /// An append.
    Append(TicketSpender),
    /// A topic operation.
    Topic(Spender<TopicOutcome>),
}

/// What can happen to the site thread besides appends.
pub(crate) enum Event {
    Topic(Spender<TopicOutcome>, TopicOp),
    Persisted(u64, Result<Durable, PersistError>, u64),
    CheckpointSaved(u64, Result<(), PersistError>),
    Report(Box<Usage>),
    Maintained(Box<Maintained>),
    Fetched(Vec<Entry>),
    Stop,
}

/// Everything since the last drain.
#[derive(Default)]
pub(crate) struct Drained {
    pub appends: Vec<(TicketSpender, AppendRequest)>,
    pub events: Vec<Event>,
    pub progress: BTreeMap<TopicPartition, i64>,
    pub shed: BTreeMap<(LossCause, Option<TopicId>), u64>,
    pub link: Vec<LinkUse>,
    pub status_wanted: bool,
}

impl Drained {
    fn is_empty(&self) -> bool {
        let counted = self.progress.is_empty() && self.shed.is_empty() && self.link.is_empty();
        self.appends.is_empty() && self.events.is_empty() && counted && !self.status_wanted
    }
}

#[derive(Default)]
struct State {
    waiting: Drained,
    bytes: usize,
    count: usize,
    line: VecDeque<(u64, Waker)>,
    next_id: u64,
    sleeping: bool,
    closed: Option<Refused>,
}

/// The inbox.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    /// Tells the others what is held here.
    gauge: Arc<Gauge>,
    count_max: usize,
}

impl Inbox {
    pub fn new(gauge: Arc<Gauge>, count_max: usize) -> Self {
        Inbox {
            state: Mutex::default(),
            wake: Condvar::new(),
            gauge,
            count_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request in; resolves once there was room. Dropped before: nothing was handed in.
    pub fn enter(&self, request: AppendRequest) -> Enter<'_> {
        let bytes = request.bytes();
        Enter {
            inbox: self,
            request: Some(request),
            bytes,
            id: None,
        }
    }

    /// The same without waiting.
    pub fn try_enter(
        &self,
        request: AppendRequest,
    ) -> Result<Ticket, (AppendRequest, Option<Refused>)> {
        let bytes = request.bytes();
        let state = self.lock();
        if let Some(refused) = state.closed.clone() {
            return Err((request, Some(refused)));
        }
        if !state.line.is_empty() || !self.fits(&state, bytes) {
            return Err((request, None));
        }
        Ok(self.push(state, request, bytes))
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        // One request always fits into an empty queue, however large.
        state.count == 0
            || (state.bytes + bytes <= self.gauge.bytes_max() && state.count < self.count_max)
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        request: AppendRequest,
        bytes: usize,
    ) -> Ticket {
        let (spender, ticket) = ticket();
        state.bytes += bytes;
        state.count += 1;
        self.gauge.set(state.bytes);
        state.waiting.appends.push((spender, request));
        self.notify(state);
        ticket
    }

    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let sleeping = std::mem::take(&mut state.sleeping);
        drop(state);
        if sleeping {
            self.wake.notify_one();
        }
    }

    /// Something that needs no room.
    pub fn post(&self, event: Event) {
        let mut state = self.lock();
        if state.closed.is_some() && matches!(event, Event::Topic(..)) {
            return; // its spender says so when it drops
        }
        state.waiting.events.push(event);
        self.notify(state);
    }

    /// Adds to what only adds up.
    pub fn add(&self, add: impl FnOnce(&mut Drained)) {
        let mut state = self.lock();
        add(&mut state.waiting);
        self.notify(state);
    }

    /// Everything since the last call; waits until there is something or `deadline` passes.
    pub fn drain(&self, deadline: Option<Instant>) -> Drained {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            state.sleeping = true;
            state = match left {
                Some(left) => match self.wake.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            state.sleeping = false;
        }
        std::mem::take(&mut state.waiting)
    }

    /// Requests left the queue: the first in line may come in (and lets the next one in).
    pub fn release(&self, bytes: usize, count: usize) -> Option<Waker> {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.gauge.set(state.bytes);
        state.count = state.count.saturating_sub(count);
        state.line.front().map(|(_, waker)| waker.clone())
    }

    /// Nobody comes in any more; who waits in line is told so.
    pub fn close(&self, refused: Refused) -> Vec<Waker> {
        let mut state = self.lock();
        state.closed.get_or_insert(refused);
        state.line.drain(..).map(|(_, waker)| waker).collect()
    }

    pub fn status(&self) -> QueueStatus {
        let state = self.lock();
        QueueStatus {
            bytes: state.bytes,
            bytes_max: self.gauge.bytes_max(),
            count: state.count,
            count_max: self.count_max,
            waiters: state.line.len(),
        }
    }
}

/// A request on its way in.
pub(crate) struct Enter<'a> {
    inbox: &'a Inbox,
    request: Option<AppendRequest>,
    bytes: usize,
    id: Option<u64>,
}

impl Future for Enter<'_> {
    type Output = Result<Ticket, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.inbox.lock();
        if let Some(refused) = state.closed.clone() {
            return Poll::Ready(Err(refused));
        }
        let first = match this.id {
            None => state.line.is_empty(),
            Some(id) => state.line.front().is_none_or(|&(first, _)| first == id),
        };
        if !first || !this.inbox.fits(&state, this.bytes) {
            this.line_up(&mut state, cx.waker());
            return Poll::Pending;
        }
        let Some(request) = this.request.take() else {
            return Poll::Ready(Err(Refused::Unknown));
        };
        let next = this.id.take().and_then(|_| {
            state.line.pop_front();
            state.line.front().map(|(_, waker)| waker.clone())
        });
        let ticket = this.inbox.push(state, request, this.bytes);
        if let Some(next) = next {
            next.wake();
        }
        Poll::Ready(Ok(ticket))
    }
}

impl Enter<'_> {
    fn line_up(&mut self, state: &mut State, waker: &Waker) {
        let known = self
            .id
            .and_then(|id| state.line.iter_mut().find(|(other, _)| *other == id));
        match known {
            Some((_, old)) => old.clone_from(waker),
            None => {
                state.next_id += 1;
                self.id = Some(state.next_id);
                state.line.push_back((state.next_id, waker.clone()));
            }
        }
    }
}

impl Drop for Enter<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.inbox.lock();
        state.line.retain(|&(other, _)| other != id);
        // It may have been woken for room that it will not use.
        let next = state.line.front().map(|(_, waker)| waker.clone());
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
    }
}
