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
    /// From 0; `{1}` is the first.
    Wildcard(usize),
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
    /// Compiles; the error says what is allowed.
    pub(super) fn compile(source: &str, wildcards: usize) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("has a { without a }")? + open;
            if open > 0 {
                parts.push(Part::Text(Bytes::copy_from_slice(&rest.as_bytes()[..open])));
            }
            parts.push(placeholder(&rest[open + 1..close], wildcards)?);
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

    /// As text, slashes left as they are. Values are UTF-8, they come from MQTT texts.
    pub(super) fn expand_raw(&self, values: Values) -> String {
        String::from_utf8_lossy(&self.expand_key(values)).into_owned()
    }
}

impl Part {
    fn value<'a>(&'a self, values: Values<'a>) -> &'a Bytes {
        match self {
            Part::Text(text) => text,
            Part::Site => values.site,
            Part::Client => values.client,
            Part::MqttTopic => values.mqtt_topic,
            Part::Wildcard(n) => &values.wildcards[*n],
        }
    }
}

fn placeholder(name: &str, wildcards: usize) -> Result<Part, String> {
    match name {
        "site" => Ok(Part::Site),
        "client" => Ok(Part::Client),
        "mqtt_topic" => Ok(Part::MqttTopic),
        _ => match name.parse::<usize>() {
            Ok(n) if (1..=wildcards).contains(&n) => Ok(Part::Wildcard(n - 1)),
            Ok(n) => Err(format!("asks for wildcard {n}, the filter has {wildcards}")),
            Err(_) => Err(format!(
                "may contain {{site}} {{client}} {{mqtt_topic}} {{1}} {{2}}…, not {{{name}}}"
            )),
        },
    }
}
