//! While the site has no room: sockets wait, and what is held for their clients is bounded.

use std::time::{Duration, Instant};

use edge_site::SiteConfig;

use super::client::{Door, publish};

/// A door whose site takes one append at a time.
fn narrow_door(relaxed_ms: u64) -> Door {
    let site_config = SiteConfig {
        queue_count_max: 1,
        commit_interval_ms_relaxed: relaxed_ms,
        ..SiteConfig::default()
    };
    Door::on_site(tempfile::tempdir().unwrap(), site_config, Door::config())
}

/// The ping lies behind a publish that has to wait, and was received with it.
#[test]
fn a_ping_that_came_with_a_publish_that_waits_is_answered() {
    let door = narrow_door(3000);
    let mut client = door.client("dev7");
    client.publish("a", "the topic is there");
    // One relaxed append has all the room until it is committed.
    door.client("other").throw(0x30, "a", "x");
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let mut bytes = publish(4, 0x32, "a", 7, &[b'x'; 600_000]);
    bytes.extend([0xc0, 0]);
    client.send(&bytes);
    client.expect(&[0xd0, 0]);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(1), "answered after {waited:?}");
    client.expect(&[0x40, 2, 0, 7]);
}
