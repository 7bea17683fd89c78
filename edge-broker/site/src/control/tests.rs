//! The stored form, fixed for ever.
#![allow(clippy::unwrap_used)]

use super::*;

fn all() -> Vec<Control> {
    let id = TopicId::from_u128(5);
    let tp = TopicPartition {
        topic: id,
        partition: 1,
    };
    let config = TopicConfig::default();
    vec![
        Control::TopicCreated {
            id,
            name: "a".into(),
            partitions: 2,
            config: config.clone(),
        },
        Control::TopicAltered {
            id,
            partitions: 3,
            config,
        },
        Control::TopicDeleted {
            id,
            loss: Some(LossCause::TopicDeleted),
        },
        Control::StartsMoved {
            starts: vec![(tp, 9)],
            loss: None,
        },
        Control::Forwarded {
            progress: vec![(tp, 300)],
        },
        Control::Shed {
            cause: LossCause::Expired,
            topic: Some(id),
            count: 4,
        },
        Control::Incarnation {
            store_id: 1,
            lost: vec![(tp, 1, 2)],
        },
        Control::Clock {
            boot_ms: 1000,
            offset_ms: -1,
            trust: ClockTrust::Unsynced,
        },
        Control::Link {
            used: LinkUse {
                month: 1,
                at_ms: 2,
                sent_bytes: 3,
                received_bytes: 300,
            },
        },
    ]
}

#[test]
fn every_entry_reads_back_as_written() {
    for control in all() {
        assert_eq!(Control::decode(&control.encode()), Ok(control));
    }
}

#[test]
fn the_stored_form_does_not_change() {
    // Version, then the place of the variant: what the first release wrote is read for ever.
    let tags: Vec<_> = all()
        .iter()
        .map(|c| (c.encode()[0], c.encode()[1]))
        .collect();
    assert_eq!(
        tags,
        [
            (1, 0),
            (1, 1),
            (1, 2),
            (1, 3),
            (1, 4),
            (1, 5),
            (1, 6),
            (1, 7),
            (1, 8)
        ]
    );
    assert_eq!(all()[7].encode()[..], [1, 7, 232, 7, 1, 1]);
    assert_eq!(all()[8].encode()[..], [1, 8, 1, 4, 3, 172, 2]);
    let created = all()[0].encode();
    let id = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let config = [128, 144, 228, 192, 4, 1, 140, 128, 64, 0, 1, 0, 0];
    assert_eq!(
        created[..],
        [&[1, 0], &id[..], &[1, b'a', 2], &config[..]].concat()
    );
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let known = all()[3].encode();
    let unknown = |bytes: &[u8]| Control::decode(bytes).unwrap_err().version;
    assert_eq!(unknown(&[]), 0);
    assert_eq!(unknown(&[2, 0]), 2);
    assert_eq!(unknown(&[1, 99]), 1);
    assert_eq!(unknown(&known[..known.len() - 1]), 1);
    assert_eq!(unknown(&[&known[..], &[0]].concat()), 1);
}
