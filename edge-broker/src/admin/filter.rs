//! MQTT topic filters for `tail --mqtt` (MQTT 5 §4.7). Pure.
//!
//! As in routes, `#` here also fits topics that begin with `$`: this is an operator's view.

/// A filter that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl Filter {
    /// `a/+/c`, `a/#`; says what is wrong otherwise.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let levels: Vec<String> = text.split('/').map(str::to_owned).collect();
        let last = levels.len() - 1;
        for (position, level) in levels.iter().enumerate() {
            if level.contains('#') && (level != "#" || position < last) {
                return Err(format!(
                    "# must be the whole last level of the filter: {text}"
                ));
            }
            if level.contains('+') && level != "+" {
                return Err(format!("+ must be a whole level of the filter: {text}"));
            }
        }
        if text.is_empty() {
            return Err("the filter is empty: use # for every topic".into());
        }
        Ok(Filter(levels))
    }

    /// Whether a topic fits.
    pub fn fits(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for wanted in &self.0 {
            match (wanted.as_str(), levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Filter;

    fn fits(filter: &str, topic: &str) -> bool {
        Filter::parse(filter).unwrap().fits(topic)
    }

    #[test]
    fn wildcards_fit_as_in_mqtt() {
        assert!(fits("tele/+/SENSOR", "tele/plug1/SENSOR"));
        assert!(!fits("tele/+/SENSOR", "tele/plug1/x/SENSOR"));
        assert!(!fits("tele/+", "tele"));
        assert!(fits("tele/+", "tele/"));
        assert!(fits("tele/#", "tele"));
        assert!(fits("#", "$SYS/x"));
        assert!(fits("/+", "/a"));
        assert!(!fits("+", "/a"));
        assert!(fits("a/b", "a/b"));
        assert!(!fits("a/b", "a/b/c"));
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for text in ["", "a/#/b", "a#", "a/b+", "+a"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
