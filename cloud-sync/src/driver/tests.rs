//! A part of the forwarder that ends by an error of its own.

use super::*;

#[test]
fn a_panic_is_told_in_the_status_until_a_restart() {
    let shared = Shared {
        core: Mutex::new(Forwarder::new(settings(&CentralConfig::default(), 1), 1, 0)),
        meter: Arc::default(),
        started: Instant::now(),
        configured: true,
        link_bytes_max: 0,
        ended: OnceLock::new(),
    };
    assert_eq!(shared.status().failure, None);
    let reader = shared.guard("reader", async { panic!("why") });
    let over = smol::future::poll_once(reader);
    assert_eq!(
        smol::block_on(over),
        None,
        "nobody goes on as if it were done"
    );
    let status = shared.status();
    assert!(!status.reachable);
    let failure = status.failure.map(|failure| failure.message);
    let said = "forwarding: stopped: the reader ended by an error of its own";
    assert_eq!(failure.as_deref(), Some(said));
}
