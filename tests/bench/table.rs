//! A table of figures: what, how much, beside what, and whether the goal is reached.

use std::fmt;

use serde::Serialize;

/// The figures of one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// One line each.
    pub rows: Vec<Row>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Figures beside it, e.g. latencies.
    pub more: String,
    /// What was wanted, in words.
    pub goal: Option<String>,
    /// Whether it was reached.
    pub reached: Option<bool>,
}

impl Table {
    /// An empty table.
    pub fn new(scenario: &'static str) -> Table {
        Table {
            scenario,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str, more: String) {
        let what = what.into();
        eprintln!("   {what}: {} {unit}  {more}", number(value));
        self.rows.push(Row {
            what,
            value,
            unit,
            more,
            goal: None,
            reached: None,
        });
    }

    /// Adds a figure with its goal.
    pub fn goal(
        &mut self,
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        goal: impl Into<String>,
        reached: bool,
    ) {
        self.row(what, value, unit, String::new());
        if let Some(row) = self.rows.last_mut() {
            row.goal = Some(goal.into());
            row.reached = Some(reached);
        }
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let whole = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                out.push(' ');
            }
            out.push(digit);
        }
        out
    } else {
        format!("{value:.2}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}", self.scenario)?;
        let width = self
            .rows
            .iter()
            .map(|row| row.what.chars().count())
            .max()
            .unwrap_or(0);
        for row in &self.rows {
            let (what, value, unit) = (&row.what, number(row.value), row.unit);
            write!(out, "  {what:<width$}  {value:>11} {unit:<9}")?;
            let mark = match row.reached {
                Some(true) => "reached",
                Some(false) => "MISSED",
                None => "",
            };
            let goal = row
                .goal
                .as_ref()
                .map_or(String::new(), |goal| format!("goal {goal}  {mark}"));
            writeln!(out, "{}{goal}", row.more)?;
        }
        for note in &self.notes {
            writeln!(out, "  {note}")?;
        }
        Ok(())
    }
}
