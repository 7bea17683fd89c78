//! What a client publishes: taken once, acknowledged in order, or refused.

use std::collections::HashMap;

use bytes::Bytes;

use super::acks::{Outcome, Place, Spent};
use super::{Close, Session, Step, TOPIC_ALIAS_MAX};
use crate::codec::packet::{Publish, QoS, Reason, Reply, Version, Violation};
use crate::codec::topic::level_count;

/// A PUBACK without user properties, both lengths at their longest.
const PUBACK_BYTES_MAX: usize = 12;

const TOO_MANY_LEVELS: &str = "the topic has more levels than mqtt.topic_levels_max";

impl Session {
    pub(super) fn handle_publish(&mut self, mut publish: Publish) -> Step {
        if self.held_since_ms.is_some() && publish.qos > QoS::AtMostOnce {
            // It comes again after the held one, in order, on the client's next connection.
            return Step::Idle;
        }
        if self.version == Version::V5 {
            if publish.qos == QoS::ExactlyOnce {
                let what = "QoS 2 was announced as not supported";
                return close_violation(Reason::QOS_NOT_SUPPORTED, what);
            }
            if publish.qos > QoS::AtMostOnce
                && self.acks.len() >= usize::from(self.limits.in_flight_max)
            {
                let what = "more in flight than mqtt.in_flight_max, which CONNACK announced";
                return close_violation(Reason::RECEIVE_MAXIMUM_EXCEEDED, what);
            }
            if let Err(step) = self.resolve_alias(&mut publish) {
                return step;
            }
        }
        if publish.topic.len() > self.limits.topic_levels_max
            && level_count(&publish.topic) > self.limits.topic_levels_max
        {
            return self.refuse_for_ever(&publish, Reason::TOPIC_NAME_INVALID, TOO_MANY_LEVELS);
        }
        self.reductions.publish_qos |= publish.qos == QoS::ExactlyOnce;
        if publish.qos == QoS::ExactlyOnce
            && let Some(acknowledged) = self.marks.get(&publish.pkid)
        {
            if *acknowledged {
                self.reply(&Reply::PubRec(publish.pkid, Reason::SUCCESS));
            }
            return Step::Idle;
        }
        Step::Store(publish)
    }

    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), Step> {
        let Some(properties) = publish.properties.as_mut() else {
            return Ok(());
        };
        let Some(alias) = properties.topic_alias.take() else {
            return Ok(());
        };
        let invalid = |what| close_violation(Reason::TOPIC_ALIAS_INVALID, what);
        if alias > TOPIC_ALIAS_MAX {
            return Err(invalid("topic alias is larger than announced"));
        }
        let place = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            match self.aliases.get(place) {
                Some(topic) if !topic.is_empty() => publish.topic = topic.clone(),
                _ => {
                    return Err(close_violation(
                        Reason::PROTOCOL_ERROR,
                        "topic alias is not set",
                    ));
                }
            }
        } else {
            if self.aliases.len() <= place {
                self.aliases.resize(place + 1, Bytes::new());
            }
            // A copy: the slice would keep all that was read with it.
            let topic = Bytes::copy_from_slice(&publish.topic);
            self.alias_bytes += topic.len();
            let before = std::mem::replace(&mut self.aliases[place], topic);
            self.alias_bytes -= before.len();
        }
        if **properties == Default::default() {
            publish.properties = None;
        }
        Ok(())
    }

    /// Refuses one publish for ever: MQTT 5 has a code for that, 3.1.1 only the connection.
    pub(crate) fn refuse_for_ever(
        &mut self,
        publish: &Publish,
        reason: Reason,
        what: &'static str,
    ) -> Step {
        match (self.version, publish.qos) {
            (Version::V5, QoS::AtMostOnce) => Step::Idle,
            (Version::V5, _) => {
                self.acks.push_refused(publish.pkid, publish.qos, reason);
                self.flush_acks(0);
                Step::Idle
            }
            (Version::V4, _) => Step::Close(Close::refused(reason, what)),
        }
    }

    /// The number of a new append; `handle_spent` has to come for each, also without publishes.
    pub(crate) fn open_request(&mut self) -> u64 {
        self.acks.open()
    }

    /// A publish went into append number `request` as its item number `item`.
    pub(crate) fn handle_stored(
        &mut self,
        publish_id: u16,
        qos: QoS,
        request: u64,
        item: u32,
        place: Option<Place>,
    ) {
        if qos == QoS::ExactlyOnce {
            self.marks.insert(publish_id, false);
        }
        self.acks.push(publish_id, qos, request, item, place);
    }

    /// The publish that was stored last went into append number `other`, too: it is acknowledged
    /// when both are where they should be.
    pub(crate) fn handle_stored_apart(&mut self, other: u64) {
        self.acks.push_other(other);
    }

    /// Append number `request` came to its end: what is at the head of the line is acknowledged.
    pub(crate) fn handle_spent(
        &mut self,
        now_ms: u64,
        request: u64,
        outcome: Outcome,
    ) -> Option<Close> {
        self.acks.spend(request, outcome);
        self.flush_acks(now_ms)
    }

    fn flush_acks(&mut self, now_ms: u64) -> Option<Close> {
        let mut close = None;
        while let Some(spent) = self.acks.next_spent() {
            match spent {
                _ if self.is_silent => {}
                Spent::Ack { pkid, qos, user } => {
                    self.acknowledge(pkid, qos, Reason::SUCCESS, user)
                }
                Spent::Refused { pkid, qos, reason } => {
                    self.acknowledge(pkid, qos, reason, Vec::new());
                }
                Spent::Later { pkid, qos } if self.version == Version::V5 => {
                    self.acknowledge(pkid, qos, Reason::QUOTA_EXCEEDED, Vec::new());
                }
                Spent::Later { pkid, .. } => {
                    self.marks.remove(&pkid);
                    self.is_silent = true;
                    self.held_since_ms.get_or_insert(now_ms);
                }
                Spent::Never {
                    pkid,
                    qos,
                    reason,
                    what,
                } => {
                    if self.version == Version::V5 && reason != Reason::PACKET_TOO_LARGE {
                        self.acknowledge(pkid, qos, reason, Vec::new());
                    } else {
                        close.get_or_insert(Close::refused(reason, what));
                    }
                }
                Spent::Lost { reason, what } => {
                    close.get_or_insert(Close::gateway(reason, what));
                }
            }
            self.is_silent |= close.is_some();
        }
        close
    }

    fn acknowledge(&mut self, pkid: u16, qos: QoS, reason: Reason, user: Vec<(String, String)>) {
        if qos == QoS::ExactlyOnce {
            if let Some(acknowledged) = self.marks.get_mut(&pkid) {
                *acknowledged = true;
            }
            return self.reply(&Reply::PubRec(pkid, reason));
        }
        // Texts of ours may not make it larger than the client takes (MQTT 5 §3.4.2.2.3).
        let user_bytes: usize = user.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
        let fits = user_bytes + PUBACK_BYTES_MAX <= self.packet_bytes_max;
        let user = if fits { user } else { Vec::new() };
        self.reply(&Reply::PubAck(pkid, reason, user));
    }

    pub(super) fn handle_pubrel(&mut self, pkid: u16) -> Step {
        let known = self.marks.remove(&pkid).is_some();
        let reason = if known { Reason::SUCCESS } else { Reason(0x92) };
        self.reply(&Reply::PubComp(pkid, reason));
        Step::Idle
    }

    /// Gives memory back that a quiet session does not need.
    pub(crate) fn rest(&mut self) {
        self.acks.rest();
        if self.marks.is_empty() {
            self.marks = HashMap::new();
        }
    }

    /// Appends that are not spent yet.
    pub(crate) fn requests_under_way(&self) -> usize {
        self.acks.requests()
    }

    /// Publishes that wait in line, whether they will be answered or not.
    pub(crate) fn in_line(&self) -> usize {
        self.acks.len()
    }

    /// Publishes whose acknowledgement may still come.
    pub(crate) fn unacked(&self) -> usize {
        if self.is_silent { 0 } else { self.in_line() }
    }
}

fn close_violation(reason: Reason, what: &'static str) -> Step {
    Step::Close(Violation { reason, what }.into())
}
