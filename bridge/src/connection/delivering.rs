//! Delivering: what waits for the client to the session, as fast as the client takes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use edge_site::LossCause;
use smol::io::{AsyncRead, AsyncWrite};

use super::catch_up::{CatchUp, Caught};
use super::{Connection, Polled};
use crate::codec::packet::Reason;
use crate::mailbox::{Delivery as Mail, Signal, Standing};
use crate::message::Message;
use crate::session::{Close, Delivery};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn poll_mail(&mut self, cx: &mut Context) -> Polled {
        let mailbox = self.mailbox.clone();
        let mut contents = mailbox.lock();
        contents.register(cx);
        match contents.signal.take() {
            Some(Signal::TakenOver) => {
                let what = "another connection came with the same client id";
                return Err(Close::gateway(Reason::TAKEN_OVER, what));
            }
            Some(Signal::HoldsMost) => {
                let what = "memory.bytes_max is nearly used and this client holds the most of it";
                return Err(Close::gateway(Reason::QUOTA_EXCEEDED, what));
            }
            Some(Signal::Stop) => {
                let what = "the gateway is stopping";
                return Err(Close::gateway(Reason::SERVER_SHUTTING_DOWN, what));
            }
            None => {}
        }
        let mut progress = false;
        while self.session.has_room()
            && let Some(mail) = contents.pop_live()
        {
            self.deliver(&mail);
            progress = true;
        }
        while self.session.has_window()
            && let Some(mail) = contents.pop_committed()
        {
            self.deliver(&mail);
            progress = true;
        }
        if let Standing::Behind { from } = contents.standing
            && self.catch_up.is_none()
            && contents.committed.is_empty()
        {
            drop(contents);
            self.catch_up = Some(CatchUp::new(&self.hub, from));
            progress = true;
        }
        Ok(progress)
    }

    fn deliver(&mut self, mail: &Mail) {
        let ids = &mail.subscription_ids;
        match self
            .session
            .deliver(&mail.message, mail.qos, mail.retain, ids)
        {
            Delivery::Sent => self.hub.counters.publishes_out.add(1),
            Delivery::TooLarge => {
                let Message { publish, client_id } = &*mail.message;
                self.hub.lost_one(LossCause::TooLarge, publish, client_id);
            }
        }
    }

    pub(super) fn poll_catch_up(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        while self.session.has_window()
            && let Some(catch_up) = &mut self.catch_up
        {
            match catch_up.poll_next(&self.hub, &self.mailbox, cx) {
                Poll::Pending => break,
                Poll::Ready(Caught::Delivery(mail)) => self.deliver(&mail),
                Poll::Ready(Caught::Live) => self.catch_up = None,
                Poll::Ready(Caught::Gap { first_index }) => {
                    self.hub.count_gap(self.session.subscriptions());
                    log::warn!(
                        "client {}: messages before frame {first_index} are gone by retention, \
                         it was too slow; raise retention or speed it up",
                        self.name()
                    );
                }
                Poll::Ready(Caught::Failed(what)) => {
                    if self.hub.may_say(self.session.client_id(), "behind") {
                        log::warn!("client {}: cannot catch up: {what}", self.name());
                    }
                }
            }
            progress = true;
        }
        progress
    }

    pub(super) fn poll_retained(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        while !self.retained.is_empty() && self.session.has_window() {
            match self.retained.poll_next(&self.hub, cx) {
                Poll::Pending => break,
                Poll::Ready(Some(mail)) => self.deliver(&mail),
                Poll::Ready(None) => {}
            }
            progress = true;
        }
        progress
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        let transmit = self.session.transmit();
        while !transmit.is_empty() {
            if self.write_failed {
                transmit.clear();
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, transmit) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => transmit.advance(count),
                // What the client sent before it went is still read.
                Poll::Ready(_) => self.write_failed = true,
            }
            progress = true;
        }
        progress
    }
}
