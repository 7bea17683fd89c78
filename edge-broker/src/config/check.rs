//! From text to values: reads TOML, finds everything that is wrong, fills in the defaults.
//!
//! Pure. What the keys are is `schema`'s business; who reads the values is `Config`'s.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::nearest::nearest;
use super::schema::{Key, SECTIONS, Section, key_named, section_named};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `path:line`, a flag, or the file alone.
    pub place: String,
    /// Its line; 0 where it has none. Problems are told in this order.
    #[serde(skip)]
    pub line: usize,
    /// Dotted key; "" where the text is no TOML at all.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// What is allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Problem {
    /// Whether it is about the command line.
    pub fn is_of_a_flag(&self) -> bool {
        self.place.starts_with("--")
    }

    /// Whether `other`, about keys that do not fit each other, may be nothing but its effect: a
    /// value that is wrong is not there, and its default was looked at instead.
    pub fn hides(&self, other: &Problem) -> bool {
        let section = |key: &str| key.split(['.', '[']).next().unwrap_or_default().to_owned();
        let (here, there) = (section(&self.key), section(&other.key));
        // Memory is shared out by keys of the store.
        here.is_empty() || here == there || (here == "storage" && there == "memory")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)?;
        if let Some(nearest) = &self.nearest {
            write!(out, "\n  did you mean {nearest}?")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(out, "\n  {allowed}")?;
        }
        Ok(())
    }
}

/// What a text says, defaults filled in.
#[derive(Debug)]
pub struct Checked {
    /// Every key there is.
    pub values: Table,
    /// Where the keys that were given stand: `storage.dir` → 3, `route[0].filter` → 17.
    pub lines: BTreeMap<String, usize>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Reads `text`; `place` is how problems name it.
pub fn check(text: &str, place: &str) -> Checked {
    let mut reader = Reader {
        text,
        place,
        lines: BTreeMap::new(),
        problems: Vec::new(),
    };
    let mut given = Table::new();
    match DeTable::parse(text) {
        Ok(document) => reader.table("", "", document.get_ref(), &mut given),
        Err(error) => reader.no_toml(&error),
    }
    Checked {
        values: with_defaults(given),
        lines: reader.lines,
        problems: reader.problems,
    }
}

/// The default of one key as a value.
pub fn default_of(key: &Key) -> Value {
    let parsed = format!("value = {}", key.default).parse::<Table>();
    // The table is ours: a test reads every default.
    parsed
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or(Value::Boolean(false))
}

/// A section's keys, each with its default; without those that may be left out.
pub fn section_defaults(section: &Section) -> Table {
    section
        .keys
        .iter()
        .filter(|key| !key.is_optional)
        .map(|key| (key.name.to_owned(), default_of(key)))
        .collect()
}

fn with_defaults(mut given: Table) -> Table {
    for section in SECTIONS {
        let Some(table) = descend(&mut given, section.name, section.repeated) else {
            continue;
        };
        match table {
            Value::Array(items) if items.is_empty() => {
                items.push(Value::Table(section_defaults(section)));
            }
            Value::Array(items) => {
                items
                    .iter_mut()
                    .filter_map(Value::as_table_mut)
                    .for_each(|item| {
                        fill(item, section);
                    });
            }
            Value::Table(table) => fill(table, section),
            _ => {}
        }
    }
    given
}

fn fill(table: &mut Table, section: &Section) {
    for key in section.keys {
        if !key.is_optional && !table.contains_key(key.name) {
            table.insert(key.name.to_owned(), default_of(key));
        }
    }
}

/// The place of a section in a table, made where it is missing.
fn descend<'t>(root: &'t mut Table, name: &str, repeated: bool) -> Option<&'t mut Value> {
    let (parents, last) = name
        .rsplit_once('.')
        .map_or((None, name), |(a, b)| (Some(a), b));
    let table = match parents {
        Some(parents) => descend(root, parents, false)?.as_table_mut()?,
        None => root,
    };
    let empty = if repeated {
        Value::Array(Vec::new())
    } else {
        Value::Table(Table::new())
    };
    Some(table.entry(last).or_insert(empty))
}

struct Reader<'a> {
    text: &'a str,
    place: &'a str,
    lines: BTreeMap<String, usize>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Walks one table; `name` is the section's, `path` also counts the items of lists.
    fn table(&mut self, name: &str, path: &str, table: &DeTable<'_>, into: &mut Table) {
        for (key, value) in table {
            let line = self.line(key.span().start);
            let full_name = join(name, key.get_ref());
            let full_path = join(path, key.get_ref());
            self.lines.insert(full_path.clone(), line);
            let section = section_named(&full_name);
            let is_key = section_named(name).and_then(|section| section.key(key.get_ref()));
            if let Some(schema) = is_key {
                self.value(schema, &full_path, line, value, into);
            } else if let Some(section) = section {
                self.section(section, &full_path, line, value.get_ref(), into);
            } else {
                self.unknown(name, &full_path, key.get_ref(), line, value.get_ref());
            }
        }
    }

    fn section(
        &mut self,
        section: &Section,
        path: &str,
        line: usize,
        value: &DeValue<'_>,
        into: &mut Table,
    ) {
        let last = section
            .name
            .rsplit('.')
            .next()
            .unwrap_or(section.name)
            .to_owned();
        match value {
            DeValue::Table(table) if !section.repeated => {
                let mut inner = Table::new();
                self.table(section.name, path, table, &mut inner);
                into.insert(last, Value::Table(inner));
            }
            DeValue::Array(items) if section.repeated => {
                let mut inner = Vec::new();
                for (position, item) in items.iter().enumerate() {
                    let item_path = format!("{path}[{position}]");
                    inner.push(self.item(section, &item_path, line, item));
                }
                into.insert(last, Value::Array(inner));
            }
            _ => self.wrong_shape(section, path, line),
        }
    }

    fn item(
        &mut self,
        section: &Section,
        path: &str,
        line: usize,
        item: &Spanned<DeValue<'_>>,
    ) -> Value {
        let mut inner = Table::new();
        match item.get_ref() {
            DeValue::Table(table) => self.table(section.name, path, table, &mut inner),
            _ => self.wrong_shape(section, path, line),
        }
        Value::Table(inner)
    }

    fn value(
        &mut self,
        schema: &Key,
        path: &str,
        line: usize,
        value: &Spanned<DeValue<'_>>,
        into: &mut Table,
    ) {
        let plain = plain(value.get_ref());
        let checked = match &plain {
            Some(plain) => schema.kind.check(plain),
            None => Err(format!("allowed: {}", schema.kind.allowed())),
        };
        match (checked, plain) {
            (Ok(()), Some(plain)) => {
                into.insert(schema.name.to_owned(), plain);
            }
            (Err(allowed), _) => {
                let shown = self.text.get(value.span()).unwrap_or_default();
                let message = format!("{path} cannot be {}", shorten(shown));
                self.problem(line, path, message, None, Some(allowed));
            }
            (Ok(()), None) => {}
        }
    }

    fn unknown(&mut self, section: &str, path: &str, key: &str, line: usize, value: &DeValue<'_>) {
        if let Some(quoted) = dotted(section, key, value) {
            let message = format!("unknown key {path}");
            let help = format!("a name with dots needs quotes: \"{quoted}\"");
            return self.problem(line, path, message, None, Some(help));
        }
        let known = names_in(section);
        let near = nearest(key, known.iter().copied()).map(|near| join(section, near));
        let near = near.or_else(|| elsewhere(key));
        let allowed = match section {
            "" => format!("sections: {}", known.join(", ")),
            _ => format!("in [{section}]: {}", known.join(", ")),
        };
        self.problem(
            line,
            path,
            format!("unknown key {path}"),
            near,
            Some(allowed),
        );
    }

    fn wrong_shape(&mut self, section: &Section, path: &str, line: usize) {
        let (name, form) = (section.name, if section.repeated { "[[…]]" } else { "[…]" });
        let header = form.replace('…', name);
        let message = format!("{path} is not a value but a section");
        self.problem(
            line,
            path,
            message,
            None,
            Some(format!("write it as {header}")),
        );
    }

    fn no_toml(&mut self, error: &toml::de::Error) {
        let line = self.line(error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', ", ");
        self.problem(line, "", format!("not valid TOML: {message}"), None, None);
    }

    fn problem(
        &mut self,
        line: usize,
        key: &str,
        message: String,
        nearest: Option<String>,
        allowed: Option<String>,
    ) {
        let place = format!("{}:{line}", self.place);
        self.problems.push(Problem {
            place,
            line,
            key: key.to_owned(),
            message,
            nearest,
            allowed,
        });
    }

    fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// `retention.ms` without quotes arrives as a table `retention`; gives the name that was meant.
fn dotted(section: &str, key: &str, value: &DeValue<'_>) -> Option<String> {
    let inner = value.as_table()?;
    let last = inner.keys().next()?.get_ref();
    let name = format!("{key}.{last}");
    section_named(section)?.key(&name).map(|_| name)
}

/// Keys and sections one level below a section.
fn names_in(section: &str) -> Vec<&'static str> {
    let below = SECTIONS.iter().filter_map(|other| match section {
        "" => (!other.name.contains('.')).then_some(other.name),
        _ => other.name.strip_prefix(section)?.strip_prefix('.'),
    });
    let keys = section_named(section).map_or(&[] as &[Key], |section| section.keys);
    keys.iter().map(|key| key.name).chain(below).collect()
}

/// The same name in another section.
fn elsewhere(key: &str) -> Option<String> {
    let section = SECTIONS.iter().find(|section| section.key(key).is_some())?;
    Some(join(section.name, key))
}

/// A value without its places; none for dates, which no key takes.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| plain(item.get_ref()))
                .collect::<Option<_>>()?,
        ),
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let name: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((name.to_string(), plain(value.get_ref())?))
            };
            Value::Table(table.iter().map(entry).collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Sets one key from a flag, or says what is wrong with it; the flag is the place of a problem.
pub fn set(values: &mut Table, path: &str, value: Value, flag: &str) -> Option<Problem> {
    let problem = |allowed: String| Problem {
        place: flag.to_owned(),
        line: 0,
        key: path.to_owned(),
        message: format!("{path} cannot be {value}"),
        nearest: None,
        allowed: Some(allowed),
    };
    let Some(key) = key_named(path) else {
        return Some(problem("no such key".into()));
    };
    if let Err(allowed) = key.kind.check(&value) {
        return Some(problem(allowed));
    }
    let section = &path[..path.len() - key.name.len() - 1];
    match descend(values, section, false) {
        Some(Value::Table(table)) => {
            table.insert(key.name.to_owned(), value);
        }
        Some(Value::Array(items)) => {
            for item in items.iter_mut().filter_map(Value::as_table_mut) {
                item.insert(key.name.to_owned(), value.clone());
            }
        }
        _ => {}
    }
    None
}
