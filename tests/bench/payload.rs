//! Payloads: JSON as a machine sends it, or bytes that no codec makes smaller.

use std::fmt;

/// What messages are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names and changing numbers.
    Json,
    /// Noise.
    Random,
}

/// Both, in the order of the tables.
pub const BOTH: [Kind; 2] = [Kind::Json, Kind::Random];

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Json => "JSON",
            Kind::Random => "random",
        })
    }
}

/// A payload of exactly that many bytes (JSON: at least 96).
pub fn make(kind: Kind, bytes: usize, rng: &mut fastrand::Rng) -> Vec<u8> {
    match kind {
        Kind::Random => std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect(),
        Kind::Json => json(bytes, rng),
    }
}

fn json(bytes: usize, rng: &mut fastrand::Rng) -> Vec<u8> {
    let names = [
        "temperature_c",
        "pressure_bar",
        "speed_rpm",
        "torque_nm",
        "flow_l_min",
        "energy_kwh",
    ];
    let mut text = format!(
        "{{\"ts\":{},\"seq\":{}",
        1_760_000_000_000u64 + rng.u64(..1 << 32),
        rng.u32(..)
    );
    for name in names.iter().cycle() {
        let field = format!(",\"{name}\":{:.3}", rng.f64() * 1_000.0);
        if text.len() + field.len() + 12 > bytes {
            break;
        }
        text.push_str(&field);
    }
    let rest = bytes.saturating_sub(text.len() + 8);
    text.push_str(&format!(",\"s\":\"{}\"}}", "o".repeat(rest)));
    text.truncate(bytes);
    text.into_bytes()
}
