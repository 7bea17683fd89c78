//! The nearest of some known names: what somebody probably meant.
//!
//! Pure. Called by the configuration check and by commands that look something up by name.

/// The known name with the fewest edits, if it is near enough to be worth saying.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(given);
    // A third of the letters may be wrong; one always may.
    let edits_max = (folded.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (edits(&folded, &fold(name)), name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// `maxBytes`, `max-bytes` and `max_bytes` are the same mistake.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Optimal string alignment: insert, delete, replace, swap two neighbours.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KEYS: [&str; 5] = [
        "bytes_max",
        "slice_bytes",
        "slices_open_max",
        "dir",
        "compression",
    ];

    #[test]
    fn a_typo_finds_its_key() {
        assert_eq!(nearest("slize_bytes", KEYS), Some("slice_bytes"));
        assert_eq!(nearest("sliceBytes", KEYS), Some("slice_bytes"));
        assert_eq!(nearest("dri", KEYS), Some("dir"));
        assert_eq!(nearest("compresion", KEYS), Some("compression"));
    }

    #[test]
    fn something_else_finds_nothing() {
        assert_eq!(nearest("persistence", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }
}
