//! `topic list|create|describe|set|delete`.

use std::process::ExitCode;

use serde::Serialize;

use super::{print, print_json, settings};
use crate::admin::api::{CreateTopic, Named, SetTopic, TopicInfo, path};
use crate::admin::client::Gateway;
use crate::cli::{Common, TopicCommand};
use crate::config::units::{show_bytes, show_count};
use crate::failure::Failure;
use crate::view::{Align, Table};

/// One of the five.
pub fn run(command: &TopicCommand) -> Result<ExitCode, Failure> {
    match command {
        TopicCommand::List { common, all } => run_list(common, *all),
        TopicCommand::Create {
            common,
            name,
            partitions,
            settings: arguments,
        } => {
            let (as_setting, settings) = partitions_apart(settings(arguments)?)?;
            let wanted = CreateTopic {
                topic: name.clone(),
                partitions: partitions.or(as_setting),
                settings,
            };
            let made: TopicInfo = Gateway::find(common)?.ask(path::CREATE, &wanted)?;
            answer(common, &made, created)
        }
        TopicCommand::Describe { common, name } => {
            let named = Named {
                topic: name.clone(),
            };
            let topic: TopicInfo = Gateway::find(common)?.ask(path::DESCRIBE, &named)?;
            answer(common, &topic, describe)
        }
        TopicCommand::Set {
            common,
            name,
            settings: arguments,
        } => {
            let (partitions, settings) = partitions_apart(settings(arguments)?)?;
            let wanted = SetTopic {
                topic: name.clone(),
                partitions,
                settings,
            };
            let topic: TopicInfo = Gateway::find(common)?.ask(path::SET, &wanted)?;
            answer(common, &topic, changed)
        }
        TopicCommand::Delete { common, name } => {
            let named = Named {
                topic: name.clone(),
            };
            let done: Named = Gateway::find(common)?.ask(path::DELETE, &named)?;
            answer(common, &done, |done| format!("deleted {}\n", done.topic))
        }
    }
}

fn run_list(common: &Common, all: bool) -> Result<ExitCode, Failure> {
    let topics: Vec<TopicInfo> = Gateway::find(common)?.ask(path::TOPICS, &())?;
    let shown = |topic: &TopicInfo| all || !topic.name.starts_with('_');
    let topics: Vec<TopicInfo> = topics.into_iter().filter(shown).collect();
    answer(common, &topics, |topics| list(topics))
}

/// JSON for programs, else the text for people.
fn answer<T: Serialize>(
    common: &Common,
    answer: &T,
    text: impl Fn(&T) -> String,
) -> Result<ExitCode, Failure> {
    if common.json {
        print_json(answer)
    } else {
        print(&text(answer))
    }
}

/// `partitions=4` is a setting for people, a number of its own for the gateway.
fn partitions_apart(
    mut settings: std::collections::BTreeMap<String, String>,
) -> Result<(Option<u32>, std::collections::BTreeMap<String, String>), Failure> {
    let Some(text) = settings.remove("partitions") else {
        return Ok((None, settings));
    };
    let number = text.parse().map_err(|_| {
        Failure::new(
            crate::failure::Exit::USAGE,
            format!("partitions is a number: {text}"),
        )
    })?;
    Ok((Some(number), settings))
}

fn list(topics: &[TopicInfo]) -> String {
    if topics.is_empty() {
        return "no topics yet: the first message of a device makes one, or edge-broker topic \
                create NAME\n"
            .into();
    }
    let mut table = Table::new(&[
        ("TOPIC", Align::Left),
        ("PARTITIONS", Align::Right),
        ("RECORDS", Align::Right),
        ("STORED", Align::Right),
        ("FORWARD", Align::Left),
        ("PRIORITY", Align::Left),
    ]);
    for topic in topics {
        table.row(list_row(topic));
    }
    table.to_string()
}

fn list_row(topic: &TopicInfo) -> [String; 6] {
    let setting = |name: &str| topic.settings.get(name).cloned().unwrap_or_default();
    let forward = if setting("edge.forward") == "true" {
        "yes"
    } else {
        "no"
    };
    [
        topic.name.clone(),
        topic.figures.partitions.len().to_string(),
        show_count(topic.figures.records),
        show_bytes(topic.figures.stored_bytes),
        forward.to_owned(),
        setting("edge.priority"),
    ]
}

fn created(topic: &TopicInfo) -> String {
    let partitions = match topic.figures.partitions.len() {
        1 => "1 partition".into(),
        count => format!("{count} partitions"),
    };
    format!("created {}, {partitions}\n", topic.name)
}

fn changed(topic: &TopicInfo) -> String {
    let partitions = topic.figures.partitions.len();
    format!("partitions={partitions}\n{}", settings_of(topic))
}

fn describe(topic: &TopicInfo) -> String {
    let mut table = Table::new(&[
        ("PARTITION", Align::Right),
        ("START", Align::Right),
        ("FORWARDED", Align::Right),
        ("COMMITTED", Align::Right),
        ("END", Align::Right),
    ]);
    for marks in &topic.figures.partitions {
        table.row([
            marks.partition.to_string(),
            marks.start.to_string(),
            marks
                .forwarded
                .map_or_else(|| "-".into(), |offset| offset.to_string()),
            marks.committed_end.to_string(),
            marks.end.to_string(),
        ]);
    }
    format!(
        "{}   id {}   {} records, {}\n\n{table}\n{}",
        topic.name,
        topic.id,
        show_count(topic.figures.records),
        show_bytes(topic.figures.stored_bytes),
        settings_of(topic)
    )
}

fn settings_of(topic: &TopicInfo) -> String {
    topic
        .settings
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::TopicFigures;
    use crate::admin::report::Partition;

    fn topic() -> TopicInfo {
        let marks = Partition {
            partition: 0,
            start: 10,
            committed_end: 1_010,
            end: 1_011,
            forwarded: Some(900),
        };
        TopicInfo {
            name: "mqtt".into(),
            id: "0b9f".into(),
            settings: [("edge.forward".into(), "true".into())].into(),
            figures: TopicFigures {
                stored_bytes: 14_000_000,
                records: 1_000,
                partitions: vec![marks],
            },
        }
    }

    #[test]
    fn a_list_has_one_line_per_topic() {
        let text = list(&[topic()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "TOPIC   PARTITIONS   RECORDS   STORED   FORWARD   PRIORITY"
        );
        assert_eq!(lines[1], "mqtt             1     1 000    14 MB   yes");
        assert!(list(&[]).contains("no topics yet"));
    }

    #[test]
    fn a_description_shows_every_mark() {
        let text = describe(&topic());
        assert!(
            text.contains("PARTITION   START   FORWARDED   COMMITTED    END\n"),
            "{text}"
        );
        assert!(
            text.contains("        0      10         900        1010   1011\n"),
            "{text}"
        );
        assert!(text.ends_with("edge.forward=true\n"), "{text}");
    }
}
