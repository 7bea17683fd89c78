//! The demo's live picture, drawn into a string.

use std::time::Duration;

use super::{Flow, Head, Snapshot, State, spark};

fn snapshot() -> Snapshot {
    let flow = |total, per_s| Flow { total, per_s };
    Snapshot {
        head: Head {
            devices: 20,
            rate: 2_000,
            seconds: 30,
            seed: 0x4f2a91,
            central: "built-in stand-in 127.0.0.1:49092".into(),
        },
        pid: Some(48_260),
        mqtt: "127.0.0.1:41883".into(),
        elapsed: Duration::from_millis(15_300),
        uplink: State::Up,
        published: flow(29_914, 2_003),
        acked: flow(29_902, 2_001),
        ack_us: (1_900, 4_600),
        on_disk: 29_941,
        log_bytes: 4_100_000,
        commits: 7_410,
        committed: 29_640,
        backlog: 6_340,
        history: vec![0, 1_000, 7_000, 6_340],
        oldest_ms: Some(3_100),
        central: flow(23_601, 22_480),
        lost: 0,
    }
}

#[test]
fn the_picture_is_as_documented() {
    let expected = "\
edge-broker demo   20 devices, 2 000 msg/s, QoS 1, 30 s, seed 4f2a91
  gateway  pid 48260  mqtt 127.0.0.1:41883     central  built-in stand-in 127.0.0.1:49092
  ━━━━━━━━━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━  15 s of 30    uplink UP, draining

              total        now
  published    29 914     2 003/s
  acked        29 902     2 001/s   p50 1.9 ms   p99 4.6 ms
  on disk      29 941              4.1 MB   7 410 fdatasync, 4.0 messages each
  backlog       6 340   ▁▂█▇  oldest 3.1 s
  central      23 601    22 480/s
";
    let drawn = snapshot()
        .draw()
        .replace("\x1b[2m", "")
        .replace("\x1b[0m", "");
    assert_eq!(drawn, expected);
}

#[test]
fn the_line_has_a_name_for_every_number() {
    let expected = "t=15s uplink=up published=29914 acked=29902 disk=29941 backlog=6340 \
                    central=23601 lost=0";
    assert_eq!(snapshot().line(), expected);
}

#[test]
fn an_empty_backlog_is_a_flat_line() {
    assert_eq!(spark(&[0, 0, 0]), "▁▁▁");
    assert_eq!(spark(&[]), "");
}
