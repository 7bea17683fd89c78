//! Frames of some boots and gateways, and how old they look.
#![allow(clippy::unwrap_used)]

use super::*;

const HOUR_MS: u64 = 3_600_000;

fn at(store_id: u64, boot_id: u64, boot_ms: u64) -> Moment {
    Moment {
        store_id,
        boot_id,
        boot_ms,
    }
}

#[test]
fn within_a_boot_age_is_what_passed_also_over_processes() {
    let mut ages = Ages::default();
    ages.note(1, at(7, 1, 5_000));
    ages.note(2, at(7, 1, 9_000));
    // The process was down for an hour, the machine was not.
    ages.note(3, at(7, 1, 9_000 + HOUR_MS));
    let now = at(7, 1, 10_000 + HOUR_MS);
    let found = [1, 2, 3].map(|index| ages.age_ms(index, now));
    assert_eq!(found, [HOUR_MS + 5_000, HOUR_MS + 1_000, 1_000]);
}

#[test]
fn without_power_nothing_gets_older() {
    let mut ages = Ages::default();
    ages.note(1, at(7, 1, 5_000));
    let now = at(7, 2, 300);
    assert_eq!(ages.age_ms(1, now), 300, "up since then, at least");
    ages.note(2, now);
    assert_eq!(ages.age_ms(1, at(7, 2, 400)), 400);
    assert_eq!(ages.age_ms(2, at(7, 2, 400)), 100);
}

#[test]
fn the_uptime_of_another_gateway_tells_nothing() {
    let mut ages = Ages::default();
    ages.note(1, at(7, 1, 5_000));
    ages.note(2, at(8, 2, 1_000 * HOUR_MS));
    assert_eq!(ages.age_ms(1, at(8, 2, 1_000 * HOUR_MS + 10)), 10);
    ages.note(3, at(7, 1, 9_000));
    assert_eq!(ages.age_ms(1, at(7, 1, 9_020)), 20);
}

#[test]
fn what_is_not_applied_yet_has_no_age() {
    let mut ages = Ages::default();
    ages.note(1, at(7, 1, 0));
    assert_eq!(ages.age_ms(2, at(7, 1, HOUR_MS)), 0);
}

#[test]
fn a_frame_before_a_long_pause_is_as_old_as_it_is() {
    let mut ages = Ages::default();
    ages.note(1, at(7, 1, 0));
    ages.note(2, at(7, 1, 900));
    ages.note(3, at(7, 1, 72 * HOUR_MS));
    ages.note(4, at(7, 1, 73 * HOUR_MS));
    assert_eq!(ages.age_ms(2, at(7, 1, 73 * HOUR_MS)), 73 * HOUR_MS - 900);
}

#[test]
fn ages_from_seconds_to_years_are_kept_within_a_tenth_and_never_too_high() {
    let mut ages = Ages::default();
    let mut written = vec![0];
    // Dense at first and at the end, sparse in between: about ten years.
    let steps = [(20_000, 5_000), (80_000, HOUR_MS), (30_000, 700)];
    for (count, step_ms) in steps {
        for _ in 0..count {
            written.push(written.last().unwrap() + step_ms);
            ages.note(written.len() as u64 - 1, at(7, 1, *written.last().unwrap()));
        }
    }
    assert!(ages.rungs.len() <= RUNGS_MAX);
    let now_ms = *written.last().unwrap();
    let mut worst = 0.0_f64;
    for (index, written_ms) in written.iter().enumerate().skip(1) {
        let found = ages.age_ms(index as u64, at(7, 1, now_ms));
        let age_ms = now_ms - written_ms;
        assert!(found <= age_ms, "frame {index}: {found} > {age_ms}");
        let missing_ms = (age_ms - found).saturating_sub(2 * SPACING_MS);
        worst = worst.max(missing_ms as f64 / (age_ms + 1) as f64);
    }
    assert!(worst < 0.1, "{worst}");
}
