//! Keeps the state of every port up to date.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::figures;
use crate::path_watch::PathWatch;
use crate::plug::{Plug, inspect};

/// Every port of the document, by name.
pub type PortStates = BTreeMap<String, PortState>;

/// One port and what is at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortState {
    /// As configured.
    pub path: PathBuf,
    /// What is there.
    pub plug: Plug,
}

/// Looks at the ports whenever something changes on the way to them, or in the document, and every `poll`.
pub async fn watch_ports(
    mut configuration: watch::Receiver<Arc<Configuration>>,
    states: watch::Sender<Arc<PortStates>>,
    poll: Duration,
    stop: CancellationToken,
) {
    let mut watch = PathWatch::new(poll);
    loop {
        let current = Arc::clone(&configuration.borrow_and_update());
        let paths = current.ports.iter().map(|port| port.path.as_path());
        watch.arm(paths);
        let next: PortStates = current
            .ports
            .iter()
            .map(|port| {
                let state = PortState {
                    path: port.path.clone(),
                    plug: inspect(&port.path),
                };
                (port.name.clone(), state)
            })
            .collect();
        let before = Arc::clone(&states.borrow());
        if *before != next {
            tell(&before, &next);
            states.send_replace(Arc::new(next));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = configuration.changed() => if changed.is_err() { return },
            () = watch.changed() => {}
        }
    }
}

fn tell(before: &PortStates, now: &PortStates) {
    for (name, state) in now {
        if before.get(name) == Some(state) {
            continue;
        }
        let path = state.path.display();
        match &state.plug {
            Plug::Plugged(node) => {
                tracing::info!(port = name, %path, node = %node.path.display(), number = %node.number, "plugged");
                figures::plugged(name, true);
            }
            Plug::Absent(reason) => {
                tracing::warn!(port = name, %path, %reason, "not plugged");
                figures::plugged(name, false);
            }
        }
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        figures::plugged(name, false);
    }
}
