//! Payloads: JSON as a machine sends it, or bytes that no codec makes smaller.

use std::fmt;

/// What messages are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same names every time, numbers that wander.
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

/// One machine after the other says how it is.
#[derive(Debug)]
pub struct Machine {
    kind: Kind,
    bytes: usize,
    rng: fastrand::Rng,
    seq: u32,
    /// What is measured, in hundredths.
    values: [i32; NAMES.len()],
}

const NAMES: [&str; 6] = [
    "temperature_c",
    "pressure_bar",
    "speed_rpm",
    "torque_nm",
    "flow_l_min",
    "energy_kwh",
];
/// The first message's time, and the time between two of one machine.
const BEGAN_MS: u64 = 1_795_000_000_000;
const STEP_MS: u64 = 250;

impl Machine {
    /// One that sends exactly `bytes` each time (JSON: 96 at least); `number` decides the values.
    pub fn new(kind: Kind, bytes: usize, number: u64) -> Machine {
        let mut rng = fastrand::Rng::with_seed(number + 1);
        let values = std::array::from_fn(|_| rng.i32(1_000..90_000));
        Machine {
            kind,
            bytes,
            rng,
            seq: 0,
            values,
        }
    }

    /// The next payload.
    pub fn next(&mut self) -> Vec<u8> {
        self.seq += 1;
        match self.kind {
            Kind::Random => std::iter::repeat_with(|| self.rng.u8(..))
                .take(self.bytes)
                .collect(),
            Kind::Json => self.json(),
        }
    }

    fn json(&mut self) -> Vec<u8> {
        let ts = BEGAN_MS + u64::from(self.seq) * STEP_MS;
        let mut text = format!("{{\"ts\":{ts},\"seq\":{},\"state\":\"running\"", self.seq);
        for (name, value) in NAMES.iter().zip(&mut self.values) {
            *value = (*value + self.rng.i32(-20..=20)).clamp(0, 99_999);
            let field = format!(",\"{name}\":{}.{:02}", *value / 100, *value % 100);
            if text.len() + field.len() + FILL_BYTES_MIN > self.bytes {
                break;
            }
            text.push_str(&field);
        }
        let rest = self.bytes.saturating_sub(text.len() + FILL_BYTES_MIN);
        let fill = PROGRAM.chars().cycle().take(rest);
        text.push_str(",\"prog\":\"");
        text.extend(fill);
        text.push_str("\"}");
        text.into_bytes()
    }
}

/// What is around the last field.
const FILL_BYTES_MIN: usize = r#","prog":""}"#.len();
const PROGRAM: &str = "housing-4711/rev-c/left;";
