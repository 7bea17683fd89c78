//! Things are opened beside each other, each by one thread.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

#[test]
fn the_least_recently_used_one_goes() {
    let pool = Pool::new(2);
    let opened = AtomicUsize::new(0);
    let get = |number| {
        let open = || {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok(number * 10)
        };
        *pool.get(number, open).unwrap()
    };
    assert_eq!([get(1), get(2), get(1), get(3)], [10, 20, 10, 30]);
    assert_eq!(opened.load(Ordering::Relaxed), 3);
    assert_eq!([get(1), get(3)], [10, 30]);
    assert_eq!(opened.load(Ordering::Relaxed), 3, "2 went");
    pool.remove(1);
    assert_eq!([get(2), get(1)], [20, 10]);
    assert_eq!(opened.load(Ordering::Relaxed), 5);
}

/// One lock was held around every opening, so whoever opened an old slice on a slow card kept all
/// other readers of old slices waiting.
#[test]
fn opening_one_waits_for_no_other_and_is_done_once() {
    let pool = Pool::new(2);
    let opened = AtomicUsize::new(0);
    let (go_on, wait) = channel::<()>();
    std::thread::scope(|scope| {
        let (begun, is_begun) = channel();
        let (pool, opened) = (&pool, &opened);
        let slow = scope.spawn(move || {
            let open = || {
                begun.send(()).unwrap();
                wait.recv_timeout(Duration::from_secs(30)).unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                Ok(7)
            };
            *pool.get(1, open).unwrap()
        });
        is_begun.recv().unwrap();
        assert_eq!(*pool.get(2, || Ok(8)).unwrap(), 8);
        let same = scope.spawn(|| *pool.get(1, || panic!("opened twice")).unwrap());
        go_on.send(()).unwrap();
        assert_eq!((slow.join().unwrap(), same.join().unwrap()), (7, 7));
    });
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[test]
fn one_that_could_not_be_opened_is_tried_again() {
    let pool = Pool::new(2);
    let failed = || Err(DiskError::Io("read failed".into()));
    assert!(pool.get(1, failed).is_err());
    assert_eq!(*pool.get(1, || Ok(7)).unwrap(), 7);
}
