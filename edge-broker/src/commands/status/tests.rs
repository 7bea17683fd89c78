//! The picture of a gateway in trouble, and the shape of its JSON.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use crate::admin::report::*;

/// 2026-11-21T12:53:00Z
const NOW_MS: i64 = 1_795_265_580_000;

/// A gateway whose link is down since 09:41 and one of whose topics is parked.
fn in_trouble() -> Report {
    let alarm = |code: &str, since_ms: i64, message: &str, fix: &str| Alarm {
        code: code.into(),
        since_ms,
        message: message.into(),
        fix: fix.into(),
    };
    let topic = |name: &str, in_per_s: f64, stored_bytes: u64, waiting: u64| Topic {
        name: name.into(),
        in_per_s,
        stored_bytes,
        waiting: Some(waiting),
        central_topic: Some(format!("plant.{name}")),
        state: "waiting".into(),
        partitions: vec![Partition {
            forwarded: Some(3),
            ..Partition::default()
        }],
        ..Topic::default()
    };
    let mut recipes = topic("recipes", 0.0, 1_100_000, 168);
    recipes.state = "parked".into();
    recipes.parked_ms = Some(4 * 86_400_000);
    recipes.reason = Some("central refuses Write".into());
    Report {
        verdict: Verdict {
            degree: Degree::Degraded,
            text: "central unreachable for 3 h 12 min. Devices are served; 182 311 messages wait \
                   on disk; room for 19 d at this rate; next try in 21 s."
                .into(),
        },
        version: "0.1.0".into(),
        pid: 712,
        site: "plant-north".into(),
        node: "7qm2kxc9aaaaa".into(),
        up_s: 41 * 86_400 + 3 * 3_600,
        time_ms: NOW_MS,
        clock: Clock {
            synced: Some(true),
            trusted: true,
        },
        doors: Doors {
            mqtt: vec!["127.0.0.1:1883".into()],
            http: vec!["127.0.0.1:9883".into()],
            socket: "/var/lib/edge-broker/admin.sock".into(),
        },
        devices: Devices {
            connected: 48,
            in_per_s: 212.3,
            received: 9_000,
            refused: 0,
            ack_us_p50: Some(6_000),
            ack_us_p99: Some(19_000),
        },
        log: Log {
            end: 9_182_340,
            durable: 9_182_340,
            committed: 9_182_340,
            bytes_used: 3_100_000_000,
            bytes_max: 8_000_000_000,
            slices: 190,
            oldest_age_ms: Some(6 * 86_400_000 + 4 * 3_600_000),
            sync_us_p50: Some(5_200),
            sync_us_p99: Some(9_000),
            ..Log::default()
        },
        forward: Some(Forward {
            forwarded: 9_000_029,
            waiting: 182_311,
            oldest_age_ms: Some(11_520_000),
            next_try_ms: Some(21_000),
            guarantee: "at-least-once".into(),
            ..Forward::default()
        }),
        disk: Disk {
            free_bytes: 11_200_000_000,
            bytes: 29_100_000_000,
            written_bytes: 3_100_000,
            payload_bytes: 1_000_000,
            written_bytes_per_day: Some(1_300_000_000),
            room_s: Some(19 * 86_400),
            ..Disk::default()
        },
        link: Some(Link {
            sent_bytes: 198_000_000,
            received_bytes: 16_000_000,
            month_bytes: 214_000_000,
            month_projected_bytes: Some(6_900_000_000),
            month_bytes_max: Some(10_000_000_000),
        }),
        memory: Memory {
            resident_bytes: Some(17_000_000),
            buffers_bytes: 9_000_000,
            bytes_max: 104_857_600,
        },
        topics: vec![
            topic("_retained", 0.0, 10, 0),
            topic("alarms", 2.0, 14_000_000, 41),
            topic("mqtt", 210.2, 3_000_000_000, 182_102),
            recipes,
        ],
        alarms: vec![
            alarm(
                "central.unreachable",
                NOW_MS - 11_520_000,
                "kafka-1.example.com:9093: connection timed out, 388 tries",
                "check the uplink",
            ),
            alarm(
                "topic.parked",
                NOW_MS - 4 * 86_400_000,
                "recipes: central refuses Write on plant.recipes to edge-north",
                "grant it, then: edge-broker central retry recipes",
            ),
        ],
        ledger: Ledger {
            lost: 5,
            shed: 3,
            entries: vec![
                loss("qos0_overload", "QoS 0, shed under load", 3),
                loss("disk_loss", "lost by the disk", 5),
            ],
            lost_offsets: vec![LostOffsets {
                topic: "mqtt".into(),
                partition: 0,
                first: 100,
                last: 104,
            }],
        },
    }
}

fn loss(cause: &str, words: &str, count: u64) -> LedgerEntry {
    LedgerEntry {
        cause: cause.into(),
        words: words.into(),
        topic: "mqtt".into(),
        count,
        first_ms: NOW_MS,
        last_ms: NOW_MS,
    }
}

const PICTURE: &str = "\
DEGRADED  central unreachable for 3 h 12 min. Devices are served; 182 311 messages wait on disk;
          room for 19 d at this rate; next try in 21 s.

site plant-north   node 7qm2kxc9aaaaa   edge-broker 0.1.0   up 41 d 3 h   clock synced

devices   48 connected   212 msg/s in   0 refused   PUBACK p50 6.0 ms, p99 19 ms
log       end 9 182 340 = durable = committed   3.1 of 8.0 GB   oldest 6 d 4 h   fdatasync 5.2 ms
forward   9 000 029 since start   behind 182 311   oldest 3 h 12 min   0 msg/s   at-least-once
disk      11 of 29 GB free   1.3 GB written a day, 3.1 × payload
link      214 MB this month, 6.9 GB projected of 10 GB   (since start: sent 198 MB, received 16 MB)
memory    17 of 105 MB

TOPIC     IN/s   STORED   WAITING   CENTRAL         STATE
alarms     2.0    14 MB        41   plant.alarms    waiting
mqtt       210   3.0 GB   182 102   plant.mqtt      waiting
recipes      0   1.1 MB       168   plant.recipes   PARKED 4 d

central.unreachable   since 09:41 UTC   kafka-1.example.com:9093: connection timed out, 388
                                        tries
                                        check the uplink
topic.parked          since 17 Nov      recipes: central refuses Write on plant.recipes to
                                        edge-north
                                        grant it, then: edge-broker central retry recipes
lost 5   shed on purpose 3
  3 of mqtt: QoS 0, shed under load   noticed 2026-11-21T12:53:00.000Z to 2026-11-21T12:53:00.000Z
  5 of mqtt: lost by the disk   noticed 2026-11-21T12:53:00.000Z to 2026-11-21T12:53:00.000Z
  lost offsets mqtt[0]  100 to 104
";

/// A ledger that named no offsets left people to guess which records were gone.
#[test]
fn what_the_disk_lost_is_told_by_its_offsets() {
    let lost = |partition, first, last| LostOffsets {
        topic: "mqtt".into(),
        partition,
        first,
        last,
    };
    let mut text = String::new();
    let few = [lost(0, 5652, 5715), lost(0, 5780, 6229), lost(1, 3, 3)];
    lost_offsets(&mut text, &few);
    let expected = "  lost offsets mqtt[0]  5652 to 5715, 5780 to 6229\n  \
                    lost offsets mqtt[1]  3 to 3\n";
    assert_eq!(text, expected);
    text.clear();
    let many: Vec<LostOffsets> = (0..20).map(|n| lost(0, 10 * n, 10 * n)).collect();
    lost_offsets(&mut text, &many);
    assert!(text.ends_with("190 to 190\n  and 8 older ranges: status --json\n"));
}

#[test]
fn the_picture_of_a_gateway_in_trouble() {
    let text = shown(&in_trouble());
    assert_eq!(text, PICTURE, "\n{text}");
}

#[test]
fn an_alarm_of_another_year_shows_it() {
    assert_eq!(since(NOW_MS, NOW_MS), "12:53 UTC");
    assert_eq!(since(NOW_MS - 366 * 86_400_000, NOW_MS), "2025-11-20");
}

/// On a small terminal the verdict was the first to scroll away.
#[test]
fn what_does_not_fit_a_terminal_goes_at_the_end() {
    assert_eq!(cut("a\nb\nc\n", 4), "a\nb\nc\n");
    assert_eq!(cut("a\nb\nc\nd\n", 4), "a\nb\n… more: edge-broker status\n");
}

#[test]
fn what_is_not_known_has_no_line() {
    let text = shown(&Report::default());
    for word in [
        "forward",
        "link",
        "memory",
        "PUBACK",
        "fdatasync",
        "written",
        "TOPIC",
    ] {
        assert!(!text.contains(word), "{word} in:\n{text}");
    }
}

#[test]
fn exit_codes_are_the_degrees() {
    assert_eq!(code(Degree::Ok), 0);
    assert_eq!(code(Degree::Degraded), 1);
    assert_eq!(code(Degree::NotStoring), 2);
}

/// Every field by its path, `[]` for items: programs read this, so a change is a decision.
fn shape(prefix: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                shape(&format!("{prefix}{dot}{name}"), value, out);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.last() {
                shape(&format!("{prefix}[]"), first, out);
            }
        }
        _ => out.push(prefix.to_owned()),
    }
}

const SHAPE: &str = "\
alarms[].code alarms[].fix alarms[].message alarms[].since_ms clock.synced clock.trusted \
devices.ack_us_p50 devices.ack_us_p99 devices.connected devices.in_per_s devices.received \
devices.refused disk.bytes disk.free_bytes disk.free_bytes_min disk.payload_bytes disk.room_s \
disk.written_bytes disk.written_bytes_per_day disk.written_bytes_per_day_max doors.http[] \
doors.mqtt[] doors.socket forward.dead_lettered forward.forwarded forward.guarantee \
forward.next_try_ms forward.oldest_age_ms forward.out_per_s forward.reachable forward.since_ms \
forward.waiting ledger.entries[].cause ledger.entries[].count ledger.entries[].first_ms \
ledger.entries[].last_ms ledger.entries[].topic ledger.entries[].words ledger.lost \
ledger.lost_offsets[].first ledger.lost_offsets[].last ledger.lost_offsets[].partition \
ledger.lost_offsets[].topic ledger.shed link.month_bytes \
link.month_bytes_max link.month_projected_bytes link.received_bytes link.sent_bytes \
log.bytes_max log.bytes_used \
log.commits log.committed log.durable log.end log.oldest_age_ms log.opened_clean \
log.opened_in_ms log.queue_bytes log.queue_bytes_max log.records log.slices log.sync_us_p50 \
log.sync_us_p99 memory.buffers_bytes memory.bytes_max memory.resident_bytes node pid site \
time_ms topics[].central_topic topics[].in_per_s topics[].name topics[].parked_ms \
topics[].partitions[].committed_end topics[].partitions[].end topics[].partitions[].forwarded \
topics[].partitions[].partition topics[].partitions[].start topics[].reason topics[].state \
topics[].stored_bytes topics[].waiting up_s verdict.degree verdict.text version";

#[test]
fn the_json_has_this_shape() {
    let json = serde_json::to_value(in_trouble()).unwrap();
    let mut found = Vec::new();
    shape("", &json, &mut found);
    found.sort();
    let wanted: Vec<&str> = SHAPE.split_whitespace().collect();
    assert_eq!(found, wanted, "add fields freely, rename or drop none");
    assert_eq!(json["verdict"]["degree"], "degraded");
    assert_eq!(
        serde_json::from_value::<Report>(json).unwrap(),
        in_trouble()
    );
}
