//! Retained messages: set, replaced, cleared, delivered on subscribe, kept over a restart.

use super::client::{Client, Door, frame, publish, text};

fn set(client: &mut Client, topic: &str, payload: &str) {
    client.throw(0x33, topic, payload);
    assert_eq!(client.packet()[0], 0x40);
}

#[test]
fn a_new_subscription_gets_the_last_retained_message() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "a/1", "old");
    set(&mut device, "a/1", "new");
    set(&mut device, "a/2", "two");
    set(&mut device, "b", "else");
    let mut client = door.client("late");
    client.subscribe("a/#", 1);
    let got = [client.message(), client.message()];
    assert_eq!(got[0], (3, "a/1".to_owned(), "new".to_owned()));
    assert_eq!(got[1], (3, "a/2".to_owned(), "two".to_owned()));
    client.expect_silence(100);
    // Live, the flag is not set; subscribed again, it comes again.
    set(&mut device, "a/1", "newer");
    assert_eq!(client.message(), (2, "a/1".to_owned(), "newer".to_owned()));
    client.subscribe("a/1", 0);
    assert_eq!(client.message(), (1, "a/1".to_owned(), "newer".to_owned()));
}

#[test]
fn an_empty_payload_clears_and_only_with_the_flag() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "a", "x");
    device.publish("a", "");
    assert_eq!(door.bridge.stats().retained, 1);
    set(&mut device, "a", "");
    let mut client = door.client("late");
    client.subscribe("a", 1);
    client.expect_silence(100);
    assert_eq!(door.records("mqtt").len(), 3);
}

#[test]
fn qos_0_is_retained_at_once() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "warm/up", "x");
    device.throw(0x31, "a", "zero");
    device.expect_alive();
    let mut client = door.client("late");
    client.subscribe("a", 1);
    assert_eq!(client.message(), (1, "a".to_owned(), "zero".to_owned()));
}

#[test]
fn retained_messages_are_there_after_a_restart() {
    let door = Door::open();
    let mut device = door.client("dev7");
    for n in 0..50 {
        set(&mut device, &format!("many/{n}"), "x");
    }
    set(&mut device, "many/7", "");
    set(&mut device, "many/8", "changed");
    let door = Door::reopen(door.close(), |_| {});
    assert_eq!(door.bridge.stats().retained, 49);
    let mut client = door.client("late");
    client.subscribe("many/8", 1);
    assert_eq!(client.message().2, "changed");
    client.subscribe("many/+", 1);
    for _ in 0..49 {
        assert_eq!(client.message().0, 3);
    }
    client.expect_silence(100);
}

/// Its place was kept for good, so everything retained was refused until the next start.
#[test]
fn retained_messages_go_on_after_their_topic_was_deleted() {
    let door = Door::open();
    let mut device = door.client("dev7");
    for payload in ["1", "2", "3"] {
        set(&mut device, "a", payload);
    }
    set(&mut device, "gone", "x");
    smol::block_on(door.site.delete_topic("_retained")).unwrap();
    set(&mut device, "a", "4");
    set(&mut device, "b", "x");
    let mut client = door.client("late");
    client.subscribe("#", 1);
    let got = [client.message(), client.message()];
    assert_eq!(got[0], (3, "a".to_owned(), "4".to_owned()));
    assert_eq!(got[1], (3, "b".to_owned(), "x".to_owned()));
    client.expect_silence(100);
    assert_eq!(door.bridge.stats().retained, 2);
    let door = Door::reopen(door.close(), |_| {});
    assert_eq!(door.bridge.stats().retained, 2);
}

#[test]
fn mqtt_5_says_when_it_wants_retained_messages() {
    let door = Door::open();
    let mut watcher = door.client("watcher");
    watcher.subscribe("a", 1);
    set(&mut door.client("dev7"), "a", "x");
    // It has gone by live.
    watcher.message();
    let mut client = door.client_v5("late");
    let subscribe =
        |pkid: u8, options: u8| frame(0x82, &[&[0, pkid, 0][..], &text(b"a"), &[options]].concat());
    client.send(&subscribe(1, 0b10_0001));
    client.packet();
    client.expect_silence(100);
    client.send(&subscribe(2, 0b01_0001));
    client.packet();
    client.expect_silence(100);
    client.send(&subscribe(3, 0b00_0001));
    client.packet();
    assert_eq!(client.message().2, "x");
}

#[test]
fn the_log_of_retained_messages_is_compacted() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "keep", "kept");
    let large = "x".repeat(100_000);
    for _ in 0..30 {
        set(&mut device, "churn", &large);
    }
    let partition = door.site.topics().get("_retained").unwrap().partition(0);
    let begun = std::time::Instant::now();
    while door.site.marks(partition).unwrap().start == 0 {
        assert!(begun.elapsed().as_secs() < 10, "never compacted");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut client = door.client("late");
    client.subscribe("keep", 1);
    assert_eq!(client.message().2, "kept");
    let door = Door::reopen(door.close(), |_| {});
    let mut client = door.client("late");
    client.subscribe("#", 1);
    let mut topics = [client.message().1, client.message().1];
    topics.sort_unstable();
    assert_eq!(topics, ["churn", "keep"]);
}

/// The index hears of a publish by its publisher or by the log, whichever is first.
#[test]
fn a_new_subscription_gets_no_message_both_retained_and_live() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "r", "0");
    let publisher = std::thread::spawn(move || {
        for n in 1..400 {
            // At QoS 0 as well, which is live before it is in the log.
            match n % 3 {
                0 => device.throw(0x31, "r", &n.to_string()),
                _ => set(&mut device, "r", &n.to_string()),
            }
        }
    });
    for round in 0..60 {
        let mut client = door.client(&format!("late{round}"));
        client.subscribe("r", 0);
        let got: Vec<u32> = (0..3)
            .map_while(|_| client.message_within(50))
            .map(|message| message.2.parse().unwrap())
            .collect();
        // QoS 0 may overtake QoS 1: order is per topic and quality (MQTT 5 §4.6).
        for is_qos_0 in [true, false] {
            let numbers = got.iter().filter(|n| (**n % 3 == 0) == is_qos_0);
            assert!(
                numbers.is_sorted_by(|a, b| a < b),
                "{got:?} in round {round}"
            );
        }
        if publisher.is_finished() {
            break;
        }
    }
    publisher.join().unwrap();
}

/// What a read brings is compressed, what an append takes is not.
#[test]
fn large_retained_messages_that_compress_well_are_compacted_too() {
    let door = Door::open();
    let mut device = door.client("dev7");
    let large = "x".repeat(100_000);
    for n in 0..15 {
        set(&mut device, &format!("keep/{n}"), &large);
    }
    for _ in 0..25 {
        set(&mut device, "churn", &large);
    }
    let partition = door.site.topics().get("_retained").unwrap().partition(0);
    let begun = std::time::Instant::now();
    while door.site.marks(partition).unwrap().start < 15 {
        assert!(begun.elapsed().as_secs() < 10, "never compacted");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut client = door.client("late");
    client.subscribe("keep/+", 0);
    let mut topics: Vec<String> = (0..15).map(|_| client.message().1).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), 15);
}

#[test]
fn beyond_its_room_the_index_keeps_no_more_topics_and_loses_none() {
    let door = Door::with(|config| config.mqtt.retained_index_bytes_max = 1000);
    let mut device = door.client("dev7");
    for number in 0..20 {
        set(&mut device, &format!("a/{number:02}"), "old");
    }
    let kept = door.bridge.stats().retained;
    assert!((3..20).contains(&kept), "{kept}");
    // All of them were delivered and stored; those that are kept can still be replaced.
    assert_eq!(door.records("mqtt").len(), 20);
    set(&mut device, "a/00", "new");
    let mut client = door.client("late");
    client.subscribe("a/00", 1);
    assert_eq!(client.message(), (3, "a/00".to_owned(), "new".to_owned()));
    // One that is cleared makes room for another, once live delivery has passed it.
    set(&mut device, "a/01", "");
    for _ in 0..40 {
        set(&mut device, "a/99", "x");
        if door.bridge.stats().retained == kept {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("there is no room for another");
}

/// Two records of one publish in one append: were they more than a frame holds, it was refused, and
/// the client was closed and came back with the same.
#[test]
fn a_message_that_fits_into_a_frame_once_is_retained() {
    let door = Door::open();
    let mut watcher = door.client("watcher");
    watcher.subscribe("a", 1);
    let mut device = door.client("dev7");
    let large = |letter: &str| letter.repeat(900_000);
    // Neighbours in one read; at QoS 0 as well.
    let all = [
        publish(4, 0x33, "b", 1, b"small"),
        publish(4, 0x33, "a", 2, large("1").as_bytes()),
        publish(4, 0x33, "b", 3, b"new"),
    ];
    device.send(&all.concat());
    for pkid in 1..=3 {
        device.expect(&[0x40, 2, 0, pkid]);
    }
    assert!(watcher.message().2 == large("1"));
    device.throw(0x31, "a", &large("2"));
    assert!(watcher.message().2 == large("2"));
    let published = door
        .bridge
        .publish("c", large("3").into(), Vec::new(), true);
    assert!(smol::block_on(published).is_ok());
    super::room::soon("all are stored", || door.records("_retained").len() == 5);
    assert_eq!(door.records("mqtt").len(), 5);
    let door = Door::reopen(door.close(), |_| {});
    let mut late = door.client("late");
    late.subscribe("#", 1);
    let mut got: Vec<_> = (0..3).map(|_| late.message()).collect();
    got.sort();
    let got: Vec<_> = got.iter().map(|m| (&m.1[..], &m.2[..3])).collect();
    assert_eq!(got, [("a", "222"), ("b", "new"), ("c", "333")]);
}

/// It failed the whole append: the client was closed, and came back with the same.
#[test]
fn a_message_too_large_to_be_kept_is_delivered_and_clears_what_was_kept() {
    let door = Door::open();
    let mut watcher = door.client("watcher");
    watcher.subscribe("#", 1);
    let mut device = door.client("dev7");
    set(&mut device, "a", "old");
    watcher.message();
    let settings = [("max.message.bytes".to_owned(), "1024".to_owned())].into();
    smol::block_on(door.site.alter_topic("_retained", None, &settings)).unwrap();
    let mut goes_by = |first: u8, topic: &str, payload: &str| {
        device.throw(first, topic, payload);
        if first & 6 != 0 {
            assert_eq!(device.packet()[0], 0x40, "it is acknowledged");
        }
        assert_eq!(watcher.message().2.len(), payload.len());
    };
    for first in [0x31, 0x33] {
        goes_by(0x33, "a", "small");
        assert_eq!(door.bridge.stats().retained, 1);
        goes_by(first, "a", &"x".repeat(2000));
        super::room::soon("it is cleared", || door.bridge.stats().retained == 0);
    }
    // Not even what clears it would fit.
    goes_by(0x33, &"a".repeat(1100), "no room at all");
    assert_eq!(door.bridge.stats().retained, 0);
    assert_eq!(door.records("mqtt").len(), 6);
    assert_eq!(door.bridge.stats().publishes_refused, 0);
}

/// One step a second gave back 256 KiB a second; the rest pushed other topics out of a full store.
#[test]
fn the_log_of_retained_messages_is_compacted_as_fast_as_it_grows() {
    let door = Door::open();
    let mut device = door.client("dev7");
    let mut state = 1_u32;
    for pkid in 1..=150 {
        // Nothing that compresses.
        let payload = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let payload: Vec<u8> = payload.take(40_000).collect();
        device.send(&publish(4, 0x33, "churn", pkid, &payload));
        assert_eq!(device.packet()[0], 0x40);
    }
    let partition = door.site.topics().get("_retained").unwrap().partition(0);
    let begun = std::time::Instant::now();
    while door.site.marks(partition).unwrap().start < 120 {
        assert!(begun.elapsed().as_secs() < 8, "compacted too slowly");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// They came back to the client that had set them, as the only message that No Local let through.
#[test]
fn no_local_holds_for_retained_messages_too() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    client.send(&publish(5, 0x33, "a/own", 1, b"own"));
    assert_eq!(client.packet()[0], 0x40);
    set(&mut door.client("other"), "a/other", "theirs");
    let body = [&[0, 9, 0][..], &text(b"a/+"), &[0b101]].concat();
    client.send(&frame(0x82, &body));
    client.packet();
    assert_eq!(client.message().1, "a/other");
    client.expect_silence(100);
}

fn subscriber_with_window(door: &Door, receive_maximum: u8) -> Client {
    let mut client = door.socket();
    client.version = 5;
    let properties = [33, 0, receive_maximum];
    client.send(&super::client::connect_v5("late", &properties));
    client.packet();
    client.subscribe("live", 1);
    client
}

/// Each place in the window that came free went to a live one as long as there were any.
#[test]
fn retained_messages_come_though_live_ones_wait() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "kept/1", "x");
    let mut client = subscriber_with_window(&door, 2);
    for n in 0..200 {
        device.publish("live", &n.to_string());
    }
    client.send(&super::client::subscribe(5, 9, "kept/#", 1));
    let mut live = 0;
    loop {
        let packet = client.packet();
        match packet[0] >> 4 {
            9 => {}
            _ if client.take_message(&packet).1 == "kept/1" => break,
            _ => live += 1,
        }
    }
    assert!(live < 50, "{live} live ones came first");
}

/// QoS 0 is not part of the window (MQTT 5 §4.9), but a full one kept it from being sent.
#[test]
fn a_retained_message_at_qos_0_does_not_wait_for_acknowledgements() {
    let door = Door::open();
    let mut device = door.client("dev7");
    set(&mut device, "kept", "x");
    let mut client = subscriber_with_window(&door, 1);
    device.publish("live", "not acknowledged");
    assert_eq!(client.packet()[0], 0x32);
    client.subscribe("kept", 0);
    assert_eq!(client.message().1, "kept");
}
