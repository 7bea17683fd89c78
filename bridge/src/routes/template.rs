//! Text with placeholders: `{site}`, `{client}`, `{mqtt_topic}`, `{1}`, `{2}`…

use bytes::{BufMut, Bytes, BytesMut};

/// A compiled template.
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

enum Part {
    Text(Bytes),
    Site,
    Client,
    MqttTopic,
    /// What a `+` stands for: one level. From 0; `{1}` is the first.
    Level(usize),
    /// What a `#` stands for: any number of levels.
    Levels(usize),
}

/// What the placeholders stand for.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) site: &'a Bytes,
    pub(super) client: &'a Bytes,
    pub(super) mqtt_topic: &'a Bytes,
    pub(super) wildcards: &'a [Bytes],
}

impl Template {
    /// Compiles, for the wildcards of a filter; the error says what is allowed.
    pub(super) fn compile(source: &str, filter: &str) -> Result<Template, String> {
        let wildcards: Vec<&str> = filter
            .split('/')
            .filter(|level| matches!(*level, "+" | "#"))
            .collect();
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("has a { without a }")? + open;
            if open > 0 {
                parts.push(Part::Text(Bytes::copy_from_slice(&rest.as_bytes()[..open])));
            }
            parts.push(placeholder(&rest[open + 1..close], &wildcards)?);
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(Bytes::copy_from_slice(rest.as_bytes())));
        }
        Ok(Template {
            source: source.to_owned(),
            parts,
        })
    }

    /// As it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Without placeholders.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// As a key; without a copy where the template is one placeholder.
    pub(super) fn expand_key(&self, values: Values) -> Bytes {
        if let [part] = self.parts.as_slice() {
            return part.value(values).clone();
        }
        let mut key = BytesMut::new();
        self.parts
            .iter()
            .for_each(|part| key.put_slice(part.value(values)));
        key.freeze()
    }

    /// As the name of a topic: the slashes of an MQTT topic become dots.
    ///
    /// Where that can happen, a text that has a dot of its own gets no name, and is the error:
    /// otherwise `a/b.c` and `a/b/c` would share one, or whoever comes first would have it.
    pub(super) fn expand_name(&self, values: Values) -> Result<String, String> {
        let brings_slashes = self.parts.iter().any(Part::brings_slashes);
        let mut name = String::new();
        for part in &self.parts {
            // Values are UTF-8, they come from MQTT texts.
            let value = String::from_utf8_lossy(part.value(values));
            if brings_slashes && part.is_from_outside() && value.contains('.') {
                return Err(value.into_owned());
            }
            match part {
                // A client id is no path: its slash makes no name.
                Part::Client => name.push_str(&value),
                _ => name.push_str(&value.replace('/', ".")),
            }
        }
        Ok(name)
    }
}

impl Part {
    fn value<'a>(&'a self, values: Values<'a>) -> &'a Bytes {
        match self {
            Part::Text(text) => text,
            Part::Site => values.site,
            Part::Client => values.client,
            Part::MqttTopic => values.mqtt_topic,
            Part::Level(n) | Part::Levels(n) => &values.wildcards[*n],
        }
    }

    fn brings_slashes(&self) -> bool {
        matches!(self, Part::MqttTopic | Part::Levels(_))
    }

    /// Whether devices say what it is, not the configuration.
    fn is_from_outside(&self) -> bool {
        !matches!(self, Part::Text(_) | Part::Site)
    }
}

fn placeholder(name: &str, wildcards: &[&str]) -> Result<Part, String> {
    match name {
        "site" => Ok(Part::Site),
        "client" => Ok(Part::Client),
        "mqtt_topic" => Ok(Part::MqttTopic),
        _ => match name.parse::<usize>() {
            Ok(n) => match n
                .checked_sub(1)
                .and_then(|at| Some((at, wildcards.get(at)?)))
            {
                Some((at, &"#")) => Ok(Part::Levels(at)),
                Some((at, _)) => Ok(Part::Level(at)),
                None => {
                    let count = wildcards.len();
                    Err(format!("asks for wildcard {n}, the filter has {count}"))
                }
            },
            Err(_) => Err(format!(
                "may contain {{site}} {{client}} {{mqtt_topic}} {{1}} {{2}}…, not {{{name}}}"
            )),
        },
    }
}
