//! The end of an outage: how soon it is noticed, and what looking for it costs.

use super::{
    central::Chance,
    world::{World, settings},
};
use crate::forwarder::types::{Ms, Settings};

const HOUR_MS: Ms = 3_600_000;

/// The operator's defaults, as far as they decide here.
fn world(seed: u64) -> World {
    let mut chance = Chance::new(seed);
    let defaults = Settings {
        retry_ms_min: 250,
        retry_ms_max: 30_000,
        drain_jitter_ms: 5_000,
        bytes_per_s_max: 0,
        ..settings(&mut chance)
    };
    let mut world = World::with(seed, chance, defaults);
    for topic in world.central.topics.values_mut() {
        topic.may_create = true;
        topic.may_write = true;
        topic.poison.clear();
        topic.batch_bytes_max = 1 << 20;
    }
    world
}

impl World {
    fn pass(&mut self, ms: Ms) {
        let until = self.now + ms;
        while self.now < until {
            self.carry_out();
            self.step(until);
        }
    }

    fn all_there(&self) -> bool {
        let mut topics = self.topics.iter();
        topics.all(|topic| self.is_complete(&topic.name))
    }

    /// Cuts the link for so long while records come in; until everything is there after it.
    fn outlives(&mut self, outage_ms: Ms) -> Ms {
        for _ in 0..5 {
            self.grow();
        }
        self.pass(60_000);
        assert!(self.all_there(), "{}", self.picture());
        self.link_is_cut = true;
        self.break_links(|_| true);
        self.pass(1_000);
        for _ in 0..5 {
            self.grow();
        }
        self.dials = 0;
        self.pass(outage_ms);
        assert!(!self.all_there());
        self.link_is_cut = false;
        let back = self.now;
        while !self.all_there() && self.now < back + 60_000 {
            self.pass(10);
        }
        self.now - back
    }
}

#[test]
fn the_return_of_central_is_noticed_within_seconds_also_after_an_hour() {
    let mut worst = 0;
    for seed in 0..100 {
        let mut world = world(seed);
        let ms = world.outlives(HOUR_MS);
        assert!(ms <= 12_000, "seed {seed}: {ms} ms, {}", world.picture());
        let dials = world.dials;
        assert!(
            dials <= HOUR_MS / 2_500 + 20,
            "seed {seed}: {dials} tries in an hour"
        );
        worst = worst.max(ms);
    }
    println!("proved sim: an hour without central: everything there at most {worst} ms after it");
}
