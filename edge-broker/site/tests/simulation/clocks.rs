//! The clocks of one gateway: milliseconds since its boot, and a wall clock that nobody minds.

use edge_site::{ClockTrust, Now};

const YEAR_MS: i64 = 365 * 86_400_000;

/// What one gateway's clocks show at a moment of the world.
pub struct Clocks {
    /// Counts boots of the machine; processes come and go within one.
    pub boot_id: u64,
    began_ms: i64,
    ahead_ms: i64,
}

impl Clocks {
    /// Of a machine that has been up for a while.
    pub fn new(node: usize, up_ms: i64) -> Clocks {
        Clocks {
            boot_id: (node as u64) << 32,
            began_ms: -up_ms,
            ahead_ms: 0,
        }
    }

    /// What they show.
    pub fn now(&self, world: Now) -> Now {
        Now {
            mono_ms: (world.mono_ms as i64 - self.began_ms) as u64,
            wall_ms: world.wall_ms + self.ahead_ms,
        }
    }

    /// The machine boots.
    pub fn boot(&mut self, world: Now) {
        self.boot_id += 1;
        self.began_ms = world.mono_ms as i64;
    }

    /// The wall clock leaps, as often as not back to the right time.
    pub fn leap(&mut self, world: Now, rng: &mut fastrand::Rng) {
        self.ahead_ms = match rng.u8(..8) {
            0 | 1 => 10 * YEAR_MS,
            2 => -world.wall_ms,
            3 => rng.i64(-YEAR_MS..YEAR_MS),
            4 => rng.i64(-10_000..10_000),
            _ => 0,
        };
    }

    /// What the machine believes of it: often wrong, too.
    pub fn trust(&self, world: Now) -> ClockTrust {
        match self.now(world).wall_ms {
            ..1_700_000_000_000 => ClockTrust::Unset,
            _ => ClockTrust::Right,
        }
    }
}
