//! Catching up in pieces: everything once and in order, and little of it in memory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::packet::{QoS, RetainHandling, SubscribeFilter};
use crate::session::Subscription;
use crate::tests::client::{Door, publish};

fn everything() -> Subscription {
    Subscription {
        filter: SubscribeFilter {
            filter: "#".into(),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Never,
        },
        subscription_id: None,
        is_new: true,
    }
}

/// Publishes 600 messages of 1,400 bytes; those of one write share a frame.
fn flood(door: &Door) {
    let mut device = door.client("dev7");
    device.publish("a", "first");
    let all = (1..=600_u16).map(|n| publish(4, 0x32, "a", n, format!("{n:01400}").as_bytes()));
    device.send(&all.collect::<Vec<_>>().concat());
    for _ in 1..=600 {
        assert_eq!(device.packet()[0], 0x40);
    }
    // What live delivery has not come to yet, a session leaves to it.
    let hub = &door.bridge.hub;
    while hub.dispatching() < smol::block_on(hub.site.status()).committed_index {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_session_that_catches_up_holds_a_piece_of_a_frame_not_all_of_it() {
    for is_short_of_memory in [false, true] {
        let door = Door::open();
        let hub = door.bridge.hub.clone();
        let registered = smol::block_on(hub.register(&"slow".into())).unwrap();
        let mailbox = registered.mailbox.clone();
        hub.subscribe(&mailbox, &everything());
        mailbox.lock().standing = Standing::Behind { from: (1, 0) };
        flood(&door);
        let doors = hub.site.memory().doors().clone();
        let (held, piece) = match is_short_of_memory {
            true => (doors.bytes_max() / 100 * 90, PIECE_BYTES_MIN),
            false => (0, PIECE_BYTES_MAX),
        };
        doors.add(held);
        let mut catch_up = CatchUp::new(&hub, (1, 0));
        let (mut got, mut held_bytes_max) = (Vec::new(), 0);
        loop {
            let next = std::future::poll_fn(|cx| catch_up.poll_next(&hub, &mailbox, cx));
            match smol::block_on(next) {
                Caught::Delivery(mail) => got.push(mail.message.publish.payload.clone()),
                Caught::Live => break,
                Caught::Gap { .. } | Caught::Failed(_) => panic!("the log is there"),
            }
            held_bytes_max = held_bytes_max.max(catch_up.held_bytes());
        }
        doors.sub(held);
        let numbers = got
            .iter()
            .skip(1)
            .map(|text| std::str::from_utf8(text).unwrap().parse());
        let numbers: Vec<u16> = numbers.map(Result::unwrap).collect();
        assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
        assert!(held_bytes_max > piece / 2, "{held_bytes_max}");
        assert!(held_bytes_max < piece + 2000, "{held_bytes_max}");
    }
}
