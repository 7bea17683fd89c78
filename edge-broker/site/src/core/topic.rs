//! Topic operations: checked here, done by a control entry, answered when that is committed.

use std::collections::HashMap;
use std::sync::Arc;

use edge_log::{TopicId, TopicPartition};

use super::{Output, PendingControl, SiteCore, TopicOp};
use crate::append::Now;
use crate::control::Control;
use crate::error::{Refused, TopicError};
use crate::ledger::LossCause;
use crate::state::{Applied, State};
use crate::topics::{
    CleanupPolicy, PARTITIONS_MAX, Topic, TopicConfig, TopicTable, check_topic_name,
};

/// The table that doors see.
pub(super) fn table(state: &State) -> TopicTable {
    let topics = state.topics.iter().map(|(&id, topic)| {
        Arc::new(Topic {
            id,
            name: Arc::from(topic.name.as_str()),
            partitions: topic.partitions.len() as u32,
            config: topic.config.clone(),
        })
    });
    let by_id: HashMap<_, _> = topics.map(|topic| (topic.id, topic)).collect();
    let by_name = by_id
        .values()
        .map(|topic| (topic.name.clone(), topic.clone()))
        .collect();
    TopicTable { by_name, by_id }
}

/// Settings of the gateway's own topics: state kept as records stays until it is replaced.
fn internal_config(name: &str, defaults: &TopicConfig) -> TopicConfig {
    let mut config = TopicConfig {
        forward: false,
        ..defaults.clone()
    };
    if name != "_dead_letter" {
        config.cleanup_policy = CleanupPolicy::Compact;
        config.retention_ms = -1;
        config.retention_bytes = -1;
    }
    config
}

/// Draws topic ids: random ones of 122 bits, because nobody remembers those of deleted topics.
pub(super) struct Ids {
    high: fastrand::Rng,
    low: fastrand::Rng,
}

impl Ids {
    /// A generator knows 64 bits, so each half of an id has its own half of the seed.
    pub(super) fn new(seed: u128) -> Ids {
        Ids {
            high: fastrand::Rng::with_seed((seed >> 64) as u64),
            low: fastrand::Rng::with_seed(seed as u64),
        }
    }

    fn draw(&mut self) -> TopicId {
        let bits = u128::from(self.high.u64(..)) << 64 | u128::from(self.low.u64(..));
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

impl<T> SiteCore<T> {
    /// Does something with topics; answered by [`Output::TopicDone`].
    pub fn handle_topic(&mut self, now: Now, ticket: T, op: TopicOp) {
        match self.topic_op(op) {
            Ok(Planned::Done(topic)) => {
                self.out.push_back(Output::TopicDone {
                    ticket,
                    outcome: Ok(topic),
                });
            }
            Ok(Planned::Control(control)) => {
                self.controls.push_back(PendingControl {
                    control,
                    waiters: vec![ticket],
                });
            }
            Ok(Planned::Join(id)) => self.join(ticket, id),
            Err(error) => self.out.push_back(Output::TopicDone {
                ticket,
                outcome: Err(error),
            }),
        }
        let _ = now;
    }

    fn topic_op(&mut self, op: TopicOp) -> Result<Planned, TopicError> {
        if let TopicOp::Ensure { name, .. } = &op {
            if let Some(topic) = self.table.get(name) {
                return Ok(Planned::Done(Some(topic.clone())));
            }
            if let Some(&id) = self.creating.get(name) {
                return Ok(Planned::Join(id));
            }
        }
        if self.stopping {
            return Err(Refused::Stopping.into());
        }
        if self.halted.is_some() {
            return Err(Refused::ReadOnly.into());
        }
        if !self.leads && !self.alone {
            return Err(Refused::NotLeader.into());
        }
        match op {
            TopicOp::Ensure { name, settings } => {
                if !self.config.site.auto_create && !name.starts_with('_') {
                    return Err(TopicError::Unknown(name));
                }
                self.create(name, None, &settings)
            }
            TopicOp::Create {
                name,
                partitions,
                settings,
            } => self.create(name, partitions, &settings),
            TopicOp::Alter {
                name,
                partitions,
                settings,
            } => self.alter(&name, partitions, &settings),
            TopicOp::Delete { name } => self.delete(&name),
            TopicOp::Trim { tp, start } => self.trim(tp, start),
        }
    }

    fn create(
        &mut self,
        name: String,
        partitions: Option<u32>,
        settings: &std::collections::BTreeMap<String, String>,
    ) -> Result<Planned, TopicError> {
        check_topic_name(&name)?;
        if self.table.get(&name).is_some() || self.creating.contains_key(&name) {
            return Err(TopicError::Exists(name));
        }
        let site = &self.config.site;
        let internal = name.starts_with('_');
        let ordinary = self
            .table
            .iter()
            .filter(|topic| !topic.is_internal())
            .count();
        let coming = self
            .creating
            .keys()
            .filter(|name| !name.starts_with('_'))
            .count();
        if !internal && ordinary + coming >= site.topics_count_max {
            return Err(TopicError::TooMany {
                count_max: site.topics_count_max,
            });
        }
        let default = if internal { 1 } else { site.partitions_default };
        let partitions = partitions.unwrap_or(default);
        check_partitions(partitions, 1)?;
        let mut config = match internal {
            true => internal_config(&name, &site.topic_defaults),
            false => site.topic_defaults.clone(),
        };
        config.set_all(settings)?;
        let id = self.ids.draw();
        self.creating.insert(name.clone(), id);
        Ok(Planned::Control(Control::TopicCreated {
            id,
            name,
            partitions,
            config,
        }))
    }

    fn alter(
        &mut self,
        name: &str,
        partitions: Option<u32>,
        settings: &std::collections::BTreeMap<String, String>,
    ) -> Result<Planned, TopicError> {
        let topic = self.existing(name)?;
        let partitions = partitions.unwrap_or(topic.partitions);
        check_partitions(partitions, topic.partitions)?;
        let mut config = topic.config.clone();
        config.set_all(settings)?;
        Ok(Planned::Control(Control::TopicAltered {
            id: topic.id,
            partitions,
            config,
        }))
    }

    fn delete(&mut self, name: &str) -> Result<Planned, TopicError> {
        let topic = self.existing(name)?;
        // From here on no frame may hold its records, or they would apply to nothing.
        self.deleting.push(topic.id);
        let missed = self.config.site.forwarding && topic.config.forward;
        let loss = missed.then_some(LossCause::TopicDeleted);
        Ok(Planned::Control(Control::TopicDeleted {
            id: topic.id,
            loss,
        }))
    }

    fn trim(&mut self, tp: TopicPartition, start: i64) -> Result<Planned, TopicError> {
        if self.state.partition(tp).is_none() {
            return Err(TopicError::Unknown(tp.topic.to_string()));
        }
        let control = Control::StartsMoved {
            starts: vec![(tp, start)],
            loss: None,
        };
        Ok(Planned::Control(control))
    }

    fn existing(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        match self.table.get(name) {
            Some(topic) if !self.deleting.contains(&topic.id) => Ok(topic.clone()),
            _ => Err(TopicError::Unknown(name.to_owned())),
        }
    }

    /// What became of an operation whose control entry is applied.
    pub(super) fn outcome_of(
        &self,
        id: TopicId,
        applied: &Applied,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        let ignored = applied.not_created.iter().find(|(other, _)| *other == id);
        match ignored {
            None => Ok(self.table.by_id(id).cloned()),
            Some((_, name)) if self.table.get(name).is_some() => {
                Err(TopicError::Exists(name.clone()))
            }
            Some((_, name)) => Err(TopicError::IdTaken(name.clone())),
        }
    }

    /// Waits for a creation that is under way already.
    fn join(&mut self, ticket: T, id: TopicId) {
        let creates = |c: &&mut PendingControl<T>| match c.control {
            Control::TopicCreated { id: other, .. } => other == id,
            _ => false,
        };
        if let Some(pending) = self.controls.iter_mut().find(creates) {
            return pending.waiters.push(ticket);
        }
        let proposed = |frame: &&mut super::Inflight<T>| frame.topics.iter().any(|t| t.1 == id);
        match self.inflight.values_mut().find(proposed) {
            Some(frame) => frame.topics.push((ticket, id)),
            None => {
                let outcome = Err(TopicError::Refused(Refused::NotLeader));
                self.out.push_back(Output::TopicDone { ticket, outcome });
            }
        }
    }
}

enum Planned {
    Done(Option<Arc<Topic>>),
    Control(Control),
    Join(TopicId),
}

fn check_partitions(partitions: u32, partitions_min: u32) -> Result<(), TopicError> {
    match (partitions_min..=PARTITIONS_MAX).contains(&partitions) {
        true => Ok(()),
        false => Err(TopicError::InvalidPartitions {
            partitions,
            partitions_min,
        }),
    }
}
