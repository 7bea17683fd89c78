//! Where the demo's text goes: a picture redrawn in place on a terminal, lines elsewhere.

use std::io::{self, IsTerminal, Write};

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    /// Only the result is printed, for programs.
    json: bool,
    /// Lines of the picture that stand on the terminal now.
    drawn: usize,
    /// Below the picture.
    events: Vec<String>,
}

impl Screen {
    /// Finds out what standard output is.
    pub fn new(json: bool) -> Screen {
        Screen {
            terminal: !json && io::stdout().is_terminal(),
            json,
            drawn: 0,
            events: Vec::new(),
        }
    }

    /// Whether pictures can be drawn.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// Puts a picture in the place of the one before. For terminals.
    pub fn draw(&mut self, picture: &str) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push_str("\x1b[J");
        text.push_str(picture);
        if !self.events.is_empty() {
            text.push('\n');
        }
        for event in &self.events {
            text.push_str(event);
            text.push('\n');
        }
        self.drawn = text.lines().count();
        put(&text);
    }

    /// An event: a line below the picture, or a line.
    pub fn say_event(&mut self, line: &str) {
        self.events.push(line.to_owned());
        if !self.terminal && !self.json {
            put(&format!("{line}\n"));
        }
    }

    /// Lines that stay.
    pub fn say(&mut self, text: &str) {
        self.drawn = 0;
        if !self.json {
            put(text);
        }
    }

    /// The result, where programs read it.
    pub fn say_json(&self, result: &serde_json::Value) {
        if self.json {
            put(&format!("{result}\n"));
        }
    }
}

/// A closed pipe is no reason to leave a gateway behind: the run goes on without a reader.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
