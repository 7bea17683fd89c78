//! Values both ways, at their edges.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

#[test]
fn sizes_have_binary_and_decimal_units() {
    assert_eq!(parse_bytes("16MiB"), Some(16 << 20));
    assert_eq!(parse_bytes("16 MiB"), Some(16 << 20));
    assert_eq!(parse_bytes("16MB"), Some(16_000_000));
    assert_eq!(parse_bytes("1.5GiB"), Some(3 << 29));
    assert_eq!(parse_bytes("8_000"), Some(8_000));
    assert_eq!(parse_bytes("0"), Some(0));
}

#[test]
fn what_is_no_size_is_refused() {
    for text in [
        "",
        "MiB",
        "-1MiB",
        "+1",
        "16mib",
        "16 M",
        "1.5",
        "1.MiB",
        "1e3",
        "99999999TiB",
    ] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(parse_duration_ms("10m"), Some(600_000));
    assert_eq!(parse_duration_ms("250ms"), Some(250));
    assert_eq!(parse_duration_ms("1.5h"), Some(5_400_000));
    for text in ["10", "m", "-1s", "10min", ""] {
        assert_eq!(parse_duration_ms(text), None, "{text}");
    }
}

#[test]
fn exact_sizes_read_back_as_themselves() {
    for bytes in [
        0,
        1,
        1023,
        1024,
        16 << 20,
        (16 << 20) + 1,
        8 << 30,
        u64::MAX,
    ] {
        assert_eq!(parse_bytes(&exact_bytes(bytes)), Some(bytes));
    }
    assert_eq!(exact_bytes(128 << 10), "128KiB");
}

#[test]
fn figures_are_short_for_people() {
    assert_eq!(show_bytes(0), "0 B");
    assert_eq!(show_bytes(999), "999 B");
    assert_eq!(show_bytes(1_000), "1.0 kB");
    assert_eq!(show_bytes(999_999), "1.0 MB");
    assert_eq!(show_bytes(41_200_000), "41 MB");
    assert_eq!(show_bytes_of(3_100_000_000, 8_000_000_000), "3.1 of 8.0 GB");
    assert_eq!(show_bytes_of(31_000_000, 8_000_000_000), "31 MB of 8.0 GB");
    assert_eq!(show_count(9_182_340), "9 182 340");
    assert_eq!(show_count(182), "182");
    assert_eq!(show_count(1_000), "1 000");
}

#[test]
fn spans_show_their_two_largest_units() {
    let show = |ms: u64| show_duration(Duration::from_millis(ms));
    assert_eq!(show_duration(Duration::from_micros(980)), "980 µs");
    assert_eq!(show_duration(Duration::from_micros(4_610)), "4.6 ms");
    assert_eq!(show(420), "0.42 s");
    assert_eq!(show(21_000), "21 s");
    assert_eq!(show(11_520_000), "3 h 12 min");
    assert_eq!(show(3_600_000), "1 h");
    assert_eq!(show(3_553_200_000), "41 d 3 h");
}

#[test]
fn times_are_utc_with_milliseconds() {
    assert_eq!(show_time(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(show_time(1_795_252_323_120), "2026-11-21T09:12:03.120Z");
    assert_eq!(show_time(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(show_time(-1), "1969-12-31T23:59:59.999Z");
}

#[test]
fn addresses_are_host_and_port() {
    assert_eq!(
        parse_address("localhost:1883"),
        Ok(("localhost".into(), 1883))
    );
    assert_eq!(parse_address(":0"), Ok((String::new(), 0)));
    assert_eq!(parse_address("[::1]:1883"), Ok(("::1".into(), 1883)));
    for text in [
        "localhost",
        "::1:1883",
        "[::1:1883",
        "a:b",
        "a:70000",
        "tcp://a:1",
        "a b:1",
    ] {
        assert!(parse_address(text).is_err(), "{text}");
    }
}
