//! Questions to the cluster over one connection to whichever broker answers.
//!
//! Turns a [`Control`] of the core into Kafka's requests and their answers back. It decides
//! nothing: codes go to the core as they came.

use kafka_wire::protocol::{
    CreatableTopic, CreateTopicsRequest, DescribeConfigsRequest, DescribeConfigsResource,
    DescribeConfigsResult, ErrorCode, InitProducerIdRequest, MetadataRequest, MetadataRequestTopic,
    MetadataResponse,
};

use crate::{
    config::split_host_port,
    connection::{Connection, Dialer},
    error::{ConnectError, Stage},
    forwarder::types::{
        Broker, Control, ControlAnswer, CreateAnswer, Identity, Metadata, TopicMetadata,
    },
};

const CREATE_TIMEOUT_MS: i32 = 20_000;
/// The resource type of topics in DescribeConfigs.
const TOPIC_RESOURCE: i8 = 2;
/// Cluster's own default for partitions' copies; brokers from 2.4 on know it.
const DEFAULT_REPLICATION: i16 = -1;
const UNSUPPORTED_VERSION: i16 = 35;

/// The connection for questions, and whom to try next.
pub(crate) struct ControlLink {
    bootstrap: Vec<String>,
    connection: Option<Connection>,
    /// Brokers that metadata named; tried when the bootstrap list does not answer.
    known: Vec<Broker>,
    next: usize,
}

impl ControlLink {
    pub fn new(bootstrap: Vec<String>) -> Self {
        Self {
            bootstrap,
            connection: None,
            known: Vec::new(),
            next: 0,
        }
    }

    /// Asks; a connection that has gone stale is made anew once.
    pub async fn ask(&mut self, dialer: &Dialer, question: &Control) -> ControlAnswer {
        if matches!(question, Control::Metadata { elsewhere, .. } if *elsewhere) {
            self.connection = None;
            self.next = self.next.wrapping_add(1);
        }
        let reused = self.connection.is_some();
        match self.try_ask(dialer, question).await {
            Err(error) if reused && error.stage == Stage::Broken => {
                self.try_ask(dialer, question).await
            }
            other => other,
        }
        .unwrap_or_else(ControlAnswer::Failed)
    }

    async fn try_ask(
        &mut self,
        dialer: &Dialer,
        question: &Control,
    ) -> Result<ControlAnswer, ConnectError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial(dialer).await?,
        };
        let answer = match question {
            Control::Metadata { topics, .. } => metadata(&mut connection, topics).await?,
            Control::InitProducerId => producer_id(&mut connection).await?,
            Control::CreateTopics { topics } => {
                create(&mut connection, topics, self.known.len()).await?
            }
            Control::DescribeConfigs { topics } => describe(&mut connection, topics).await?,
        };
        if let ControlAnswer::Metadata(metadata) = &answer {
            self.known = metadata.brokers.clone();
        }
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Connects to the next address of the list, or to another; tells what came furthest if none
    /// answers.
    async fn dial(&mut self, dialer: &Dialer) -> Result<Connection, ConnectError> {
        let mut addresses = Vec::new();
        for address in &self.bootstrap {
            let parsed = split_host_port(address);
            addresses.push(parsed.map_err(|e| ConnectError::new(Stage::Dns, address, e))?);
        }
        for broker in &self.known {
            let known = (broker.host.clone(), broker.port);
            if !addresses.contains(&known) {
                addresses.push(known);
            }
        }
        let mut failure: Option<ConnectError> = None;
        for step in 0..addresses.len() {
            let (host, port) = &addresses[self.next.wrapping_add(step) % addresses.len()];
            match dialer.dial(host, *port).await {
                Ok(connection) => {
                    self.next = self.next.wrapping_add(step) % addresses.len();
                    return Ok(connection);
                }
                Err(error) => {
                    let further = |known: &ConnectError| known.is_early() && !error.is_early();
                    if failure.as_ref().is_none_or(further) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| ConnectError::new(Stage::Dns, "", "no bootstrap address")))
    }
}

async fn metadata(to: &mut Connection, topics: &[String]) -> Result<ControlAnswer, ConnectError> {
    let version = to.version::<MetadataRequest>(12)?;
    let named = topics
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(name.clone().into())));
    let request = MetadataRequest::default()
        .with_topics(Some(named.collect()))
        .with_allow_auto_topic_creation(false);
    let answer = to.call(version, &request).await?;
    // Top-level errors are rare (version 13 on); a cluster without brokers cannot be used.
    if answer.brokers.is_empty() {
        let reason = "the cluster names no brokers".to_owned();
        return Err(ConnectError::new(Stage::Protocol, &to.address, reason));
    }
    Ok(ControlAnswer::Metadata(plain(answer)))
}

fn plain(answer: MetadataResponse) -> Metadata {
    let broker = |b: kafka_wire::protocol::MetadataResponseBroker| {
        Some(Broker {
            node: b.node_id,
            host: b.host.to_string(),
            port: u16::try_from(b.port).ok()?,
        })
    };
    let topic = |t: kafka_wire::protocol::MetadataResponseTopic| {
        let leaders = t.partitions.iter().filter_map(|p| {
            let leader = (p.leader_id >= 0).then_some(p.leader_id);
            Some((u32::try_from(p.partition_index).ok()?, leader))
        });
        Some(TopicMetadata {
            name: t.name?.to_string(),
            error_code: t.error_code,
            leaders: leaders.collect(),
        })
    };
    Metadata {
        brokers: answer.brokers.into_iter().filter_map(broker).collect(),
        topics: answer.topics.into_iter().filter_map(topic).collect(),
    }
}

async fn producer_id(to: &mut Connection) -> Result<ControlAnswer, ConnectError> {
    let Some(version) = to.versions.pick::<InitProducerIdRequest>(4) else {
        return Ok(ControlAnswer::ProducerId(Err(UNSUPPORTED_VERSION)));
    };
    let request = InitProducerIdRequest::default()
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(-1)
        .with_producer_epoch(-1);
    let answer = to.call(version, &request).await?;
    Ok(ControlAnswer::ProducerId(match answer.error_code {
        0 => Ok(Identity {
            producer_id: answer.producer_id,
            epoch: answer.producer_epoch,
        }),
        code => Err(code),
    }))
}

async fn create(
    to: &mut Connection,
    topics: &[(String, u32)],
    brokers: usize,
) -> Result<ControlAnswer, ConnectError> {
    let version = to.version::<CreateTopicsRequest>(7)?;
    // Before version 4 the cluster's default cannot be asked for.
    let replication = if version >= 4 {
        DEFAULT_REPLICATION
    } else {
        brokers.clamp(1, 3) as i16
    };
    let wanted = topics.iter().map(|(name, partitions)| {
        CreatableTopic::default()
            .with_name(name.clone().into())
            .with_num_partitions(*partitions as i32)
            .with_replication_factor(replication)
    });
    let request = CreateTopicsRequest::default()
        .with_topics(wanted.collect())
        .with_timeout_ms(CREATE_TIMEOUT_MS);
    let answer = to.call(version, &request).await?;
    let results = answer.topics.into_iter().map(|topic| CreateAnswer {
        name: topic.name.to_string(),
        error_code: topic.error_code,
        error_message: topic.error_message.map(|text| text.to_string()),
    });
    Ok(ControlAnswer::Created(results.collect()))
}

async fn describe(to: &mut Connection, topics: &[String]) -> Result<ControlAnswer, ConnectError> {
    let unknown = || topics.iter().map(|name| (name.clone(), None)).collect();
    let Some(version) = to.versions.pick::<DescribeConfigsRequest>(4) else {
        return Ok(ControlAnswer::Configs(unknown()));
    };
    let resources = topics.iter().map(|name| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(name.clone().into())
            .with_configuration_keys(Some(vec!["max.message.bytes".to_owned().into()]))
    });
    let request = DescribeConfigsRequest::default().with_resources(resources.collect());
    let answer = to.call(version, &request).await?;
    let mut limits: Vec<(String, Option<usize>)> = unknown();
    for result in &answer.results {
        let found = limits
            .iter_mut()
            .find(|(name, _)| *name == result.resource_name.as_str());
        if let Some((name, limit)) = found {
            *limit = limit_of(result);
            if result.error_code != 0 {
                let code = ErrorCode(result.error_code);
                log::debug!("central does not tell max.message.bytes of {name}: {code}");
            }
        }
    }
    Ok(ControlAnswer::Configs(limits))
}

fn limit_of(result: &DescribeConfigsResult) -> Option<usize> {
    let config = result
        .configs
        .iter()
        .find(|c| c.name.as_str() == "max.message.bytes")?;
    config.value.as_ref()?.as_str().parse().ok()
}
