//! A slice to read from: through its engine while it is written, else by the places of its values.
//!
//! ```text
//! newest slice, and one given up until it is copied ── Written ── engine ──┐
//! every other one ──────────────────────────────────── Closed ─── place ───┴──> value, checked
//!                                                               │
//!                                       the index says it; else found by looking the slice through
//! ```
//! Nothing that is read here is handed on unchecked. What is open is `shared`'s affair.

use std::sync::{Arc, Mutex, PoisonError};

use crate::secret::Secret;
use crate::slice_index::SliceIndex;
use crate::value::{self, Value, Values};
use crate::{ClosedSlice, Disk, DiskError, Seen, Slice, Unreadable};

/// A slice to read from.
pub enum Opened<D: Disk> {
    /// Through its engine.
    Written(Arc<D::Slice>, Secret),
    /// By the places of its values.
    Closed(Arc<Closed<D>>),
}

impl<D: Disk> Values for Opened<D> {
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError> {
        match self {
            Opened::Written(slice, secret) => Written(&**slice, *secret).get(sequence, part),
            Opened::Closed(closed) => closed.get(sequence, part),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Opened::Written(slice, _) => slice.bytes(),
            Opened::Closed(closed) => closed.bytes(),
        }
    }
}

/// A slice with its engine.
pub struct Written<'a, S>(pub &'a S, pub Secret);

impl<S: Slice> Values for Written<'_, S> {
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError> {
        let read = self.0.get(sequence, part)?;
        read.map(|bytes| value::check(self.1, bytes, sequence, part))
            .transpose()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// A slice that nobody writes any more.
pub struct Closed<D: Disk> {
    number: u64,
    slice: D::Closed,
    secret: Secret,
    /// Says where the values lie, if the slice is sealed.
    index: Option<Arc<SliceIndex>>,
    /// Where they really lie, once that was looked for.
    found: Mutex<Option<Arc<Found>>>,
}

impl<D: Disk> Closed<D> {
    /// Opens it; nothing of it is read yet.
    pub fn open(
        disk: &D,
        number: u64,
        secret: Secret,
        index: Option<Arc<SliceIndex>>,
    ) -> Result<Closed<D>, DiskError> {
        Ok(Closed {
            number,
            slice: disk.read_slice(number)?,
            secret,
            index,
            found: Mutex::default(),
        })
    }

    /// Where all values lie. Whoever needs that too waits for the one who looks.
    fn look_through(&self) -> Result<Arc<Found>, DiskError> {
        let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*known {
            return Ok(Arc::clone(found));
        }
        if self.index.is_some() {
            let number = self.number;
            log::warn!("not all of slice {number} is where its index says, looking it through");
        }
        let found = Arc::new(Found::find(&self.slice, self.secret)?);
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Where a value lies that no index has. One that is not found while some of the slice could
    /// not be read is perhaps there: whoever asks again has it looked for again.
    fn search(&self, sequence: u64, part: u32) -> Result<Option<(u64, usize)>, DiskError> {
        let found = self.look_through()?;
        let place = found.place(sequence, part);
        if place.is_none() && found.seen == Seen::Part {
            let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            known.take_if(|known| Arc::ptr_eq(known, &found));
            return Err(DiskError::Io(format!(
                "some of slice {} cannot be read, perhaps write {sequence}",
                self.number
            )));
        }
        Ok(place)
    }
}

impl<D: Disk> Values for Closed<D> {
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError> {
        let read = |(at, len)| {
            let read = self.slice.read_at(Unreadable::IsError, at, len)?;
            value::check(self.secret, read, sequence, part)
        };
        let index = self.index.as_ref();
        match index
            .and_then(|index| index.place(sequence, part))
            .map(read)
        {
            Some(Ok(value)) => return Ok(Some(value)),
            Some(Err(DiskError::Damaged(_))) | None => {}
            Some(Err(error)) => return Err(error),
        }
        self.search(sequence, part)?.map(read).transpose()
    }

    fn bytes(&self) -> u64 {
        self.slice.bytes()
    }
}

/// Where each whole value of a slice lies, sorted by write and part.
#[derive(Debug, Default)]
struct Found {
    places: Vec<Place>,
    seen: Seen,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    at: u64,
    part: u32,
    len: u16,
}

impl Place {
    fn key(&self) -> (u64, u32) {
        (self.sequence, self.part)
    }
}

impl Found {
    /// Looks a slice through, as far as it can be read.
    fn find(slice: &impl ClosedSlice, secret: Secret) -> Result<Found, DiskError> {
        let mut places = Vec::new();
        let seen = slice.find_values(&mut |at, bytes| {
            let Some(head) = value::check_prefix(secret, bytes) else {
                return 0;
            };
            places.push(Place {
                sequence: head.sequence,
                at,
                part: head.part,
                len: head.value_bytes() as u16,
            });
            head.value_bytes()
        })?;
        places.sort_unstable_by_key(Place::key);
        // sled wrote some more than once; one is enough.
        places.dedup_by_key(|place| place.key());
        places.shrink_to_fit();
        Ok(Found { places, seen })
    }

    /// Where a value lies, and how long it is.
    fn place(&self, sequence: u64, part: u32) -> Option<(u64, usize)> {
        let found = self
            .places
            .binary_search_by_key(&(sequence, part), Place::key);
        let place = &self.places[found.ok()?];
        Some((place.at, usize::from(place.len)))
    }
}
