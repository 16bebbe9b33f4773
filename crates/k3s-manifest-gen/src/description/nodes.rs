//! Which nodes there are, and what has to be on which of them.

use module_runtime::{Problems, path};

use super::Appliance;
use super::check::one_of;
use super::names::is_host;

impl Appliance {
    /// Volumes are folders: without a node for each, a pod could find another folder than it had, or two pods one each.
    pub(super) fn check_nodes(&self, problems: &mut Problems) {
        for (index, node) in self.nodes.iter().enumerate() {
            let at = path!["nodes", index];
            if !is_host(node) {
                problems.add(
                    &at,
                    format!(
                        "{node:?} is no name of a node; write it as `kubectl get nodes` shows it"
                    ),
                );
            }
            if self.nodes.iter().take(index).any(|other| other == node) {
                problems.add(&at, format!("{node} is there twice; give each node once"));
            }
        }
        let replicas = usize::from(self.broker.replicas);
        // An even number is refused as it is.
        let is_number = replicas > 1 && !replicas.is_multiple_of(2);
        if is_number && self.nodes.len() < replicas {
            problems.add(
                path!["broker", "replicas"],
                format!(
                    "{replicas} brokers need {replicas} nodes, and {} under nodes; add them, or take fewer replicas",
                    match self.nodes.len() {
                        0 => "there is none".to_owned(),
                        1 => "there is 1".to_owned(),
                        number => format!("there are {number}"),
                    }
                ),
            );
        }
        let known: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        for (name, module) in &self.modules {
            if let Some(node) = &module.node
                && !self.nodes.contains(node)
            {
                problems.add(
                    path!["modules", name, "node"],
                    format!(
                        "there is no node {node}; {}",
                        one_of("the nodes are", &known, "list it under nodes")
                    ),
                );
            }
        }
    }
}
