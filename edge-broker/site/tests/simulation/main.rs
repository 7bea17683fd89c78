//! The simulation: cores of a site on disks that forget and over a network that lies, by a seed.
//!
//! ```text
//! clients ──▶ SiteCore ──▶ Store<MemDisk>        kill, power cut, failed sync, full disk, stalls
//!                ▲                                leaps of the wall clock
//!                │ ▲
//!                ▼ │
//!              network                           loss, duplicates, reordering, partitions
//!                  everything seen ──▶ Checker   what was promised, and nothing else
//! ```
//! `one` drives a gateway alone, `three` a site of three voters. A failing seed is printed; put it
//! into `OLD_SEEDS` of its test, so that it is run for ever. More seeds, or one of them:
//!
//! ```text
//! EDGE_SIM_SEEDS=100000 cargo test --release -p edge-site --test simulation
//! EDGE_SIM_SEED=4711 cargo test -p edge-site --test simulation one
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod checker;
mod clocks;
mod network;
mod node;
mod one;
mod three;
mod work;

use std::panic::catch_unwind;

/// Runs a scenario over old seeds and new ones; says which seed failed.
fn run_seeds(name: &str, old: &[u64], count: u64, scenario: fn(u64) -> Seen) {
    let read = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds: Vec<u64> = match read("EDGE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let count = read("EDGE_SIM_SEEDS").unwrap_or(count);
            old.iter().copied().chain(1..=count).collect()
        }
    };
    let begun = std::time::Instant::now();
    let halves = seeds.chunks(seeds.len().div_ceil(2));
    let results: Vec<Result<Seen, u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = halves
            .map(|half| scope.spawn(move || run_all(half, scenario)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut seen = Seen::default();
    for result in results {
        match result {
            Ok(part) => seen.add(&part),
            Err(seed) => panic!("{name}: seed {seed} failed; run it with EDGE_SIM_SEED={seed}"),
        }
    }
    println!(
        "proved sim: {name}: {} seeds in {:.0?}: {seen:?}",
        seeds.len(),
        begun.elapsed()
    );
    if seeds.len() >= 500 {
        seen.check(name);
    }
}

fn run_all(seeds: &[u64], scenario: fn(u64) -> Seen) -> Result<Seen, u64> {
    let mut seen = Seen::default();
    for &seed in seeds {
        seen.add(&catch_unwind(|| scenario(seed)).map_err(|_| {
            eprintln!("failing seed: {seed}");
            seed
        })?);
    }
    Ok(seen)
}

/// What happened, so that a fault that never strikes is noticed.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Seen {
    pub acked: u64,
    pub refused: u64,
    pub unknown: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub crashes_inside: u64,
    pub syncs_failed: u64,
    pub poisoned: u64,
    pub full: u64,
    pub checkpoints: u64,
    pub replayed_from_checkpoint: u64,
    pub trims: u64,
    /// Acked records that compaction took, at the times of looking.
    pub compacted: u64,
    pub expired: u64,
    pub leaps: u64,
    pub elections: u64,
    pub voided: u64,
    pub fetched: u64,
    pub partitions: u64,
    pub settled: u64,
    pub three: bool,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.acked += other.acked;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.crashes_inside += other.crashes_inside;
        self.syncs_failed += other.syncs_failed;
        self.poisoned += other.poisoned;
        self.full += other.full;
        self.checkpoints += other.checkpoints;
        self.replayed_from_checkpoint += other.replayed_from_checkpoint;
        self.trims += other.trims;
        self.compacted += other.compacted;
        self.expired += other.expired;
        self.leaps += other.leaps;
        self.elections += other.elections;
        self.voided += other.voided;
        self.fetched += other.fetched;
        self.partitions += other.partitions;
        self.settled += other.settled;
        self.three |= other.three;
    }

    /// Every fault and every rare branch was really hit.
    fn check(&self, name: &str) {
        let mut must = vec![
            ("acked", self.acked),
            ("unknown", self.unknown),
            ("kills", self.kills),
            ("power_cuts", self.power_cuts),
            ("crashes_inside", self.crashes_inside),
            ("syncs_failed", self.syncs_failed),
            ("checkpoints", self.checkpoints),
            ("replayed_from_checkpoint", self.replayed_from_checkpoint),
            ("trims", self.trims),
            ("expired", self.expired),
            ("leaps", self.leaps),
            ("settled", self.settled),
        ];
        if self.three {
            must.push(("elections", self.elections));
            must.push(("voided", self.voided));
            must.push(("fetched", self.fetched));
            must.push(("partitions", self.partitions));
        } else {
            must.push(("poisoned", self.poisoned));
            must.push(("full", self.full));
            // Three share too little work to have slices below the window.
            must.push(("compacted", self.compacted));
        }
        for (what, count) in must {
            assert!(count > 0, "{name}: never happened: {what}");
        }
    }
}

/// Whether to tell what happens, step by step: `EDGE_SIM_TRACE=1`.
pub fn tracing() -> bool {
    static TRACING: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("EDGE_SIM_TRACE").is_some());
    *TRACING
}
