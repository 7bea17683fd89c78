//! What goes wrong in a simulated world, and its end.

use std::collections::BTreeSet;

use super::world::{Event, World};
use crate::forwarder::{
    Forwarder,
    types::{LinkId, LocalTopic},
};

impl World {
    pub(super) fn fault(&mut self) {
        match self.chance.below(12) {
            0 => {
                let n = self.central.brokers.len() as u64;
                let node = 1 + self.chance.below(n) as i32;
                if !self.central.down.remove(&node) {
                    self.central.down.insert(node);
                }
                self.central.elect(&mut self.chance);
                let dead = self.central.down.clone();
                self.break_links(|link| dead.contains(&link.node));
            }
            1 => self.central.elect(&mut self.chance),
            2 => self.expire_producers(),
            3 => {
                self.link_is_cut = !self.link_is_cut;
                if self.link_is_cut {
                    self.break_links(|_| true);
                }
            }
            4 => self.crash(),
            5 => {
                self.central.not_enough_replicas = !self.central.not_enough_replicas;
            }
            7 => self.central.deposes = !self.central.deposes,
            6 => self.leave_or_return(),
            _ => self.break_links(|_| true),
        }
    }

    /// `forward` of a topic is switched off, or on again.
    fn leave_or_return(&mut self) {
        if self.away.take().is_none() {
            let n = self.chance.below(self.topics.len() as u64) as usize;
            self.away = Some(self.topics[n].id);
        }
        self.tell_topics();
    }

    pub(super) fn tell_topics(&mut self) {
        let here = |topic: &&LocalTopic| Some(topic.id) != self.away;
        let topics = self.topics.iter().filter(here).cloned().collect();
        self.core.handle_topics(topics, self.now);
        self.tell_marks();
    }

    /// Producers are forgotten where nothing was sent for a while, and is not just now.
    fn expire_producers(&mut self) {
        let coming = |event: &Event| match event {
            Event::Arrives { parts, .. } => parts.iter().map(|part| part.tp).collect(),
            _ => Vec::new(),
        };
        let busy: BTreeSet<_> = self.queue.values().flat_map(coming).collect();
        let quiet = self.locals.keys().filter(|tp| !busy.contains(tp));
        for tp in quiet.copied().collect::<Vec<_>>() {
            let topic = self
                .topics
                .iter()
                .find(|topic| topic.id == tp.topic)
                .unwrap();
            self.central
                .expire_producers(&topic.name, tp.partition, self.now);
        }
    }

    /// Breaks connections: what is on the way may still arrive, answers do not.
    pub(super) fn break_links(&mut self, which: impl Fn(&LinkId) -> bool) {
        let broken: Vec<_> = self
            .links
            .iter()
            .filter(|(l, _)| which(l))
            .map(|(l, life)| (*l, *life))
            .collect();
        for (link, life) in broken {
            let wait = self.latency();
            self.later(wait, Event::Broken { link, life });
        }
    }

    /// The gateway dies: what was not durable is forgotten, what is on the way may arrive.
    fn crash(&mut self) {
        self.incarnation += 1;
        self.links.clear();
        self.in_flight.clear();
        let seed = self.chance.below(u64::MAX);
        self.core = Forwarder::new(self.settings.clone(), seed, self.now);
        self.tell_topics();
    }

    pub(super) fn heal(&mut self) {
        self.central.down.clear();
        self.link_is_cut = false;
        self.central.not_enough_replicas = false;
        self.central.deposes = false;
        self.central.elect(&mut self.chance);
        self.away = None;
        self.tell_topics();
    }
}
