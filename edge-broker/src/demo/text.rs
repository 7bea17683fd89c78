//! How numbers look in the demo: grouped thousands, fitting units.
//!
//! Pure.

use std::time::Duration;

/// `51 874`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `4.1 MB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `1.9 ms` below a second, `0.21 s` from there on where it matters.
pub fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{:.2} ms", us as f64 / 1e3),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// `0.21 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, count, latency, seconds};

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(51_874), "51 874");
        assert_eq!(count(1_234_567), "1 234 567");
    }

    #[test]
    fn units_fit() {
        assert_eq!(bytes(12_900_000), "12.9 MB");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(latency(900), "0.90 ms");
        assert_eq!(latency(4_620), "4.6 ms");
        assert_eq!(latency(2_340_000), "2.34 s");
        assert_eq!(seconds(Duration::from_millis(214)), "0.21 s");
    }
}
