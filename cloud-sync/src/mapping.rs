//! The name of a central topic: the template `central.topic` filled in.
//!
//! Pure. Used when a topic is first forwarded and when the configuration is checked.

use crate::error::ConfigError;

/// Kafka's limit for topic names.
const NAME_BYTES_MAX: usize = 249;

/// `central.topic`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Site,
}

impl TopicTemplate {
    /// Parses `{topic}`, `{site}` and text between them.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = |why: &str| ConfigError::new("central.topic", format!("{why}: {text}"));
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..]
                .find('}')
                .ok_or_else(|| bad("`{` without `}`"))?
                + open;
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            pieces.push(match &rest[open + 1..close] {
                "topic" => Piece::Topic,
                "site" => Piece::Site,
                _ => return Err(bad("only {topic} and {site} are allowed")),
            });
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self(pieces);
        match template.fill("t", "s") {
            _ if !template.0.contains(&Piece::Topic) => {
                Err(bad("{topic} must occur, or all topics would become one"))
            }
            Err(why) => Err(bad(&why)),
            Ok(_) => Ok(template),
        }
    }

    /// The central name of a local topic, or why it cannot be one.
    pub(crate) fn fill(&self, topic: &str, site: &str) -> Result<String, String> {
        let mut name = String::new();
        for piece in &self.0 {
            name.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Topic => topic,
                Piece::Site => site,
            });
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(c) = name.chars().find(|c| !legal(*c)) {
            return Err(format!(
                "Kafka allows letters, digits, `.`, `_` and `-`, not `{c}`"
            ));
        }
        match name.len() {
            0 => Err("a topic name cannot be empty".into()),
            n if n > NAME_BYTES_MAX => Err(format!("Kafka allows 249 bytes in a name, not {n}")),
            _ if name == "." || name == ".." => Err("Kafka refuses the names . and ..".into()),
            _ => Ok(name),
        }
    }
}

#[cfg(test)]
mod tests;
