//! Overwriting, eviction, terms, fetching.
#![allow(clippy::unwrap_used)]

use super::*;

fn entry(index: u64, term: u64) -> eraftpb::Entry {
    eraftpb::Entry {
        index,
        term,
        data: vec![0; 100].into(),
        ..Default::default()
    }
}

fn window() -> Window {
    let mut window = Window::new(HardState::default(), vec![1], 1, 0, vec![], 1000);
    window.append(&[entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 2)]);
    window
}

fn terms(window: &Window) -> Vec<u64> {
    (window.first_index().unwrap() - 1..=window.last_index().unwrap())
        .map(|index| window.term(index).unwrap())
        .collect()
}

#[test]
fn a_suffix_is_overwritten_with_its_terms() {
    let mut window = window();
    assert_eq!(terms(&window), [0, 1, 1, 2, 2]);
    window.append(&[entry(2, 3)]);
    assert_eq!(terms(&window), [0, 1, 3]);
    assert!(window.term(3).is_err());
}

#[test]
fn only_settled_entries_leave_and_their_terms_stay() {
    let mut window = window();
    window.evict(2, false);
    assert_eq!((window.mem_first, window.bytes()), (3, 2 * 164));
    assert_eq!(terms(&window), [0, 1, 1, 2, 2]);
    window.set_first(3);
    assert_eq!(terms(&window), [1, 2, 2]);
    assert!(matches!(
        window.term(1),
        Err(Error::Store(StorageError::Compacted))
    ));
}

#[test]
fn what_is_only_on_disk_is_wanted_then_given_once() {
    let mut window = window();
    window.evict(3, false);
    let read = |window: &Window| window.entries(2, 5, 1000, GetEntriesContext::empty(true));
    assert!(read(&window).is_err());
    let wanted = window.take_wanted();
    assert_eq!(
        wanted[0].0,
        Fetch {
            from_index: 2,
            to_index: 4,
            bytes_max: 1000
        }
    );
    window.set_fetched(vec![entry(2, 1), entry(3, 2)]);
    assert_eq!(read(&window).unwrap().len(), 2);
    assert!(
        window
            .entries(2, 5, None, GetEntriesContext::empty(false))
            .is_ok()
    );
    window.set_fetched(vec![]);
    assert!(
        window
            .entries(2, 5, None, GetEntriesContext::empty(false))
            .is_err()
    );
}

#[test]
fn a_read_is_limited_but_never_empty() {
    let window = window();
    let read = |max| {
        window
            .entries(1, 5, max, GetEntriesContext::empty(false))
            .unwrap()
            .len()
    };
    assert_eq!((read(0), read(340), read(u64::MAX)), (1, 2, 4));
}
