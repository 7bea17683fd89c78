//! A small language: two devices send, then things happen to what they sent.

use super::{Findings, Found, Missing, Place, check};
use crate::demo::book::{Book, Device, Sent, Sighting, payload};

/// Two devices, three acknowledged messages each, found everywhere.
fn world() -> (Vec<Device>, Found) {
    let mut book = Book::new(2, 7);
    let mut log = Vec::new();
    for _ in 0..3 {
        for device in 0..2 {
            let (n, payload) = book.write(device);
            book.devices[device].sent[n as usize].acked = true;
            log.push(Sighting::of(&payload));
        }
    }
    let found = Found {
        central: vec![log.clone()],
        log: vec![log],
    };
    (book.devices, found)
}

fn expected() -> Findings {
    Findings {
        acked: 6,
        in_log: 6,
        in_central: 6,
        ..Findings::default()
    }
}

#[test]
fn everything_found_once_passes() {
    let (devices, found) = world();
    let findings = check(&devices, &found);
    assert_eq!(findings, expected());
    assert!(findings.pass());
}

#[test]
fn an_acked_id_missing_in_the_log_is_named_and_fails() {
    let (devices, mut found) = world();
    let gone = found.log[0].remove(3);
    let findings = check(&devices, &found);
    let missing = vec![Missing {
        id: gone.id,
        device: 1,
        n: 1,
        place: Place::Log,
    }];
    assert!(!findings.pass());
    let text = missing[0].to_string();
    assert_eq!(
        text,
        format!("{:016x} (press02, message 1) is not in the log", gone.id)
    );
    assert_eq!(
        findings,
        Findings {
            in_log: 5,
            lost: 1,
            missing,
            ..expected()
        }
    );
}

#[test]
fn an_acked_id_missing_in_central_fails() {
    let (devices, mut found) = world();
    found.central[0].pop();
    let findings = check(&devices, &found);
    assert_eq!(
        (findings.in_log, findings.in_central, findings.lost),
        (6, 5, 1)
    );
    assert!(!findings.pass());
}

#[test]
fn missing_in_both_places_is_lost_once() {
    let (devices, mut found) = world();
    found.central[0].pop();
    found.log[0].pop();
    let findings = check(&devices, &found);
    assert_eq!((findings.lost, findings.missing.len()), (1, 2));
}

#[test]
fn a_message_never_acked_may_be_missing() {
    let (mut devices, found) = world();
    devices[0].sent.push(Sent {
        id: 99,
        times: 1,
        acked: false,
    });
    assert!(check(&devices, &found).pass());
}

#[test]
fn a_copy_is_explained_only_by_a_device_that_sent_again() {
    let (mut devices, mut found) = world();
    let copy = found.log[0][0];
    found.log[0].push(copy);
    found.central[0].push(copy);
    let findings = check(&devices, &found);
    assert_eq!(
        (findings.repeated_in_log, findings.unexplained_in_log),
        (0, 1)
    );
    assert!(!findings.pass());

    devices[0].sent[0].times = 2;
    let findings = check(&devices, &found);
    assert_eq!(
        findings,
        Findings {
            repeated_in_log: 1,
            ..expected()
        }
    );
    assert!(findings.pass());
}

#[test]
fn a_copy_in_central_only_is_counted_there() {
    let (devices, mut found) = world();
    let copy = found.central[0][5];
    found.central[0].push(copy);
    let findings = check(&devices, &found);
    assert_eq!(
        findings,
        Findings {
            repeated_in_central: 1,
            ..expected()
        }
    );
    assert_eq!(findings.duplicates(), 1);
}

#[test]
fn a_later_message_before_an_earlier_one_breaks_order() {
    let (devices, mut found) = world();
    found.log[0].swap(0, 2); // both of the first device
    let findings = check(&devices, &found);
    assert_eq!(findings.order_broken, 1);
    assert!(!findings.pass());
    found.log[0].swap(0, 2);
    found.log[0].swap(0, 1); // of two devices: no order between them is promised
    assert!(check(&devices, &found).pass());
}

#[test]
fn a_changed_byte_is_not_the_message() {
    let (devices, mut found) = world();
    let mut bytes = payload(0, 0, devices[0].sent[0].id);
    if let Some(last) = bytes.last_mut() {
        *last = b' ';
    }
    found.log[0][0] = Sighting::of(&bytes);
    let findings = check(&devices, &found);
    assert_eq!((findings.foreign, findings.lost), (1, 1));
}

#[test]
fn records_of_nobody_are_foreign() {
    let (devices, mut found) = world();
    found.central[0].push(Sighting::of(b"71.3"));
    assert_eq!(check(&devices, &found).foreign, 1);
    assert!(!check(&devices, &found).pass());
}

#[test]
fn a_run_in_which_nothing_was_acked_proves_nothing() {
    assert!(!check(&[], &Found::default()).pass());
}
