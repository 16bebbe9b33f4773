//! The figures of modules: whether they sent events, whether the queue takes some, whether the hub is reached.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;

use super::boot::Boot;
use super::cluster::{Cluster, Pod};
use super::judge::MODULE;
use crate::http::Http;
use crate::metrics::Samples;
use crate::secrets::Kubectl;

const DEADLINE: Duration = Duration::from_secs(10);
/// Where a sidecar has its figures (dapr.io/metrics-port).
const SIDECAR: u16 = 9090;
/// Topics that say nothing about whether a module does its work: its own state, and what it does on request.
const ASIDE: [&str; 4] = ["status", "commands", "config", "deadletter"];

/// Of all ready pods of a module together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Events the broker took from it, since its oldest instance was started; none where nobody counts them.
    pub(crate) events: Option<u64>,
    pub(crate) seconds: u64,
    /// Only of a module with a durable queue.
    pub(crate) queue_writable: Option<bool>,
    /// Only of a module that speaks to the hub.
    pub(crate) hub_connected: Option<bool>,
    /// Why figures are missing.
    pub(crate) error: Option<String>,
}

/// Reads the figures of every module that has a ready pod.
pub(crate) async fn read(
    cluster: &Cluster,
    boot: &Boot,
    kubectl: &Kubectl,
    http: &Http,
    now: OffsetDateTime,
) -> BTreeMap<String, Figures> {
    let here = cluster
        .node_of(&boot.id)
        .map(|node| node.metadata.name.as_str());
    let ready = cluster.pods.iter().filter_map(|pod| {
        let module = pod.metadata.labels.get(MODULE)?;
        pod.is_ready_since(boot.since).then_some((module, pod))
    });
    let reads = ready.map(|(module, pod)| async move {
        let is_here = here == Some(pod.spec.node_name.as_str());
        let source = Source {
            pod,
            is_here,
            kubectl,
            http,
        };
        (module.clone(), of_pod(&source, now).await)
    });
    let mut all: BTreeMap<String, Figures> = BTreeMap::new();
    for (module, figures) in join_all(reads).await {
        let known = all.entry(module).or_default();
        *known = known.joined(figures);
    }
    all
}

struct Source<'a> {
    pod: &'a Pod,
    is_here: bool,
    kubectl: &'a Kubectl,
    http: &'a Http,
}

impl Source<'_> {
    /// The node itself reaches its pods, whatever the policies, without a process for each question; other nodes' by the API server.
    async fn scrape(&self, port: u16) -> anyhow::Result<Samples> {
        let text = if self.is_here {
            let ip = &self.pod.status.pod_ip;
            let host = if ip.contains(':') {
                format!("[{ip}]")
            } else {
                ip.clone()
            };
            let answer = self
                .http
                .get(&format!("http://{host}:{port}/metrics"), DEADLINE)
                .await?;
            String::from_utf8_lossy(&answer).into_owned()
        } else {
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}:{port}/proxy/metrics",
                self.pod.metadata.namespace, self.pod.metadata.name
            );
            self.kubectl
                .run_for(&["get", "--raw", &path], DEADLINE)
                .await?
        };
        Ok(Samples::parse(&text))
    }
}

async fn of_pod(source: &Source<'_>, now: OffsetDateTime) -> Figures {
    let pod = source.pod;
    let started = pod
        .lasting()
        .filter_map(|status| status.state.running.as_ref())
        .map(|running| running.started_at)
        .min();
    let seconds = started.map_or(0, |started| (now - started).whole_seconds());
    let mut figures = Figures {
        seconds: u64::try_from(seconds).unwrap_or(0),
        ..Figures::default()
    };
    let own = pod.spec.containers.iter().flat_map(|one| &one.ports);
    let mut own = own.filter(|port| port.name == "metrics");
    if let Some(port) = own.next() {
        match source.scrape(port.container_port).await {
            Ok(samples) => of_module(&samples, &mut figures),
            Err(error) => figures.error = Some(format!("{error:#}")),
        }
    }
    if figures.events.is_none() {
        match source.scrape(SIDECAR).await {
            Ok(samples) => figures.events = of_sidecar(&samples),
            Err(error) => figures.error = Some(format!("{error:#}")),
        }
    }
    figures
}

fn of_module(samples: &Samples, figures: &mut Figures) {
    let is_one = |name: &str| samples.sum(name).map(|value| value >= 1.0);
    figures.events = samples
        .sum_where(|name, _| {
            name.starts_with("fieldgate_") && name.ends_with("_published_events_total")
        })
        .map(count);
    figures.queue_writable = is_one("fieldgate_iothub_module_queue_writable");
    figures.hub_connected = is_one("fieldgate_iothub_module_connected");
}

/// Single events, and groups of events, that the broker took from the module by its sidecar.
fn of_sidecar(samples: &Samples) -> Option<u64> {
    samples
        .sum_where(|name, labels| {
            matches!(
                name,
                "dapr_component_pubsub_egress_count" | "dapr_component_pubsub_egress_bulk_count"
            ) && labels.contains("success=\"true\"")
                && !ASIDE
                    .iter()
                    .any(|topic| labels.contains(&format!("topic=\"{topic}\"")))
        })
        .map(count)
}

/// A counter is a float without a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(value: f64) -> u64 {
    value.max(0.0) as u64
}

impl Figures {
    /// With those of another instance: during a change of version there are two.
    fn joined(&self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            events: sum(self.events, other.events),
            seconds: self.seconds.max(other.seconds),
            queue_writable: self.queue_writable.max(other.queue_writable),
            hub_connected: self.hub_connected.max(other.hub_connected),
            error: self.error.clone().or(other.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_own_figures() {
        let mut figures = Figures::default();
        of_module(
            &Samples::parse(
                "fieldgate_iothub_module_connected 1\nfieldgate_iothub_module_queue_writable 0\n",
            ),
            &mut figures,
        );
        assert_eq!(
            (figures.hub_connected, figures.queue_writable),
            (Some(true), Some(false))
        );
        assert_eq!(figures.events, None, "its sidecar is asked");
        let reader = Samples::parse(
            "fieldgate_modbus_reader_events_total 9\nfieldgate_modbus_reader_published_events_total 7\n",
        );
        of_module(&reader, &mut figures);
        assert_eq!(figures.events, Some(7));
    }

    #[test]
    fn a_sidecar_counts_what_the_broker_took_and_not_the_modules_status() {
        let samples = Samples::parse(concat!(
            "# TYPE dapr_component_pubsub_egress_count counter\n",
            "dapr_component_pubsub_egress_count{app_id=\"w\",component=\"w-pubsub\",namespace=\"fieldgate\",success=\"true\",topic=\"status\"} 12\n",
            "dapr_component_pubsub_egress_count{app_id=\"w\",component=\"w-pubsub\",namespace=\"fieldgate\",success=\"false\",topic=\"telemetry\"} 3\n",
            "dapr_component_pubsub_egress_count{app_id=\"w\",component=\"w-pubsub\",namespace=\"fieldgate\",success=\"true\",topic=\"telemetry\"} 5\n",
            "dapr_component_pubsub_egress_bulk_count{app_id=\"w\",component=\"w-pubsub\",namespace=\"fieldgate\",success=\"true\",topic=\"alarms\"} 2\n",
        ));
        assert_eq!(of_sidecar(&samples), Some(7));
        assert_eq!(of_sidecar(&Samples::parse("up 1\n")), None);
    }
}
