//! A thread that ends in the middle of a job.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::StoreConfig;
use crate::jobs::Kind;
use crate::sim::MemDisk;

#[test]
fn a_panic_of_the_thread_is_not_the_silent_end_of_all_upkeep() {
    let (mut store, _) = Store::open(MemDisk::new(1), StoreConfig::default()).unwrap();
    let (jobs, _todo) = sync_channel::<Job>(1);
    let (tell, done) = sync_channel::<Outcome<MemDisk>>(1);
    let thread = std::thread::spawn(move || {
        let _tell = tell;
        panic!("in a job");
    });
    store.upkeep.running = Some(Kind::Prepare);
    store.upkeep.worker = Some(Worker {
        jobs: Some(jobs),
        done,
        thread: Some(thread),
    });
    let panic = catch_unwind(AssertUnwindSafe(|| store.collect(true))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in a job"));
}
