//! Values as a commented file: `configs/edge-broker.toml` and `check-config --effective`.
//!
//! Pure. The comments come from `schema`, so the file cannot say something else than the check.

use std::fmt::Write;

use toml::{Table, Value};

use super::check::default_of;
use super::schema::{Key, Kind, SECTIONS, Section};
use crate::view::wrap;

/// Comments start here, so that they stand below each other.
const COMMENT_COLUMN: usize = 35;

/// No line is longer.
const WIDTH: usize = 100;

/// Every key with its value and what it does; one that was left out where that means something is
/// a comment. The result reads back as the same values.
pub fn render(values: &Table) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        match lookup(values, section.name) {
            Some(Value::Table(table)) => write_section(&mut out, section, table),
            Some(Value::Array(items)) => {
                items.iter().filter_map(Value::as_table).for_each(|table| {
                    write_section(&mut out, section, table);
                });
            }
            _ => {}
        }
    }
    out
}

fn lookup<'t>(values: &'t Table, name: &str) -> Option<&'t Value> {
    let (first, rest) = name
        .split_once('.')
        .map_or((name, None), |(a, b)| (a, Some(b)));
    let value = values.get(first)?;
    match rest {
        Some(rest) => lookup(value.as_table()?, rest),
        None => Some(value),
    }
}

fn write_section(out: &mut String, section: &Section, table: &Table) {
    if !out.is_empty() {
        out.push('\n');
    }
    let header = match section.repeated {
        true => format!("[[{}]]", section.name),
        false => format!("[{}]", section.name),
    };
    line(out, &header, section.about);
    for key in section.keys {
        let text = |value| format!("{} = {}", quoted(key.name), shown(key, value));
        match table.get(key.name) {
            Some(value) => line(out, &text(value), key.about),
            None if key.is_optional => {
                line(out, &format!("# {}", text(&default_of(key))), key.about);
            }
            None => {}
        }
    }
}

/// Text and comment on one line; a long comment goes on below itself.
fn line(out: &mut String, text: &str, about: &str) {
    let mut text = text;
    for part in wrap(about, WIDTH - COMMENT_COLUMN - 2) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text:<COMMENT_COLUMN$}# {part}");
        text = "";
    }
    if about.is_empty() {
        let _ = writeln!(out, "{text}");
    }
}

fn quoted(name: &str) -> String {
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// Numbers from ten thousand on with `_`, as in the schema; the rest as TOML writes it.
fn shown(key: &Key, value: &Value) -> String {
    match (key.kind, value) {
        (_, Value::Integer(number)) if *number >= 10_000 => {
            super::units::show_count(*number as u64).replace(' ', "_")
        }
        (Kind::Number(..), Value::Float(number)) => number.to_string(),
        (_, Value::Table(table)) => inline(table),
        _ => value.to_string(),
    }
}

fn inline(table: &Table) -> String {
    if table.is_empty() {
        return "{}".into();
    }
    let pairs: Vec<String> = table
        .iter()
        .map(|(key, value)| format!("{} = {value}", Value::from(key.as_str())))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}
