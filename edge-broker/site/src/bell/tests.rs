//! Rings that come before, during and after listening.

use super::*;

#[test]
fn a_ring_before_the_call_is_heard_once() {
    let bell = Bell::default();
    let mut listener = bell.listen();
    bell.ring_now();
    bell.ring_now();
    smol::block_on(listener.heard());
    assert!(smol::block_on(smol::future::poll_once(listener.heard())).is_none());
    assert!(
        lock(&bell.0.waiting).wakers.is_empty(),
        "a dropped wait leaves no waker"
    );
}

#[test]
fn a_ring_wakes_who_waits() {
    let bell = Bell::default();
    let mut listener = bell.listen();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        bell.ring_now();
    });
    smol::block_on(listener.heard());
    assert!(thread.join().is_ok());
}
