//! Kills, power cuts and failing disks: nothing acknowledged may be lost.
//!
//! Needs a C compiler for the preload shim. `tests/run crash` runs it; plain `cargo test` does not,
//! because it takes minutes. Longer runs: `EDGE_IMAGES_PER_PAIR=200 tests/run crash`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

#[path = "crash/failed_sync.rs"]
mod failed_sync;
#[path = "crash/kill9.rs"]
mod kill9;
#[path = "crash/leaping_clock.rs"]
mod leaping_clock;
#[path = "crash/power_cut.rs"]
mod power_cut;
#[path = "crash/replayer.rs"]
mod replayer;
