//! Chains as they are found after crashes.

use super::*;

fn open(continues: u64, writes: &[(u64, u64, u64)]) -> Section {
    let write = |&(sequence, previous, index): &(u64, u64, u64)| Write {
        sequence,
        previous,
        index,
    };
    Section::Open {
        continues: Some(continues),
        writes: writes.iter().map(write).collect(),
    }
}

fn counts(sections: &[Section], durable: u64) -> (Vec<Vec<u64>>, Vec<(u64, u64)>) {
    let verdict = judge(sections, durable);
    (
        verdict.counts,
        verdict.gaps.iter().map(|gap| (gap.after, gap.to)).collect(),
    )
}

#[test]
fn a_torn_tail_is_no_loss() {
    // 3 and 4 were one unsynced group, and 3 is torn.
    let sections = [open(0, &[(1, 0, 1), (2, 1, 2), (4, 3, 4)])];
    assert_eq!(counts(&sections, 2), (vec![vec![1, 2]], vec![]));
}

#[test]
fn what_a_later_writer_gave_up_stays_given_up() {
    // After that crash the next write was 5, and it names 2.
    let sections = [open(
        0,
        &[(1, 0, 1), (2, 1, 2), (4, 3, 4), (5, 2, 3), (6, 5, 4)],
    )];
    assert_eq!(counts(&sections, 6), (vec![vec![1, 2, 5, 6]], vec![]));
    assert_eq!(counts(&sections, 2), (vec![vec![1, 2, 5, 6]], vec![]));
}

#[test]
fn a_hole_below_the_mark_is_a_loss() {
    let sections = [open(0, &[(1, 0, 1), (3, 2, 3)])];
    assert_eq!(counts(&sections, 3), (vec![vec![1, 3]], vec![(1, 2)]));
}

#[test]
fn a_missing_end_is_a_loss() {
    let sections = [open(0, &[(1, 0, 1)])];
    assert_eq!(counts(&sections, 3), (vec![vec![1]], vec![(1, 3)]));
    assert_eq!(counts(&[], 3), (vec![], vec![(0, 3)]));
}

#[test]
fn a_slice_ends_where_the_next_one_continues() {
    // 3 failed to sync and was written again as 4, in a new slice.
    let sections = [
        open(0, &[(1, 0, 1), (2, 1, 2), (3, 2, 3)]),
        open(2, &[(4, 2, 3)]),
    ];
    assert_eq!(counts(&sections, 4), (vec![vec![1, 2], vec![4]], vec![]));
    assert_eq!(counts(&sections, 2), (vec![vec![1, 2], vec![4]], vec![]));
}

#[test]
fn a_slice_that_lost_its_first_writes_says_so() {
    let sections = [open(0, &[(1, 0, 1), (2, 1, 2)]), open(2, &[(5, 4, 5)])];
    assert_eq!(
        counts(&sections, 5),
        (vec![vec![1, 2], vec![5]], vec![(2, 4)])
    );
}

/// Found by the model: a store that overwrote entries and then dropped the slice before them
/// reported the dropped writes as lost.
#[test]
fn what_was_void_when_its_slice_was_dropped_is_told_apart() {
    // 22 was the entry at index 15; 27 voided everything from index 11 on.
    let sections = [open(22, &[(25, 22, 16), (26, 25, 17), (27, 26, 11)])];
    let lost = |durable| judge(&sections, durable).gaps[0];
    assert_eq!(
        (lost(27).index_after, lost(27).void_from),
        (Some(16), Some(11))
    );
    assert_eq!(lost(26).void_from, Some(11), "also behind the mark");
}
