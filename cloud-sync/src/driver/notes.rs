//! One log line per event of the core.

use crate::forwarder::types::Note;

/// Says it, with the remedy where there is one.
pub(super) fn say(note: &Note) {
    match note {
        Note::Parked {
            topic,
            reason,
            retry_in_ms,
        } => log::warn!(
            "{topic} is parked: {reason}; tried again in {} s, or now by: \
             edge-broker central retry {topic}",
            retry_in_ms / 1000
        ),
        Note::Resumed { topic } => log::info!("{topic} is forwarded again"),
        Note::Created { central_topic } => log::info!("created at central: {central_topic}"),
        // The alarm says it; here are the tries of a hunt for the cause.
        Note::Unreachable(error) => log::debug!("central: {error}; {}", error.hint()),
        Note::Reachable {
            after_ms,
            waiting_records,
        } => log::info!(
            "central answers after {} s; records waiting: {waiting_records}",
            after_ms / 1000
        ),
        Note::NoIdempotence => log::warn!(
            "central refuses idempotent producers: a lost answer repeats records; grant \
             IdempotentWrite on the cluster"
        ),
        Note::AwaitsClock { seconds } => log::info!(
            "the clock is not set yet: records that it stamped wait up to {seconds} s for the \
             right time"
        ),
        Note::Unreadable { tp, reason } => {
            log::warn!("{}[{}] cannot be read: {reason}", tp.topic, tp.partition);
        }
        Note::NewProducer { identity } => {
            log::debug!(
                "producer id {} epoch {}",
                identity.producer_id,
                identity.epoch
            );
        }
        Note::Rewound {
            topic,
            partition,
            reason,
        } => {
            log::info!("{topic}[{partition}] begins a new sequence: {reason}");
        }
        Note::Undecodable {
            topic,
            partition,
            range,
        } => log::warn!(
            "{topic}[{partition}]: records {} to {} cannot be decoded: {}",
            range.from,
            range.next - 1,
            range.reason
        ),
        Note::LettersWait {
            topic,
            partition,
            reason,
        } => log::warn!("{topic}[{partition}]: _dead_letter cannot be written: {reason}"),
        Note::Rejected {
            topic,
            partition,
            offset,
            reason,
        } => {
            log::warn!("{topic}[{partition}]@{offset} is refused by central: {reason}");
        }
    }
}
