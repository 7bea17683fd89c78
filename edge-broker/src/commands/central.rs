//! `central retry TOPIC`.

use std::process::ExitCode;

use super::{print, print_json};
use crate::admin::api::{Named, path};
use crate::admin::client::Gateway;
use crate::cli::CentralCommand;
use crate::failure::Failure;

/// Tries a parked topic again now.
pub fn run(command: &CentralCommand) -> Result<ExitCode, Failure> {
    let CentralCommand::Retry { common, topic } = command;
    let done: Named = Gateway::find(common)?.ask(
        path::RETRY,
        &Named {
            topic: topic.clone(),
        },
    )?;
    if common.json {
        return print_json(&done);
    }
    print(&format!(
        "{}: tried again now; see edge-broker status\n",
        done.topic
    ))
}
