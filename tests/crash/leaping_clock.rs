//! A wall clock that leaps by years for a moment: nothing that was acknowledged goes by it, neither
//! what was stored before nor what comes later, and nothing that a client stamped stays for ever.

use std::time::Duration;

use crate::support::clock::{WallClock, wall_ms};
use crate::support::gateway::{Gateway, Setup};
use crate::support::load;
use crate::support::mqtt::{Client, Hello};
use crate::support::{eventually, proved, scratch};

const PAYLOAD_BYTES: usize = 8_000;
const YEAR_MS: i64 = 365 * 86_400_000;

/// A few slices' worth of messages, each acknowledged.
const ROUND: u32 = 400;

fn publish(gateway: &Gateway, round: u32) {
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("press1"));
    for number in round * ROUND..(round + 1) * ROUND {
        let value = load::value(1, number, PAYLOAD_BYTES);
        device.publish_acked("plant/press1", value.as_bytes());
    }
}

/// Time for some reports of the store, which retention follows.
fn a_while() {
    std::thread::sleep(Duration::from_millis(2_500));
}

#[test]
fn a_leap_of_the_clock_costs_nothing_and_keeps_nothing() {
    let scratch = scratch();
    let clock = WallClock::showing(&scratch.path().join("clock"), wall_ms());
    let setup = Setup::on(&scratch.path().join("data"))
        .central("127.0.0.1:1")
        .config("[storage]\nslice_bytes = \"1MiB\"\ncompression = \"none\"\nwear_gb_per_day = 0")
        .clock(&clock);
    let gateway = setup.start();
    publish(&gateway, 0);
    clock.leap(10 * YEAR_MS);
    publish(&gateway, 1);
    a_while();
    clock.set_right();
    publish(&gateway, 2);
    a_while();
    assert_eq!(gateway.log("mqtt").len(), 3 * ROUND as usize);
    gateway.kill9();
    let gateway = setup.start();
    publish(&gateway, 3);
    a_while();
    assert_eq!(gateway.log("mqtt").len(), 4 * ROUND as usize);

    gateway.ask(&["topic", "set", "mqtt", "retention.ms=1"]);
    let left = eventually("slices of the leap expire", Duration::from_secs(30), || {
        let left = gateway.log("mqtt").len();
        (left < ROUND as usize).then_some(left)
    });
    proved(
        "crash",
        &format!(
            "ten years forth and back: 0 of {} acked records gone, {} expired when told to",
            4 * ROUND,
            4 * ROUND as usize - left
        ),
    );
}
