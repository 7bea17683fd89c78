//! Asks a disk again that may have failed only for a moment.
//!
//! For what a start decides by: taken for gone, what cannot be read just now would cost an
//! incarnation or a slice. Work that can wait has a `pause` instead.

use std::time::Duration;

use crate::Disk;

/// How often it is asked.
const ATTEMPTS: u64 = 3;

/// A real disk has this long to come back, and once more twice as long.
const WAIT_MS: u64 = 20;

/// Asks until an answer is good enough; after some tries the last one counts.
pub fn ask_until<D: Disk, T>(
    disk: &D,
    mut ask: impl FnMut() -> T,
    is_good: impl Fn(&T) -> bool,
) -> T {
    for attempt in 1..ATTEMPTS {
        let answer = ask();
        if is_good(&answer) {
            return answer;
        }
        if disk.background() {
            std::thread::sleep(Duration::from_millis(attempt * WAIT_MS));
        }
    }
    ask()
}

/// The same until there is no error.
pub fn ask<D: Disk, T, E>(disk: &D, ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    ask_until(disk, ask, Result::is_ok)
}
