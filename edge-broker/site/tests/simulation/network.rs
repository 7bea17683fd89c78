//! A network that loses, repeats, delays and reorders, and that falls into parts.

use std::collections::HashSet;

use edge_site::core::Message;

/// Messages under way between nodes.
pub struct Network {
    rng: fastrand::Rng,
    under_way: Vec<(u64, usize, Message)>,
    blocked: HashSet<(usize, usize)>,
    loss_percent: u8,
    repeat_percent: u8,
    delay_ms_max: u64,
}

impl Network {
    pub fn new(seed: u64) -> Network {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6e65_7477_6f72_6b00);
        Network {
            loss_percent: rng.u8(..20),
            repeat_percent: rng.u8(..10),
            delay_ms_max: rng.u64(2..150),
            under_way: Vec::new(),
            blocked: HashSet::new(),
            rng,
        }
    }

    /// Sends a message, perhaps never, perhaps twice.
    pub fn send(&mut self, now_ms: u64, from: usize, to: usize, message: Message) {
        if self.blocked.contains(&(from, to)) || self.rng.u8(..100) < self.loss_percent {
            return;
        }
        if self.rng.u8(..100) < self.repeat_percent {
            let at = now_ms + self.rng.u64(..self.delay_ms_max * 4);
            self.under_way.push((at, to, message.clone()));
        }
        let at = now_ms + self.rng.u64(..self.delay_ms_max);
        self.under_way.push((at, to, message));
    }

    /// What arrives now, in any order.
    pub fn arrivals(&mut self, now_ms: u64) -> Vec<(usize, Message)> {
        let mut arrived = Vec::new();
        let mut at = 0;
        while at < self.under_way.len() {
            if self.under_way[at].0 <= now_ms {
                let (_, to, message) = self.under_way.swap_remove(at);
                arrived.push((to, message));
            } else {
                at += 1;
            }
        }
        arrived
    }

    /// Cuts some links, each direction for itself.
    pub fn split(&mut self, nodes: usize) {
        self.blocked.clear();
        let one_way = self.rng.u8(..4) == 0;
        let alone = self.rng.usize(..nodes);
        for other in (0..nodes).filter(|&other| other != alone) {
            self.blocked.insert((alone, other));
            if !one_way {
                self.blocked.insert((other, alone));
            }
        }
    }

    /// All links work.
    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    /// And nothing is lost any more.
    pub fn calm(&mut self) {
        self.heal();
        self.loss_percent = 0;
        self.delay_ms_max = 10;
    }
}
