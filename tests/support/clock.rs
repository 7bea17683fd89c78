//! A gateway's wall clock in a test's hand: `../shim/clock.c` adds what a file says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock; the same one outlives restarts of the gateway.
pub struct WallClock {
    path: PathBuf,
    page: File,
}

/// What this machine's clock shows.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_millis() as i64
}

impl WallClock {
    /// A clock that shows `wall_ms` now; its file is made at `path`.
    pub fn showing(path: &Path, shown_ms: i64) -> WallClock {
        fs::write(path, [0_u8; 4096]).expect("a file for the clock");
        let page = File::options().write(true).open(path).expect("the clock");
        let clock = WallClock {
            path: path.to_path_buf(),
            page,
        };
        clock.set(shown_ms - wall_ms());
        clock
    }

    /// From now on it is ahead of this machine's by so much.
    pub fn leap(&self, ahead_ms: i64) {
        self.set(ahead_ms);
    }

    /// From now on it shows what this machine's does.
    pub fn set_right(&self) {
        self.set(0);
    }

    fn set(&self, ahead_ms: i64) {
        let written = self.page.write_all_at(&ahead_ms.to_le_bytes(), 0);
        written.expect("the clock");
    }

    /// The environment that loads it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let library = super::shim::compiled("clock");
        vec![
            ("LD_PRELOAD".to_owned(), text(&library)),
            ("EDGE_CLOCK".to_owned(), text(&self.path)),
        ]
    }
}
