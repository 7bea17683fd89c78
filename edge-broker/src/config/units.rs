//! Values as people write them: byte sizes, durations, addresses; both ways.
//!
//! Pure. Called by the configuration, the commands and everything that shows a figure.

use std::time::Duration;

/// Binary units first: `16MiB` is 16 · 2²⁰, `16MB` is 16 · 10⁶, as on every disk.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// What [`parse_duration_ms`] takes, for error texts.
pub const DURATION_FORM: &str = "a time such as 30s, 10m, 2h or 1d (ms s m h d w)";

/// `"16MiB"` → 16777216. A number without a unit is bytes; `1.5GiB` and `8_000` are fine.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = BYTE_UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    scaled(number, factor)
}

/// `"10m"` → 600000. The unit is required: nobody knows what 10 means.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    TIME_UNITS
        .iter()
        .find_map(|(unit, factor)| scaled(text.strip_suffix(unit)?, *factor))
}

/// Whole numbers exactly, fractions to the nearest unit below.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number = number.trim_end().replace('_', "");
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || fraction.len() > 9 || factor == 1 {
        return None;
    }
    let scale = 10_u64.pow(fraction.len() as u32);
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / u128::from(scale);
    whole.checked_add(part as u64)
}

/// 16777216 → `16MiB` where that is exact, else the plain number: for files that are read again.
pub fn exact_bytes(bytes: u64) -> String {
    BYTE_UNITS[..4]
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// 16777216 → `17 MB`: decimal, for people. Two digits below ten (`4.1 MB`), else whole.
pub fn show_bytes(bytes: u64) -> String {
    const STEPS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut step = 0;
    while value >= 999.5 && step < STEPS.len() - 1 {
        value /= 1000.0;
        step += 1;
    }
    if step == 0 {
        format!("{bytes} B")
    } else {
        format!("{} {}", short(value), STEPS[step])
    }
}

/// Two figures for two sizes with one unit: `3.1 of 8.0 GB`.
pub fn show_bytes_of(part: u64, whole: u64) -> String {
    let (part, whole) = (show_bytes(part), show_bytes(whole));
    match (part.rsplit_once(' '), whole.rsplit_once(' ')) {
        (Some((figure, unit)), Some((_, whole_unit))) if unit == whole_unit => {
            format!("{figure} of {whole}")
        }
        _ => format!("{part} of {whole}"),
    }
}

/// 9182340 → `9 182 340`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

/// A time span with its two largest units: `3 h 12 min`, `41 d 3 h`, `21 s`, `0.42 s`, `4.6 ms`.
pub fn show_duration(span: Duration) -> String {
    let micros = span.as_micros() as u64;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{} ms", short(micros as f64 / 1e3)),
        100_000..10_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => show_seconds(span.as_secs()),
    }
}

/// An age or a wait in whole seconds: nobody reads hundredths of them.
pub fn show_age(ms: u64) -> String {
    show_seconds(ms / 1000)
}

fn show_seconds(seconds: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// Two digits that count: `4.1`, `41`, `0.9`.
pub fn short(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Milliseconds since 1970 → `2026-11-21T09:12:03.120Z`.
pub fn show_time(unix_ms: i64) -> String {
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

/// Days since 1970 → year, month, day; Howard Hinnant's algorithm, valid for every i64 we meet.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Host and port of `host:port`, `:port`, `[::1]:port`; says what is wrong otherwise.
pub fn parse_address(text: &str) -> Result<(String, u16), String> {
    if text.contains("://") {
        return Err("must be host:port, without a scheme or a path".into());
    }
    let (host, port) = text.rsplit_once(':').ok_or("needs a port")?;
    let port = port
        .parse::<u16>()
        .map_err(|_| "the port must be 0 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or("the closing ] is missing")?,
        None if host.contains(':') => return Err("write IPv6 in brackets, [::1]:port".into()),
        None => host,
    };
    if host.contains(|letter: char| letter.is_whitespace() || letter == '/') {
        return Err("must be host:port, without a scheme or a path".into());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests;
