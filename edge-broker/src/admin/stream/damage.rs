//! What cannot be read does not end a tail: it waits for the store's salvage, then goes past.
//!
//! ```text
//! offsets   184 185 │186 187 188│ 189 190        186 to 188 are damaged
//!                    wait, look again: salvaged? go on with what is left, else with 189
//! ```
//! Either way the reader is told which offsets are left out.

use std::time::{Duration, Instant};

use edge_site::next_readable;

use super::{Tail, failure};

/// The store salvages a damaged slice within seconds; what cannot be read for so long is passed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long until it is looked at again.
const RETRY: Duration = Duration::from_millis(500);

/// What is at a cursor's place cannot be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Damage {
    since: Instant,
    /// Not read before then.
    pub(super) retry_at: Instant,
}

impl Damage {
    fn now() -> Damage {
        let since = Instant::now();
        let retry_at = since + RETRY;
        Damage { since, retry_at }
    }

    /// Whether it is too early to look again.
    pub(super) fn is_left_alone(&self) -> bool {
        Instant::now() < self.retry_at
    }
}

impl Tail {
    /// Waits at first; past its patience it goes on behind the place.
    pub(super) async fn meet_damage(&mut self, position: usize, end: i64, out: &mut Vec<u8>) {
        let cursor = &mut self.cursors[position];
        let known = *cursor.damage.get_or_insert_with(Damage::now);
        if known.since.elapsed() < PATIENCE {
            let retry_at = Instant::now() + RETRY;
            cursor.damage = Some(Damage { retry_at, ..known });
            return;
        }
        let (partition, next, site) = (cursor.partition, cursor.next, &self.site);
        let read = |at, bytes_max| site.read(partition, at, bytes_max);
        let found = next_readable(&read, next, end).await;
        self.leave_damage(position, found, out);
        self.cursors[position].next = found;
    }

    /// Reading goes on at `found`: says what is left out, where damage was met before it.
    pub(super) fn leave_damage(&mut self, position: usize, found: i64, out: &mut Vec<u8>) {
        let cursor = &mut self.cursors[position];
        if cursor.damage.take().is_none() || found <= cursor.next {
            return;
        }
        let (name, first, last) = (cursor.name(), cursor.next, found - 1);
        let offsets = match first == last {
            true => format!("{first} is"),
            false => format!("{first} to {last} are"),
        };
        let text = format!("{name}@{offsets} left out: damaged on the disk, it cannot be read");
        failure(out, text);
    }
}
