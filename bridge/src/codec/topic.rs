//! The grammar of topic names and filters (MQTT 5 §4.7), for the guard and for routes.

use super::packet::{Version, Violation};

/// A topic name: not empty, no wildcards, no NUL. UTF-8 was checked.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::protocol("topic is empty"));
    }
    // No early exit: this way the compiler makes vector instructions of it.
    let bad = name
        .iter()
        .fold(false, |bad, b| bad | matches!(b, b'+' | b'#' | 0));
    if bad {
        return Err(Violation::malformed("topic contains + or # or NUL"));
    }
    Ok(())
}

/// A filter of a client: in 3.1.1 `$share/x` is one like others, and not granted.
pub(crate) fn check_filter_for(version: Version, filter: &str) -> Result<(), Violation> {
    match version {
        Version::V4 if !filter.is_empty() => check_levels(filter),
        _ => check_filter(filter),
    }
}

/// A filter: wildcards stand alone in their level, `#` is last, `$share/NAME/FILTER` is whole.
pub(crate) fn check_filter(filter: &str) -> Result<(), Violation> {
    if filter.is_empty() {
        return Err(Violation::malformed("filter is empty"));
    }
    match shared(filter) {
        None => check_levels(filter),
        Some((name, rest)) => {
            if name.is_empty() || name.bytes().any(|b| b == b'+' || b == b'#') || rest.is_empty() {
                return Err(Violation::malformed(
                    "shared filter is not $share/NAME/FILTER",
                ));
            }
            check_levels(rest)
        }
    }
}

/// Name and filter of a shared subscription; the filter is empty where it is missing.
pub(crate) fn shared(filter: &str) -> Option<(&str, &str)> {
    let rest = filter.strip_prefix("$share/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn check_levels(filter: &str) -> Result<(), Violation> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.bytes().any(|b| b == b'+' || b == b'#');
        if wild && level.len() > 1 {
            return Err(Violation::malformed(
                "a wildcard shares its level with other characters",
            ));
        }
        if level == "#" && levels.peek().is_some() {
            return Err(Violation::malformed(
                "# is not the last level of its filter",
            ));
        }
    }
    Ok(())
}

/// Levels of a topic or filter; never 0.
pub(crate) fn level_count(text: &[u8]) -> usize {
    1 + text.iter().map(|b| usize::from(*b == b'/')).sum::<usize>()
}
