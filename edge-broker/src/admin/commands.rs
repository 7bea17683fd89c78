//! Commands that come over the socket: topics, publish, central.
//!
//! Each does one thing at the site and answers with plain data or a refusal with a remedy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bridge::RouteSetting;
use bytes::Bytes;
use cloud_sync::TopicState;
use edge_site::{
    AckLevel, AppendRequest, Appended, Header, Record, Refused as Appending, Topic, TopicConfig,
    TopicError, check_topic_name,
};
use hyper::StatusCode;

use super::App;
use super::api::{
    CreateTopic, Named, Publish, Published, Retried, SetTopic, TopicFigures, TopicInfo,
};
use super::gather;
use super::record::Blob;
use super::service::Refused;
use crate::config::nearest::nearest;
use crate::machine;

/// All topics, internal ones too.
pub async fn topics(app: &App) -> Vec<TopicInfo> {
    let status = app.site.status().await;
    let info = |topic: &edge_site::TopicStatus| TopicInfo {
        figures: TopicFigures {
            stored_bytes: topic.bytes_stored,
            records: topic.records,
            partitions: gather::partitions(&topic.partitions),
        },
        ..described(&topic.topic)
    };
    status.topics.iter().map(info).collect()
}

/// One topic.
pub async fn describe(app: &App, named: &Named) -> Result<TopicInfo, Refused> {
    let found = topics(app)
        .await
        .into_iter()
        .find(|topic| topic.name == named.topic);
    found.ok_or_else(|| unknown_topic(app, &named.topic))
}

/// Makes a topic.
pub async fn create(app: &App, wanted: CreateTopic) -> Result<TopicInfo, Refused> {
    if is_own(&wanted.topic) {
        let text = format!(
            "names that begin with _ are the gateway's own: {}",
            wanted.topic
        );
        let other = wanted.topic.trim_start_matches('_');
        let refused = Refused::new(StatusCode::BAD_REQUEST, text);
        return Err(match other {
            "" => refused.fix("choose a name that begins with a letter or a digit"),
            other => refused.fix(format!("edge-broker topic create {other}")),
        });
    }
    let made = app
        .site
        .create_topic(&wanted.topic, wanted.partitions, &wanted.settings)
        .await;
    made.map(|topic| described(&topic))
        .map_err(|error| refuse_topic(app, error))
}

/// Changes settings of a topic, but none that the configuration decides at the next start.
pub async fn set(app: &App, wanted: SetTopic) -> Result<TopicInfo, Refused> {
    if is_own(&wanted.topic) && !may_be_set(&wanted) {
        return Err(own_topic("changed", &wanted.topic));
    }
    for (setting, value) in &wanted.settings {
        match app.bridge.route_setting(&wanted.topic, setting) {
            Some(said) if said.value != *value => {
                return Err(decided_by_route(app, &wanted.topic, setting, &said));
            }
            _ => {}
        }
    }
    let changed = app
        .site
        .alter_topic(&wanted.topic, wanted.partitions, &wanted.settings)
        .await;
    changed
        .map(|topic| described(&topic))
        .map_err(|error| refuse_topic(app, error))
}

/// Parts of the gateway keep what they know in these.
fn is_own(topic: &str) -> bool {
    topic.starts_with('_')
}

/// How long dead letters stay is people's business, all else of such a topic the gateway's.
fn may_be_set(wanted: &SetTopic) -> bool {
    let mut names = wanted.settings.keys();
    wanted.topic == "_dead_letter"
        && wanted.partitions.is_none()
        && names.all(|name| name.starts_with("retention."))
}

/// `done` is what was asked for: deleted, changed, written.
fn own_topic(done: &str, name: &str) -> Refused {
    let text = format!("a topic of the gateway's own is not {done}: {name}");
    let refused = Refused::new(StatusCode::CONFLICT, text);
    match name {
        "_retained" => refused
            .fix("clear one retained message: edge-broker publish --mqtt --retain TOPIC \"\""),
        "_dead_letter" => {
            let setting = "edge-broker topic set _dead_letter retention.ms=1000";
            refused.fix(format!(
                "how long it keeps its records may be set: {setting}"
            ))
        }
        _ => refused,
    }
}

fn decided_by_route(app: &App, topic: &str, setting: &str, said: &RouteSetting) -> Refused {
    let RouteSetting { key, filter, value } = said;
    let text = format!("{setting} of {topic} is decided by the configuration: {key} = {value}");
    let place = format!("the route with filter {filter:?} in {}", app.facts.config);
    Refused::new(StatusCode::CONFLICT, text)
        .fix(format!("change it there and restart: {place}"))
        .fix("or take the key out there: from the next start on topic set decides")
}

/// Deletes a topic, but none of the gateway's own.
pub async fn delete(app: &App, named: Named) -> Result<Named, Refused> {
    if is_own(&named.topic) && app.site.topics().get(&named.topic).is_some() {
        return Err(own_topic("deleted", &named.topic));
    }
    app.site
        .delete_topic(&named.topic)
        .await
        .map_err(|error| refuse_topic(app, error))?;
    Ok(named)
}

/// Tries a parked topic again.
pub async fn retry(app: &App, named: Named) -> Result<Retried, Refused> {
    let topics = app.central.status().topics;
    let mut parked = topics
        .iter()
        .filter(|topic| topic.state == TopicState::Parked);
    let was_parked = parked.any(|topic| topic.topic == named.topic);
    if app.central.retry(&named.topic).await {
        let topic = named.topic;
        return Ok(Retried { topic, was_parked });
    }
    if app.site.topics().get(&named.topic).is_none() {
        return Err(unknown_topic(app, &named.topic));
    }
    let text = format!("topic is not forwarded: {}", named.topic);
    Err(Refused::new(StatusCode::CONFLICT, text)
        .fix(format!(
            "edge-broker topic set {} edge.forward=true",
            named.topic
        ))
        .fix("and central.bootstrap must name the cluster"))
}

/// Stores one message: at level `disk` in a topic, or as the route of an MQTT topic says.
pub async fn publish(app: &App, message: Publish) -> Result<Published, Refused> {
    let begun = Instant::now();
    let value = blob(&message.value)?;
    let headers: Vec<(Bytes, Bytes)> = message
        .headers
        .iter()
        .map(|(name, value)| Ok((Bytes::from(name.clone().into_bytes()), blob(value)?)))
        .collect::<Result<_, Refused>>()?;
    let (topic, partition, appended) = match message.mqtt {
        true => publish_mqtt(app, &message, value, headers).await?,
        false => publish_record(app, &message, value, headers).await?,
    };
    Ok(Published {
        level: appended.level.to_string(),
        topic: topic.name.to_string(),
        partition,
        offset: appended.offsets.first().copied(),
        took_us: begun.elapsed().as_micros() as u64,
    })
}

type Stored = (Arc<Topic>, u32, Appended);

async fn publish_mqtt(
    app: &App,
    message: &Publish,
    value: Bytes,
    user: Vec<(Bytes, Bytes)>,
) -> Result<Stored, Refused> {
    if message.key.is_some() || message.partition.is_some() {
        let text = "key and partition of an MQTT topic follow from its route";
        return Err(Refused::new(StatusCode::BAD_REQUEST, text)
            .fix("leave --key and --partition out, or name a topic of the log"));
    }
    let published = app
        .bridge
        .publish(&message.topic, value, user, message.retain)
        .await;
    let published = published.map_err(|error| match error {
        TopicError::InvalidName(name) => Refused::new(
            StatusCode::BAD_REQUEST,
            format!("not a topic that a message can have (no + # or NUL, not empty): {name:?}"),
        ),
        other => refuse_topic(app, other),
    })?;
    Ok((published.topic, published.partition, published.appended))
}

async fn publish_record(
    app: &App,
    message: &Publish,
    value: Bytes,
    headers: Vec<(Bytes, Bytes)>,
) -> Result<Stored, Refused> {
    if is_own(&message.topic) {
        return Err(own_topic("written", &message.topic));
    }
    let topics = app.site.topics();
    let known = topics.get(&message.topic);
    let topic = known.ok_or_else(|| no_topic_to_publish(app, &message.topic))?;
    let key = message.key.as_ref().map(blob).transpose()?;
    let partition = partition(topic, message.partition, key.as_deref())?;
    let header = |(key, value)| Header {
        key,
        value: Some(value),
    };
    let record = Record {
        timestamp_ms: machine::wall_ms(),
        key,
        value: Some(value),
        headers: headers.into_iter().map(header).collect(),
    };
    let items = vec![(topic.partition(partition), record)];
    let request = AppendRequest::records(items, AckLevel::Disk);
    let ticket = app
        .site
        .append(request)
        .await
        .map_err(|refused| refuse_append(&refused))?;
    let appended = ticket.await.map_err(|refused| refuse_append(&refused))?;
    Ok((topic.clone(), partition, appended))
}

/// What cannot be made is not suggested.
fn no_topic_to_publish(app: &App, name: &str) -> Refused {
    const OR_MQTT: &str = "or, for an MQTT topic that the routes map, add --mqtt";
    match check_topic_name(name) {
        Ok(()) => unknown_topic(app, name)
            .fix(format!("edge-broker topic create {name}"))
            .fix(OR_MQTT),
        Err(error) if name.is_empty() => Refused::new(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error) => Refused::new(StatusCode::BAD_REQUEST, error.to_string()).fix(OR_MQTT),
    }
}

fn blob(blob: &Blob) -> Result<Bytes, Refused> {
    let refuse = || Refused::new(StatusCode::BAD_REQUEST, "hex must be pairs of digits");
    blob.bytes().map(Bytes::from).ok_or_else(refuse)
}

fn partition(topic: &Topic, asked: Option<u32>, key: Option<&[u8]>) -> Result<u32, Refused> {
    match (asked, key) {
        (Some(number), _) if number >= topic.partitions => Err(Refused::new(
            StatusCode::NOT_FOUND,
            format!(
                "{} has partitions 0 to {}, not: {number}",
                topic.name,
                topic.partitions - 1
            ),
        )),
        (Some(number), _) => Ok(number),
        (None, Some(key)) => Ok(kafka_wire::partition_for_key(key, topic.partitions)),
        (None, None) => Ok(fastrand::u32(..topic.partitions)),
    }
}

/// No such topic, and the nearest one there is.
pub fn unknown_topic(app: &App, name: &str) -> Refused {
    let refused = Refused::new(StatusCode::NOT_FOUND, format!("no such topic: {name}"));
    let topics = app.site.topics();
    let known = topics
        .iter()
        .filter(|topic| !topic.is_internal())
        .map(|topic| &*topic.name);
    match nearest(name, known) {
        Some(near) => refused.fix(format!("did you mean {near}?")),
        None => refused,
    }
}

fn refuse_topic(app: &App, error: TopicError) -> Refused {
    match error {
        TopicError::Unknown(name) => unknown_topic(app, &name),
        TopicError::Exists(name) => {
            let text = format!("topic exists already: {name}");
            Refused::new(StatusCode::CONFLICT, text)
                .fix(format!("change it: edge-broker topic set {name} KEY=VALUE"))
        }
        TopicError::Refused(refused) => refuse_append(&refused),
        TopicError::InvalidSetting { ref name, .. } => {
            let refused = Refused::new(StatusCode::BAD_REQUEST, error.to_string());
            match nearest(name, TopicConfig::default().to_map().into_keys()) {
                Some(near) if near != name => refused.fix(format!("did you mean {near}?")),
                _ => refused,
            }
        }
        other => Refused::new(StatusCode::BAD_REQUEST, other.to_string()),
    }
}

/// What may succeed later is 503, what never will is 400.
pub fn refuse_append(refused: &Appending) -> Refused {
    let status = match refused.is_retriable() {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::BAD_REQUEST,
    };
    Refused::new(status, refused.to_string())
}

fn described(topic: &Topic) -> TopicInfo {
    let partitions = (0..topic.partitions)
        .map(|partition| super::report::Partition {
            partition,
            ..Default::default()
        })
        .collect();
    TopicInfo {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        settings: settings(topic),
        figures: TopicFigures {
            partitions,
            ..TopicFigures::default()
        },
    }
}

/// Settings by the names that `topic set` takes.
fn settings(topic: &Topic) -> BTreeMap<String, String> {
    let settings = topic.config.to_map().into_iter();
    settings
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
