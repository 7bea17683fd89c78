//! The end of a connection: last appends, acknowledgements, good-bye; then it leaves.

use std::task::Poll;
use std::time::Duration;

use smol::io::{AsyncRead, AsyncWrite};

use super::Connection;
use super::reading::read_some;
use crate::codec::packet::Reason;
use crate::hub::lock;
use crate::session::{Cause, Close};

/// How long the last bytes may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a closed connection's last appends may wait for room.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// How long, and how many bytes, a client may take to notice that it was sent away.
const LINGER_TIMEOUT: Duration = Duration::from_millis(300);

const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long a stopping gateway waits for what is being stored.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// The last words; then what is left of it is settled.
    pub(super) async fn end(mut self: Box<Self>, close: Close) {
        let left_by_itself = matches!(close.cause, Cause::Client | Cause::ClientWithWill);
        // Where nothing came after the CONNECT.
        self.say_reductions();
        self.say_close(&close);
        self.let_go();
        self.finish_appends().await;
        // What is in line for room and not asked any more holds up all who are behind it.
        self.give_up_appends();
        let is_taken_over = close.reason == Reason::TAKEN_OVER;
        let will = is_taken_over.then(|| self.begin_will()).flatten();
        if !(left_by_itself || self.eof) {
            // Before the good-bye: nothing may follow a DISCONNECT (MQTT 5 §3.14.4).
            self.finish_acks().await;
        }
        if close.cause == Cause::Refused {
            self.hold_for_repeating(&close).await;
        }
        self.session.handle_close(&close);
        self.flush().await;
        if close.cause != Cause::Client && !self.eof {
            self.linger().await;
        }
        if let Some(left) = self.leave() {
            // The socket closes now, what is left may have to wait.
            drop(self);
            if let Some(will) = will {
                will.await;
            }
            left.settle().await;
        }
    }

    /// The will goes in line for room right behind the last appends: the successor does not wait
    /// for the acknowledgements and the last words, and its messages come behind it.
    fn begin_will(&mut self) -> Option<smol::Task<()>> {
        let will = self.session.take_will()?;
        let (hub, client_id) = (self.hub.clone(), self.session.client_id().clone());
        Some(smol::spawn(async move {
            crate::publish::publish(&hub, will, &client_id).await;
        }))
    }

    async fn hold_for_repeating(&mut self, close: &Close) {
        let now_ms = self.hub.now_ms();
        let hold_ms = lock(&self.hub.penalties).hold_ms(now_ms, self.session.client_id());
        if hold_ms > 0 {
            log::debug!(
                "client {} held for {hold_ms} ms: {}",
                self.name(),
                close.what
            );
            let hold = async {
                smol::Timer::after(Duration::from_millis(hold_ms)).await;
            };
            smol::future::or(hold, self.mailbox.signalled()).await;
        }
    }

    /// What was taken off the socket is handed to the site, though its client is gone.
    async fn finish_appends(&mut self) {
        let work = std::future::poll_fn(|cx| {
            let now_ms = self.hub.now_ms();
            // Again while something moves: only what was polled to no avail wakes us.
            while self.poll_waiting(cx, now_ms).unwrap_or(true) {}
            if self.is_blocked() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        let timeout = async {
            smol::Timer::after(APPEND_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// What is being stored is acknowledged, if that takes a moment only.
    async fn finish_acks(&mut self) {
        let timeout_after = match self.hub.is_stopping() {
            true => STOP_TIMEOUT,
            false => FLUSH_TIMEOUT,
        };
        let work = std::future::poll_fn(|cx| {
            let _ = self.poll_tickets(cx, self.hub.now_ms());
            self.poll_write(cx);
            // What was given up will never be acknowledged.
            if self.session.unacked() == 0 || self.under_way.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let timeout = async {
            smol::Timer::after(timeout_after).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// Lets the last bytes leave.
    async fn flush(&mut self) {
        let work = std::future::poll_fn(|cx| {
            self.poll_write(cx);
            match self.session.transmit().is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let timeout = async {
            smol::Timer::after(FLUSH_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// Closing a socket with unread bytes resets it, and the client would never see why.
    async fn linger(&mut self) {
        use smol::io::AsyncWriteExt;
        let work = async {
            let _ = self.stream.close().await;
            let mut unread = 0;
            while unread < LINGER_BYTES_MAX {
                self.received.clear();
                match read_some(&mut self.stream, &mut self.received).await {
                    Ok(count) if count > 0 => unread += count,
                    _ => break,
                }
            }
        };
        let timeout = async {
            smol::Timer::after(LINGER_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }
}
