//! Runs the links of the configuration in force, and changes over to another one without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::configuration::{Configuration, Device, Group, Link};
use crate::link::{LinkTask, Outlets};
use crate::link_commands::{LinkCommand, QUEUE};
use crate::scheduler::Schedule;
use crate::stream::{Counters, Source, Stream};

/// What commands need of the configuration in force.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// The configuration.
    pub configuration: Arc<Configuration>,
    /// Where each link takes commands.
    pub links: BTreeMap<String, mpsc::Sender<LinkCommand>>,
}

/// The links that run.
#[derive(Debug)]
pub struct Engine {
    source: Source,
    outlets: Outlets,
    counters: Counters,
    configuration: Arc<Configuration>,
    links: BTreeMap<String, RunningLink>,
    in_force: watch::Sender<InForce>,
}

#[derive(Debug)]
struct RunningLink {
    stop: CancellationToken,
    task: JoinHandle<()>,
    commands: mpsc::Sender<LinkCommand>,
}

impl Engine {
    /// Runs nothing yet.
    pub fn new(source: Source, outlets: Outlets) -> Self {
        Self {
            source,
            outlets,
            counters: Counters::default(),
            configuration: Arc::default(),
            links: BTreeMap::new(),
            in_force: watch::Sender::default(),
        }
    }

    /// What is in force, now and later.
    pub fn in_force(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Changes over to `configuration`. Links that stay as they are, with all their devices and groups, keep running;
    /// the others are stopped (a request in flight is given up) before their successors start, so that no stream's
    /// sequence ever goes back.
    pub async fn apply(&mut self, configuration: Arc<Configuration>) {
        let old = std::mem::replace(&mut self.configuration, Arc::clone(&configuration));
        let changed: Vec<String> = self
            .links
            .keys()
            .filter(|name| !is_same(&old, &configuration, name))
            .cloned()
            .collect();
        let stopping: Vec<RunningLink> = changed
            .iter()
            .filter_map(|name| self.links.remove(name))
            .collect();
        stop(stopping).await;

        let states = &self.outlets.states;
        states.retain(|name| configuration.device(name).is_some());
        let start = Instant::now();
        for link in &configuration.links {
            if !self.links.contains_key(&link.name) {
                let running = self.start(&configuration, link, start);
                self.links.insert(link.name.clone(), running);
            }
        }
        let links = self
            .links
            .iter()
            .map(|(name, link)| (name.clone(), link.commands.clone()))
            .collect();
        self.in_force.send_replace(InForce {
            configuration,
            links,
        });
    }

    /// Stops every link.
    pub async fn stop(&mut self) {
        stop(std::mem::take(&mut self.links).into_values()).await;
    }

    fn start(&self, configuration: &Configuration, link: &Link, start: Instant) -> RunningLink {
        let devices = devices_of(configuration, link);
        let mut streams = Vec::new();
        let mut periods = Vec::new();
        for (position, device) in devices.iter().enumerate() {
            self.outlets.states.add(&device.name, &link.name);
            for group in configuration.groups_of(&device.name) {
                let stream = Stream::new(&self.source, position, device, group, &self.counters);
                streams.push(stream);
                periods.push(group.period.get());
            }
        }
        let (commands, receiver) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        tracing::info!(
            link = link.name,
            devices = devices.len(),
            streams = streams.len(),
            "link started"
        );
        let task = LinkTask::new(
            link.clone(),
            &devices,
            streams,
            Schedule::new(start, periods),
            receiver,
            stop.clone(),
            self.outlets.clone(),
        );
        RunningLink {
            stop,
            task: tokio::spawn(task.run()),
            commands,
        }
    }
}

/// All at once: each may have to wait for a write it began, for as long as its link's timeout.
async fn stop(links: impl IntoIterator<Item = RunningLink>) {
    let links: Vec<RunningLink> = links.into_iter().collect();
    for link in &links {
        link.stop.cancel();
    }
    for link in links {
        if let Err(error) = link.task.await {
            tracing::error!(%error, "a link's task failed");
        }
    }
}

fn devices_of<'a>(configuration: &'a Configuration, link: &Link) -> Vec<&'a Device> {
    configuration
        .devices
        .iter()
        .filter(|device| device.link == link.name)
        .collect()
}

/// Whether a link, its devices and what is read of them are the same in both configurations.
fn is_same(old: &Configuration, new: &Configuration, name: &str) -> bool {
    let link = |configuration: &'_ Configuration| {
        let links = &configuration.links;
        links.iter().find(|link| link.name == name).cloned()
    };
    let (Some(old_link), Some(new_link)) = (link(old), link(new)) else {
        return false;
    };
    let devices = devices_of(old, &old_link);
    old_link == new_link
        && devices == devices_of(new, &new_link)
        && devices.iter().all(|device| {
            let old = old.groups_of(&device.name);
            old.map(|group| read_of(group))
                .eq(new.groups_of(&device.name).map(|group| read_of(group)))
        })
}

/// What of a group matters to one device.
fn read_of(group: &Group) -> impl PartialEq + '_ {
    (&group.name, group.period, &group.tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Publish;
    use module_runtime::load_str;

    fn configuration(period: &str, groups_devices: &str) -> Configuration {
        let text = format!(
            "links: [{{name: a, tcp: {{host: h}}}}, {{name: b, tcp: {{host: h}}}}]\n\
             devices: [{{name: a-1, link: a}}, {{name: b-1, link: b}}]\n\
             groups:\n\
             - {{name: g, devices: [{groups_devices}], period: 1s, tags: [{{name: t, table: coil, address: 1}}]}}\n\
             - {{name: own, devices: [b-1], period: {period}, tags: [{{name: u, table: coil, address: 2}}]}}\n"
        );
        let loaded = load_str::<Configuration>("test.yaml", &text).unwrap();
        Arc::unwrap_or_clone(loaded.configuration)
    }

    #[test]
    fn only_what_changed_is_restarted() {
        let old = configuration("1s", "a-1, b-1");
        assert!(is_same(&old, &old, "a") && is_same(&old, &old, "b"));
        let period = configuration("2s", "a-1, b-1");
        assert!(is_same(&old, &period, "a") && !is_same(&old, &period, "b"));
        let fewer = configuration("1s", "b-1");
        assert!(!is_same(&old, &fewer, "a") && is_same(&old, &fewer, "b"));
        let mut other = old.clone();
        other.publish = Publish {
            topic: "other".to_owned(),
            ..Publish::default()
        };
        assert!(
            is_same(&old, &other, "a"),
            "publishing is not the links' matter"
        );
        other.links.remove(0);
        assert!(!is_same(&old, &other, "a"));
    }
}
