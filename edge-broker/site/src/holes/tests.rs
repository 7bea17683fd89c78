//! Ranges in, ranges out.

use super::*;

#[test]
fn what_no_range_covers_is_found() {
    let found = |ranges: &[(i64, i64)]| uncovered(10, 100, ranges.to_vec());
    assert_eq!(found(&[]), [(10, 100)]);
    assert_eq!(found(&[(0, 100)]), []);
    assert_eq!(found(&[(50, 70), (0, 20), (15, 50)]), [(70, 100)]);
    assert_eq!(found(&[(20, 30), (40, 200)]), [(10, 20), (30, 40)]);
    assert_eq!(found(&[(10, 40), (200, 300)]), [(40, 100)]);
}

#[test]
fn neighbours_are_one_line_and_the_oldest_lines_go() {
    let mut holes = Holes::default();
    let lost = |first, last| LostOffsets {
        topic_name: "mqtt".into(),
        partition: 0,
        first,
        last,
    };
    holes.add(lost(5, 9));
    holes.add(lost(10, 12));
    assert_eq!(holes.lost(), [lost(5, 12)]);
    for n in 0..300 {
        holes.add(lost(100 + 2 * n, 100 + 2 * n));
    }
    assert_eq!(holes.lost().len(), LOST_MAX);
    assert_eq!(holes.lost().last(), Some(&lost(698, 698)));
}
