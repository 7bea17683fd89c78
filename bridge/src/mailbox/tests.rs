//! Room in a mailbox: what is shed, what falls behind, what is given back.

use super::*;
use crate::codec::packet::{Publish, PublishProperties};

fn delivery(payload_bytes: usize) -> Delivery {
    let publish = Publish {
        payload: vec![7; payload_bytes].into(),
        ..Default::default()
    };
    Delivery {
        message: Arc::new(Message {
            publish,
            client_id: Bytes::new(),
        }),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
    }
}

/// Room enough.
fn roomy() -> Arc<Gauge> {
    Arc::new(Gauge::new(32 << 20))
}

fn mailbox(all_bytes: &Arc<Gauge>) -> Mailbox {
    Mailbox::new(1, Bytes::from_static(b"dev7"), all_bytes.clone())
}

#[test]
fn a_session_falls_behind_at_the_message_that_found_no_room() {
    let all_bytes = roomy();
    let mailbox = mailbox(&all_bytes);
    for ordinal in 0..4 {
        mailbox.push_committed((7, ordinal), delivery(100_000));
    }
    mailbox.push_committed((8, 0), delivery(1));
    let mut contents = mailbox.lock();
    assert_eq!(contents.standing, Standing::Behind { from: (7, 2) });
    assert_eq!(contents.committed.len(), 2);
    while contents.pop_committed().is_some() {}
    assert_eq!(all_bytes.bytes(), 0);
}

#[test]
fn a_live_message_that_finds_no_room_is_shed() {
    let all_bytes = roomy();
    let mailbox = mailbox(&all_bytes);
    assert!(mailbox.push_live(delivery(1_000_000)));
    assert!(!mailbox.push_live(delivery(1)));
    assert!(mailbox.lock().pop_live().is_some());
    assert!(mailbox.push_live(delivery(1)));
    drop(mailbox);
    assert_eq!(all_bytes.bytes(), 0);
}

#[test]
fn all_mailboxes_together_have_a_limit() {
    let all_bytes = roomy();
    all_bytes.add(all_bytes.bytes_max() / 100 * MAILBOXES_PERCENT);
    let mailbox = mailbox(&all_bytes);
    assert!(mailbox.push_live(delivery(1)), "an empty mailbox takes one");
    assert!(!mailbox.push_live(delivery(1)));
}

/// One message for each of ten thousand clients may be ten gigabytes.
#[test]
fn with_all_of_the_share_in_use_an_empty_mailbox_takes_nothing() {
    let all_bytes = roomy();
    all_bytes.add(all_bytes.bytes_max());
    let mailbox = mailbox(&all_bytes);
    assert!(!mailbox.push_live(delivery(1)));
    mailbox.push_committed((7, 3), delivery(1));
    let contents = mailbox.lock();
    assert_eq!(contents.standing, Standing::Behind { from: (7, 3) });
    assert_eq!(all_bytes.bytes(), all_bytes.bytes_max());
}

#[test]
fn messages_before_the_place_where_it_went_live_are_not_for_it() {
    let mailbox = mailbox(&roomy());
    mailbox.lock().standing = Standing::Live { from: (9, 0) };
    mailbox.push_committed((8, 3), delivery(1));
    mailbox.push_committed((9, 0), delivery(1));
    assert_eq!(mailbox.lock().committed.len(), 1);
}

#[test]
fn the_first_word_stands() {
    let mailbox = mailbox(&roomy());
    mailbox.signal(Signal::TakenOver);
    mailbox.signal(Signal::Stop);
    assert_eq!(mailbox.lock().signal, Some(Signal::TakenOver));
}

#[test]
fn what_a_connection_received_counts_and_is_given_back() {
    let all_bytes = roomy();
    let mailbox = mailbox(&all_bytes);
    assert!(mailbox.note_held(70_000), "it grew");
    assert!(!mailbox.note_held(20_000));
    assert!(mailbox.push_live(delivery(1000)));
    assert_eq!(mailbox.held_bytes(), all_bytes.bytes());
    assert!(mailbox.held_bytes() > 21_000);
    drop(mailbox);
    assert_eq!(all_bytes.bytes(), 0);
}

#[test]
fn all_of_a_message_counts_not_only_its_topic_and_payload() {
    let all_bytes = roomy();
    let mailbox = mailbox(&all_bytes);
    let text = |length: usize| Bytes::from(vec![b'x'; length]);
    let properties = PublishProperties {
        response_topic: Some(text(10_000)),
        correlation_data: Some(text(20_000)),
        content_type: Some(text(30_000)),
        user: vec![(text(1), text(40_000)); 2],
        ..Default::default()
    };
    let publish = Publish {
        properties: Some(Box::new(properties)),
        ..Default::default()
    };
    let delivery = Delivery {
        message: Arc::new(Message {
            publish,
            client_id: text(1000),
        }),
        subscription_ids: vec![7; 100],
        ..delivery(0)
    };
    assert!(mailbox.push_live(delivery));
    assert!(
        (141_000..143_000).contains(&all_bytes.bytes()),
        "{}",
        all_bytes.bytes()
    );
    mailbox.lock().pop_live();
    assert_eq!(all_bytes.bytes(), 0);
}
