//! Text for people: tables whose columns stand below each other, and broken lines. Pure.

use std::fmt;

/// Between two columns.
const GAP: &str = "   ";

/// Side on which a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Figures.
    Right,
}

/// A head and rows.
#[derive(Debug, Clone)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Table {
            aligns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![head],
        }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.aligns.len(), "a row has one cell per column");
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for row in &self.rows {
            let cells =
                row.iter().zip(&widths).zip(&self.aligns).map(
                    |((cell, width), align)| match align {
                        Align::Left => format!("{cell:<width$}"),
                        Align::Right => format!("{cell:>width$}"),
                    },
                );
            let line = cells.collect::<Vec<_>>().join(GAP);
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Breaks a text between words so that no line is longer than `width`.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Align, Table, wrap};

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 7), ["incomprehensible"]);
        assert_eq!(wrap("", 7), Vec::<String>::new());
    }

    #[test]
    fn columns_stand_below_each_other_whatever_the_letters() {
        let mut table = Table::new(&[("NAME", Align::Left), ("IN/s", Align::Right)]);
        table.row(["größe".into(), "7".into()]);
        table.row(["a".into(), "12 345".into()]);
        assert_eq!(
            table.to_string(),
            "NAME      IN/s\ngröße        7\na       12 345\n"
        );
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(
            Table::new(&[("A", Align::Left), ("B", Align::Left)]).to_string(),
            "A   B\n"
        );
    }
}
