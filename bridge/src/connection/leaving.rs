//! Leaving: what a connection has elsewhere goes with it, however it ends.
//!
//! Its subscriptions, its place among the clients, its part of the memory account, its retained
//! publishes under way, its will. A mistake of ours that ends its task midway (a panic) takes
//! the same way as an orderly end, by `Drop`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use edge_site::{LossCause, Pressure, Refused, Ticket, TopicPartition};
use smol::io::{AsyncRead, AsyncWrite};

use super::appending::{AwaitedRoom, UnderWay, Waiting};
use super::retained::RetainedStream;
use super::{Connection, name};
use crate::codec::packet::{Publish, QoS};
use crate::hub::{Hub, Registered};
use crate::retaining::RetainedItem;

/// What is left to do when a connection is over.
pub(super) struct Left {
    hub: Arc<Hub>,
    registered: Registered,
    client_id: Bytes,
    will: Option<Publish>,
    /// Retained publishes whose append has no outcome yet.
    under_way: Vec<(Ticket, Vec<RetainedItem>)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Nothing more is taken from the client and nothing more is for it. What was held for that
    /// goes at once: the last appends and words may take seconds.
    pub(super) fn let_go(&mut self) {
        self.unsubscribe();
        self.received = BytesMut::new();
        if self.hub.pressure() >= Pressure::CloseSlow {
            self.give_up_appends();
        }
        self.mailbox.note_held(self.held_bytes());
    }
}

impl<S> Connection<S> {
    fn unsubscribe(&mut self) {
        self.mailbox.close();
        self.catch_up = None;
        self.retained = RetainedStream::default();
        let filters = self.session.subscriptions();
        self.hub.unsubscribe(&self.mailbox, filters);
        self.session.let_go();
    }

    /// Takes everything back that others have of this connection; once.
    pub(super) fn leave(&mut self) -> Option<Left> {
        let registered = self.registered.take()?;
        self.unsubscribe();
        self.give_up_appends();
        let under_way = self.under_way.drain(..);
        let retained = under_way.filter(|under_way| !under_way.sent.retained.is_empty());
        let under_way = retained.map(|UnderWay { ticket, sent }| (ticket, sent.retained));
        let under_way = under_way.collect();
        // A client that said good-bye has none any more. Also where the gateway stops: its clients
        // may not be there when it comes back.
        let will = self.session.take_will();
        let will_bytes = will.as_ref().map_or(0, Publish::bytes);
        self.mailbox.note_held(will_bytes);
        Some(Left {
            hub: self.hub.clone(),
            registered,
            client_id: self.session.client_id().clone(),
            will,
            under_way,
        })
    }

    /// What found no room in time never will: QoS 0 is counted, nobody sends that again.
    pub(super) fn give_up_appends(&mut self) {
        let Waiting { room, topic } = std::mem::take(&mut self.waiting);
        if let Some(waiting) = room {
            let AwaitedRoom { append, sent } = *waiting;
            drop(append);
            self.give_up(&sent.sheddable, &sent.retained);
        }
        let gathered = self.intake.take();
        for batch in std::mem::take(&mut self.batches)
            .into_iter()
            .chain(gathered)
        {
            self.give_up(&batch.sheddable, &batch.retained);
        }
        if let Some(waiting) = topic
            && waiting.publish.qos == QoS::AtMostOnce
        {
            let client_id = self.session.client_id();
            self.hub
                .lost_one(LossCause::QosZeroOverload, &waiting.publish, client_id);
        }
    }

    /// Counts QoS 0 messages that nobody sends again.
    pub(super) fn lost(&self, cause: LossCause, sheddable: &[(TopicPartition, u64)]) {
        for (partition, count) in sheddable {
            self.hub.lost(cause, Some(*partition), *count);
        }
    }

    fn give_up(&self, sheddable: &[(TopicPartition, u64)], retained: &[RetainedItem]) {
        self.lost(LossCause::QosZeroOverload, sheddable);
        self.hub.settle(retained, &Err(Refused::Stopping));
    }
}

impl Left {
    /// Sends the will and frees the id; then the index of retained messages learns how the last
    /// appends ended.
    pub(super) async fn settle(self) {
        if let Some(will) = self.will {
            crate::publish::publish(&self.hub, will, &self.client_id).await;
        }
        drop(self.registered);
        for (ticket, retained) in self.under_way {
            self.hub.settle(&retained, &ticket.await);
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(left) = self.leave() {
            log::error!(
                "the connection of client {} ended by an error of the gateway, the line about a \
                 panic says where; what was not acknowledged has to be sent again",
                name(&left.client_id)
            );
            smol::spawn(left.settle()).detach();
        }
    }
}
