//! Delivering: what waits for the client to the session, as fast as the client takes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use edge_site::LossCause;
use smol::io::{AsyncRead, AsyncWrite};

use super::catch_up::{CatchUp, Caught};
use super::{Connection, Polled};
use crate::codec::packet::{QoS, Reason};
use crate::mailbox::{Delivery as Mail, Signal, Standing};
use crate::message::Message;
use crate::session::{Close, Delivery};

/// While retained messages wait, so many live ones may come one after the other…
const LIVE_IN_A_ROW_MAX: u32 = 4;
/// …and so many retained ones.
const RETAINED_IN_A_ROW_MAX: usize = 16;

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
            && self.is_live_turn()
            && let Some(mail) = contents.pop_live()
        {
            self.deliver_live_one(&mail);
            progress = true;
        }
        while self.session.has_window()
            && self.is_live_turn()
            && let Some(mail) = contents.pop_committed()
        {
            self.deliver_live_one(&mail);
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

    /// Retained messages that could go have their share of the window and of the room.
    fn is_live_turn(&self) -> bool {
        self.live_in_a_row < LIVE_IN_A_ROW_MAX || !self.may_send_retained()
    }

    fn deliver_live_one(&mut self, mail: &Mail) {
        self.live_in_a_row = self.live_in_a_row.saturating_add(1);
        self.deliver(mail);
    }

    /// At QoS 0 they are no part of the window (MQTT 5 §4.9).
    fn may_send_retained(&self) -> bool {
        let has_place = match self.retained.next_qos() {
            Some(QoS::AtMostOnce) => self.session.has_room(),
            Some(_) => self.session.has_window(),
            None => false,
        };
        has_place && !self.retained.is_empty()
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
            && self.is_live_turn()
            && let Some(catch_up) = &mut self.catch_up
        {
            match catch_up.poll_next(&self.hub, &self.mailbox, cx) {
                Poll::Pending => break,
                Poll::Ready(Caught::Delivery(mail)) => self.deliver_live_one(&mail),
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
        let held_back = !self.is_live_turn();
        for _ in 0..RETAINED_IN_A_ROW_MAX {
            if !self.may_send_retained() {
                break;
            }
            self.live_in_a_row = 0;
            match self.retained.poll_next(&self.hub, cx) {
                // It is read first: the live ones go on meanwhile.
                Poll::Pending => return held_back,
                Poll::Ready(Some(mail)) => self.deliver(&mail),
                Poll::Ready(None) => {}
            }
        }
        held_back || self.may_send_retained()
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
