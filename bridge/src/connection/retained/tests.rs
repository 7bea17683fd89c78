//! Retained messages for one client: a page at a time, and the others have their turn.
#![allow(clippy::unwrap_used)]

use std::task::Waker;

use super::*;
use crate::codec::packet::{Publish, RetainHandling, SubscribeFilter};
use crate::tests::client::{Door, publish};

fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: SubscribeFilter {
            filter: Bytes::copy_from_slice(filter.as_bytes()),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        },
        subscription_id: None,
        is_new: true,
    }
}

/// All that a subscription to everything gets: the sizes of the messages, and the most that was
/// held from one to the next.
fn take_all(hub: &Hub) -> (Vec<usize>, usize) {
    let mut stream = RetainedStream::default();
    stream.add(&subscription("#"), &Bytes::new(), Moment::MAX);
    let (mut sizes, mut held_bytes_max) = (Vec::new(), 0);
    while let Some(mail) = smol::block_on(std::future::poll_fn(|cx| stream.poll_next(hub, cx))) {
        sizes.push(mail.message.publish.payload.len());
        held_bytes_max = held_bytes_max.max(stream.held_bytes());
    }
    assert_eq!(stream.held_bytes(), 0);
    (sizes, held_bytes_max)
}

/// Forty messages of 20 KB in two appends: they compress so well that one read brings all.
#[test]
fn a_client_that_reads_nothing_holds_little_of_what_a_read_brought() {
    let door = Door::open();
    let mut device = door.client("dev7");
    let payload = vec![b'x'; 20_000];
    for first in [1, 21] {
        let numbers = first..first + 20_u16;
        let all = numbers.map(|n| publish(4, 0x33, &format!("t/{n}"), n, &payload));
        device.send(&all.collect::<Vec<_>>().concat());
        (0..20).for_each(|_| assert_eq!(device.packet()[0], 0x40));
    }
    let (sizes, held_bytes_max) = take_all(&door.bridge.hub);
    assert_eq!(sizes, [20_000; 40]);
    assert!(
        (40_000..MESSAGES_BYTES_MAX).contains(&held_bytes_max),
        "{held_bytes_max}"
    );
}

/// One at QoS 0 is in memory until it is committed; a slow client does not keep it there.
#[test]
fn what_is_still_in_memory_is_taken_from_there_in_its_turn() {
    let door = Door::open();
    door.client("dev7").throw(0x31, "a", "logged");
    while door.records("_retained").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let hub = &door.bridge.hub;
    for (token, topic) in [(1001, "b"), (1002, "c")] {
        let topic = Bytes::from_static(topic.as_bytes());
        let publish = Publish {
            topic: topic.clone(),
            payload: vec![b'x'; 2 * MESSAGES_BYTES_MAX].into(),
            ..Publish::default()
        };
        let client_id = Bytes::new();
        let message = Arc::new(Message { publish, client_id });
        crate::hub::lock(&hub.retained).begin(&topic, token, Some(Some(message)));
    }
    let (sizes, held_bytes_max) = take_all(hub);
    assert_eq!(sizes, [6, 2 * MESSAGES_BYTES_MAX, 2 * MESSAGES_BYTES_MAX]);
    assert!(held_bytes_max < 1000, "{held_bytes_max}");
}

/// The index is walked on the thread that all connections share.
#[test]
fn who_subscribes_to_what_is_not_there_lets_the_others_have_their_turn() {
    let door = Door::open();
    let hub = &door.bridge.hub;
    let mut index = crate::hub::lock(&hub.retained);
    for n in 0..10_000 {
        index.apply(&Bytes::from(format!("t/{n}")), n, 10, true);
    }
    drop(index);
    let mut stream = RetainedStream::default();
    for n in 0..20 {
        stream.add(
            &subscription(&format!("+/none{n}")),
            &Bytes::new(),
            Moment::MAX,
        );
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut turns = 0;
    while stream.poll_next(hub, &mut cx).is_pending() {
        turns += 1;
    }
    let least = 20 * 10_000 / (PAGE.looked_at_max + 10_000);
    assert!((least..100).contains(&turns), "{turns} turns");
}
