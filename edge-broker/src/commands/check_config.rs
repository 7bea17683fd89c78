//! `check-config [FILE] [--effective]`: what is wrong with a configuration, or what it comes to.

use std::io::Write;
use std::process::ExitCode;

use super::{print, print_json};
use crate::cli::{CheckConfigArgs, ServeArgs};
use crate::config::{Config, Problem, Source};
use crate::failure::{Exit, Failure};

/// Checks as `serve` would, without starting anything.
pub fn run(args: &CheckConfigArgs) -> Result<ExitCode, Failure> {
    let source = Source::find(args.file.as_deref());
    let flags = ServeArgs {
        common: args.common.clone(),
        ..ServeArgs::default()
    };
    let text = source.read()?;
    match Config::from_text(&text, &source, &flags) {
        Ok(config) => accepted(args, &config),
        Err(refused) if args.common.json => {
            print_json(&answer(&source, &refused.problems, &[]))?;
            Ok(ExitCode::from(Exit::CONFIG))
        }
        Err(refused) => Err(refused.into()),
    }
}

fn accepted(args: &CheckConfigArgs, config: &Config) -> Result<ExitCode, Failure> {
    match (args.effective, args.common.json) {
        (true, true) => print_json(&config.effective_json()),
        (true, false) => print(&config.effective()),
        (false, true) => print_json(&answer(&config.source, &[], &warnings(config))),
        (false, false) => {
            for warning in warnings(config) {
                // A closed stderr leaves nobody to tell.
                let _ = writeln!(std::io::stderr(), "warning: {warning}");
            }
            print(&format!("ok: {}\n", config.source))
        }
    }
}

/// What is no mistake of the file, but will be in the way. Another user may check it than serves.
fn warnings(config: &Config) -> Vec<String> {
    let problems = cloud_sync::check_files(&config.central);
    problems
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

fn answer(source: &Source, problems: &[Problem], warnings: &[String]) -> serde_json::Value {
    serde_json::json!({
        "ok": problems.is_empty(),
        "source": source.to_string(),
        "problems": problems,
        "warnings": warnings,
    })
}
