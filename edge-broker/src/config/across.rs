//! What no single key can be wrong about: keys that do not fit each other.
//!
//! Called when every value by itself is allowed; finds all that is wrong, each with its line.

use std::collections::BTreeSet;
use std::path::Path;

use bridge::{BridgeConfig, StartError};

use super::{Config, Disk, Place, Problem, site_config};

impl Config {
    /// Every contradiction; empty is good.
    pub(super) fn across(&self, place: &Place<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.central.validate() {
            let text = format!("{} {}", error.key, error.reason);
            problems.push(place.problem(&error.key, text));
        }
        problems.extend(self.routes(place));
        problems.extend(self.listeners(place));
        problems.extend(self.stores(place));
        problems
    }

    /// Each route by itself, then all together.
    fn routes(&self, place: &Place<'_>) -> Vec<Problem> {
        let alone = |at: usize| BridgeConfig {
            routes: vec![self.bridge.routes[at].clone()],
            ..self.bridge.clone()
        };
        let problems: Vec<Problem> = (0..self.bridge.routes.len())
            .filter_map(|at| Some((at, alone(at).check().err()?)))
            .map(|(at, error)| self.route_problem(&error, at, place))
            .collect();
        if !problems.is_empty() {
            return problems;
        }
        let error = self.bridge.check().err();
        let problem = error.map(|error| self.route_problem(&error, 0, place));
        problem.into_iter().collect()
    }

    /// `at`: the route that was checked alone.
    fn route_problem(&self, error: &StartError, at: usize, place: &Place<'_>) -> Problem {
        let number = |filter: &str| {
            let routes = &self.bridge.routes;
            routes.iter().rposition(|route| route.filter == filter)
        };
        let key = match error {
            StartError::Config { key, .. } => key.replacen("route[0]", &format!("route[{at}]"), 1),
            StartError::RouteConflict { second, .. } => {
                format!("route[{}].filter", number(&second.0).unwrap_or(at))
            }
            StartError::Bind { .. } => "mqtt.listener".into(),
        };
        let text = error.to_string();
        let text = text.replacen("route[0]", &format!("route[{at}]"), 1);
        place.problem(&key, text)
    }

    fn listeners(&self, place: &Place<'_>) -> Vec<Problem> {
        let mut known = BTreeSet::new();
        let listeners = self.bridge.mqtt.listener.iter().enumerate();
        let twice = listeners.filter(|(_, one)| {
            // Port 0 is another port each time.
            !one.address.ends_with(":0") && !known.insert(one.address.as_str())
        });
        let problem = |(at, _): (usize, _)| {
            let key = format!("mqtt.listener[{at}].address");
            let text = format!("{key} is the address of an earlier listener: leave one out");
            place.problem(&key, text)
        };
        twice.map(problem).collect()
    }

    fn stores(&self, place: &Place<'_>) -> Vec<Problem> {
        let storage = &self.storage;
        let mut problems = Vec::new();
        if storage.dir == Path::new("") {
            let text = "storage.dir is empty: name a folder, or \"auto\"";
            problems.push(place.problem("storage.dir", text.into()));
        }
        if storage.commit_interval_ms_relaxed < storage.commit_interval_ms_max {
            let text = "storage.commit_interval_ms_relaxed is below commit_interval_ms_max: QoS 0 \
                        would be committed before QoS 1";
            problems.push(place.problem("storage.commit_interval_ms_relaxed", text.into()));
        }
        if storage
            .bytes_max
            .is_some_and(|bytes| bytes < 4 * storage.slice_bytes)
        {
            let text = "storage.bytes_max is too small: it must hold four slices \
                        (storage.slice_bytes) at least";
            problems.push(place.problem("storage.bytes_max", text.into()));
        }
        // How large the disk is makes no difference to memory.
        let site = site_config(self, &Disk { bytes: 0 });
        if let Some(shortage) = site.ok().and_then(|site| site.memory_shares().err()) {
            problems.push(place.problem("memory.bytes_max", shortage.to_string()));
        }
        problems
    }
}
