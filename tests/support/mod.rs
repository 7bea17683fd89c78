//! The small language of the system tests: a gateway in its own process, clients, load, faults.
//!
//! [`gateway`] starts, kills and asks the real binary; [`mqtt`] is a client of our own; [`load`]
//! publishes and knows what was acknowledged; [`shim`], [`recording`] and [`image`] make power
//! cuts, [`clock`] a wrong time; [`tools`] finds the programs that some groups need. Used by the
//! test targets of this folder; every target uses a part, so unused parts are allowed here and
//! only here.

#![allow(dead_code)]

pub mod clock;
pub mod gateway;
pub mod image;
pub mod kafka;
pub mod load;
pub mod mqtt;
pub mod recording;
pub mod shim;
pub mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One line for the table of `tests/run`: what a test has proved, with its figures.
pub fn proved(group: &str, what: &str) {
    println!("proved {group}: {what}");
}

/// Where compiled helpers and scratch folders go: inside cargo's build folder.
pub fn scratch_root() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&dir).expect("the build folder");
    dir
}

/// A folder that goes away with its value, on the disk that holds the build folder.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("t")
        .tempdir_in(scratch_root())
        .expect("a scratch folder")
}

/// The same in memory where the machine has such a place: for folders nobody cuts the power of.
pub fn scratch_in_memory() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() {
        shm.to_path_buf()
    } else {
        scratch_root()
    };
    tempfile::Builder::new()
        .prefix("edge-broker-t")
        .tempdir_in(root)
        .expect("a scratch folder")
}

/// Waits until `done` gives a value; fails with `what` after `time`.
pub fn eventually<T>(what: &str, time: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + time;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < until, "not within {time:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A number from the environment, for longer runs than the normal one.
pub fn setting(name: &str, normal: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(normal, |v| v.parse().expect("a number in the environment"))
}
