//! The task of one connection: reads, asks the session core, appends, writes.
//!
//! ```text
//!   socket ─read─▶ frames ─▶ session ─▶ intake ─▶ Site::append ─▶ tickets
//!   socket ◀─write─ transmit ◀─ acks in order ◀──────────────────────┘
//!                      ▲
//!                      └─ mailbox (live, committed), catch-up, retained
//! ```
//!
//! Everything is polled in one task, without an allocation or a lock per message. One file for
//! each arrow of the drawing.

mod appending;
mod catch_up;
mod delivering;
mod ending;
mod holding;
mod intake;
mod leaving;
mod reading;
mod retained;
mod words;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use smol::io::{AsyncRead, AsyncWrite};

use self::appending::{UnderWay, Waiting};
use self::catch_up::CatchUp;
use self::intake::{Batch, Intake};
pub(crate) use self::intake::{stored_bytes, unpinned};
pub(crate) use self::reading::read_some;
use self::retained::RetainedStream;
pub(crate) use self::words::name;
use crate::codec::packet::Reason;
use crate::hub::{Hub, Registered};
use crate::mailbox::Mailbox;
use crate::session::{Cause, Close, Session};

/// One connection after its CONNECT.
pub(crate) struct Connection<S> {
    hub: Arc<Hub>,
    stream: S,
    session: Session,
    mailbox: Arc<Mailbox>,
    /// Its place; taken when the connection is over.
    registered: Option<Registered>,
    received: BytesMut,
    /// Bytes at the front of `received` that were looked at for pings while we waited for room.
    looked_ahead: usize,
    eof: bool,
    write_failed: bool,
    /// What `received` held when publishes were last taken off it.
    read_together_bytes: usize,
    intake: Intake,
    batches: VecDeque<Batch>,
    waiting: Waiting,
    under_way: VecDeque<UnderWay>,
    under_way_bytes: usize,
    catch_up: Option<CatchUp>,
    retained: RetainedStream,
    /// Live messages delivered since the last retained one.
    live_in_a_row: u32,
    timer: smol::Timer,
    timer_ms: Option<u64>,
    said_reductions: crate::session::Reductions,
}

/// Rounds of one poll before other tasks get their turn.
const ROUNDS_MAX: usize = 8;
/// What may stay allocated for a connection that is quiet.
const IDLE_BYTES_MAX: usize = 1024;

type Polled = Result<bool, Close>;

fn lost() -> Close {
    Close {
        reason: Reason::UNSPECIFIED,
        what: "the connection was lost",
        cause: Cause::Gateway,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        hub: Arc<Hub>,
        stream: S,
        session: Session,
        registered: Registered,
        received: BytesMut,
    ) -> Box<Self> {
        Box::new(Connection {
            hub,
            stream,
            session,
            mailbox: registered.mailbox.clone(),
            registered: Some(registered),
            received,
            looked_ahead: 0,
            eof: false,
            write_failed: false,
            read_together_bytes: 0,
            intake: Intake::default(),
            batches: VecDeque::new(),
            waiting: Waiting::default(),
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            catch_up: None,
            retained: RetainedStream::default(),
            live_in_a_row: 0,
            timer: smol::Timer::never(),
            timer_ms: None,
            said_reductions: Default::default(),
        })
    }

    /// Serves the client until it goes or is sent away.
    ///
    /// Boxed, and its end apart: ten thousand quiet connections wait in the first line.
    pub(crate) async fn run(mut self: Box<Self>) {
        let close = std::future::poll_fn(|cx| self.poll(cx)).await;
        Box::pin(self.end(close)).await;
    }

    /// One turn: everything that can be done now is done.
    fn poll(&mut self, cx: &mut Context) -> Poll<Close> {
        for _ in 0..ROUNDS_MAX {
            match self.round(cx) {
                Err(close) => return Poll::Ready(close),
                Ok(true) => {}
                Ok(false) => {
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn round(&mut self, cx: &mut Context) -> Polled {
        let now_ms = self.hub.now_ms();
        let mut progress = self.poll_waiting(cx, now_ms)?;
        progress |= self.poll_tickets(cx, now_ms)?;
        progress |= self.poll_mail(cx)?;
        progress |= self.poll_catch_up(cx);
        progress |= self.poll_retained(cx);
        let parsed = self.parse(now_ms)?;
        progress |= parsed;
        progress |= self.poll_write(cx);
        let was_read = self.poll_read(cx, now_ms);
        progress |= was_read;
        self.note_held();
        // What came before the end is taken first: a good-bye may be in it.
        if self.eof && !parsed && !self.is_full() {
            return Err(lost());
        }
        // Who sent something was not silent, however long this task stood still before it was read.
        if !was_read {
            self.check_time(now_ms)?;
        }
        self.poll_timer(cx, now_ms);
        Ok(progress)
    }

    /// Gives memory back that a quiet connection does not need.
    fn rest(&mut self) {
        if self.received.is_empty() && self.received.capacity() > 0 {
            self.received = BytesMut::new();
        }
        if self.batches.is_empty() {
            self.batches = VecDeque::new();
        }
        if self.under_way.is_empty() {
            self.under_way = VecDeque::new();
        }
        self.intake.rest();
        self.session.rest();
        let transmit = self.session.transmit();
        if transmit.is_empty() && transmit.capacity() > IDLE_BYTES_MAX {
            *transmit = BytesMut::new();
        }
    }

    fn check_time(&mut self, now_ms: u64) -> Result<(), Close> {
        // Not while the gateway makes the client wait.
        let is_read = !self.is_full();
        if let Some(deadline) = self.session.deadline_ms()
            && now_ms >= deadline
            && let Some(close) = self.session.handle_tick(now_ms, is_read)
        {
            if close.reason == Reason::KEEP_ALIVE_TIMEOUT {
                self.hub.counters.keep_alive_expired.add(1);
            }
            return Err(close);
        }
        Ok(())
    }

    fn poll_timer(&mut self, cx: &mut Context, now_ms: u64) {
        let Some(deadline) = self.session.deadline_ms() else {
            return;
        };
        // The timer is not moved for each packet: it goes off early and is set again.
        if self
            .timer_ms
            .is_none_or(|set| set > deadline || set <= now_ms)
        {
            self.timer_ms = Some(deadline);
            self.timer.set_after(Duration::from_millis(
                deadline.saturating_sub(now_ms).max(1),
            ));
        }
        if Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.timer_ms = None;
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
