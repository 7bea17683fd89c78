//! The demo's report: what it says when all is well and when something is missing.

use std::time::Duration;

use super::{Facts, json, pass, report};
use crate::demo::check::{Findings, Missing, Place};

fn findings() -> Findings {
    Findings {
        acked: 51_874,
        in_log: 51_874,
        in_central: 51_874,
        repeated_in_log: 31,
        repeated_in_central: 12,
        ..Findings::default()
    }
}

fn facts() -> Facts {
    Facts {
        ack_us: (1_900, 4_600),
        bare_sync: Some(Duration::from_micros(900)),
        gap_max: Duration::from_millis(210),
        peak_bytes: 14_000_000,
        written_bytes: 12_900_000,
        payload_bytes: 10_400_000,
        unread: None,
        refusals: Vec::new(),
    }
}

#[test]
fn a_good_end_is_as_documented() {
    let expected = "\
Checked, by ids that only the devices know
  acked to devices                      51 874
  found in the log                      51 874 of 51 874   read from disk by a fresh process
  found in central                      51 874 of 51 874
  lost                                       0
  order broken within a device               0
  twice in the log                          31             devices repeated them: their PUBACK \
died with the gateway
  twice in central only                     12             at-least-once forwarding

  acks           p50 1.9 ms   p99 4.6 ms   one fdatasync on this disk 0.90 ms   longest gap 0.21 s
  gateway peak   14.0 MB memory   12.9 MB written for 10.4 MB payload

kill -9 leaves the kernel's cache alone. For power cuts: tests/run crash
PASS  acked 51 874, found in log 51 874, in central 51 874, lost 0, duplicates 43
";
    assert_eq!(report(&findings(), &facts()), expected);
}

#[test]
fn a_bad_end_names_the_first_ten_missing_ids() {
    let missing = (0..12u32).map(|n| Missing {
        id: 0xAB00 + u64::from(n),
        device: 2,
        n,
        place: Place::Log,
    });
    let findings = Findings {
        in_log: 51_862,
        lost: 12,
        missing: missing.collect(),
        ..findings()
    };
    let text = report(&findings, &facts());
    let named = text
        .lines()
        .filter(|line| line.contains("is not in the log"))
        .count();
    assert_eq!(named, 10);
    assert!(text.contains("  missing  000000000000ab09 (press03, message 9) is not in the log\n"));
    assert!(text.contains("  missing  and 2 more\n"));
    assert!(text.ends_with(
        "FAIL  acked 51 874, found in log 51 862, in central 51 874, lost 12, duplicates 43\n"
    ));
}

#[test]
fn what_could_not_be_read_never_passes() {
    let facts = Facts {
        unread: Some((Place::Central, "connection refused".into())),
        ..facts()
    };
    assert!(!pass(&findings(), &facts));
    let text = report(&findings(), &facts);
    let end = "  central could not be read: connection refused\n\
               FAIL  acked 51 874, lost not known: central was not read\n";
    assert!(text.ends_with(end), "{text}");
    assert!(
        text.contains("found in central                    not read"),
        "{text}"
    );
    assert_eq!(json(&findings(), &facts)["lost"], serde_json::Value::Null);
}
