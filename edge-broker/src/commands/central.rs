//! `central retry TOPIC`.

use std::process::ExitCode;

use super::{print, print_json};
use crate::admin::api::{Named, Retried, path};
use crate::admin::client::Gateway;
use crate::cli::CentralCommand;
use crate::failure::Failure;

/// Tries a parked topic again now.
pub fn run(command: &CentralCommand) -> Result<ExitCode, Failure> {
    let CentralCommand::Retry { common, topic } = command;
    let done: Retried = Gateway::find(common)?.ask(
        path::RETRY,
        &Named {
            topic: topic.clone(),
        },
    )?;
    if common.json {
        return print_json(&done);
    }
    print(&shown(&done))
}

fn shown(done: &Retried) -> String {
    let what = match done.was_parked {
        true => "tried again now; see edge-broker status",
        false => "not parked, there is nothing to try again; see edge-broker status",
    };
    format!("{}: {what}\n", done.topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_parked_is_not_said_to_be_tried_again() {
        let mut done = Retried {
            topic: "mqtt".into(),
            was_parked: true,
        };
        assert!(shown(&done).contains("tried again now"));
        done.was_parked = false;
        assert!(shown(&done).contains("not parked"));
    }
}
