//! Nodes, workloads and pods as the API server lists them: what the checks need of them, and nothing that must be there.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;

pub(crate) type Labels = BTreeMap<String, String>;

/// One answer of the API server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) pods: Vec<Pod>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) generation: u64,
    pub(crate) deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) metadata: Metadata,
    pub(crate) status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    pub(crate) node_info: NodeInfo,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeInfo {
    #[serde(rename = "bootID")]
    pub(crate) boot_id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// A Deployment or StatefulSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Workload {
    pub(crate) kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: WorkloadSpec,
    pub(crate) status: WorkloadStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadSpec {
    pub(crate) replicas: Option<u32>,
    pub(crate) selector: Selector,
    pub(crate) template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) match_labels: Labels,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Template {
    pub(crate) spec: PodSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WorkloadStatus {
    pub(crate) observed_generation: u64,
    pub(crate) updated_replicas: u32,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: PodSpec,
    pub(crate) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) node_name: String,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
    pub(crate) container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    pub(crate) running: Option<Running>,
    pub(crate) waiting: Option<Why>,
    pub(crate) terminated: Option<Why>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Running {
    #[serde(rename = "startedAt", with = "time::serde::rfc3339")]
    pub(crate) started_at: OffsetDateTime,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Why {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) exit_code: Option<i32>,
}

impl Cluster {
    /// What `kubectl get nodes,deployments,statefulsets,pods --all-namespaces --output json` wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Value>,
        }
        let list: List = serde_json::from_str(text).context("what kubectl listed")?;
        let mut cluster = Self::default();
        for item in list.items {
            match item["kind"].as_str().unwrap_or_default() {
                "Node" => cluster.nodes.push(read(item)?),
                "Deployment" | "StatefulSet" => cluster.workloads.push(read(item)?),
                "Pod" => cluster.pods.push(read(item)?),
                _ => {}
            }
        }
        Ok(cluster)
    }

    /// The node that runs this boot of this machine.
    pub(crate) fn node_of(&self, boot_id: &str) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.status.node_info.boot_id == boot_id)
    }
}

impl Workload {
    /// As people write it: `deployment/modbus-reader`.
    pub(crate) fn words(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.metadata.name)
    }

    pub(crate) fn images(&self) -> Vec<&str> {
        let containers = &self.spec.template.spec.containers;
        containers.iter().map(|one| one.image.as_str()).collect()
    }

    pub(crate) fn has(&self, pod: &Pod) -> bool {
        let selector = &self.spec.selector.match_labels;
        pod.metadata.namespace == self.metadata.namespace
            && !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
    }
}

impl Pod {
    /// Every container that runs for as long as the pod does, sidecars that are init containers included.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = &ContainerStatus> {
        let sidecar = |status: &&ContainerStatus| {
            self.spec.init_containers.iter().any(|container| {
                container.name == status.name
                    && container.restart_policy.as_deref() == Some("Always")
            })
        };
        self.status
            .init_container_statuses
            .iter()
            .filter(sidecar)
            .chain(&self.status.container_statuses)
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.kind == kind)
    }

    /// Ready, by containers that were started after `since`.
    pub(crate) fn is_ready_since(&self, since: OffsetDateTime) -> bool {
        let started = |status: &ContainerStatus| {
            let running = status.state.running.as_ref();
            running.is_some_and(|running| running.started_at > since)
        };
        self.metadata.deletion_timestamp.is_none()
            && self
                .condition("Ready")
                .is_some_and(|condition| condition.status == "True")
            && self.lasting().next().is_some()
            && self.lasting().all(started)
    }
}

fn read<T: DeserializeOwned>(item: Value) -> Result<T> {
    let name = format!("{} {}", item["kind"], item["metadata"]["name"]);
    serde_json::from_value(item).with_context(|| format!("what kubectl listed of {name}"))
}
