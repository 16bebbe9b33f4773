//! Whether a workload has its pods, and what keeps them.

use super::boot::Boot;
use super::cluster::{Cluster, Condition, Pod, Workload};

/// Why a workload does not run as it should, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

/// None if every pod that is wanted is ready, in the version that is wanted, by containers of this boot.
pub(crate) fn trouble(workload: &Workload, cluster: &Cluster, boot: &Boot) -> Option<Trouble> {
    let namespace = &workload.metadata.namespace;
    let describe = |what: &str| format!("kubectl -n {namespace} describe {what}");
    let wanted = workload.spec.replicas.unwrap_or(1);
    if workload.status.observed_generation < workload.metadata.generation {
        return Some(Trouble {
            reason: "Kubernetes has not seen its newest version yet".to_owned(),
            remedy: "journalctl -u k3s, if it stays so".to_owned(),
        });
    }
    let pods: Vec<&Pod> = cluster
        .pods
        .iter()
        .filter(|pod| workload.has(pod))
        .collect();
    let ready = pods
        .iter()
        .filter(|pod| pod.is_ready_since(boot.since))
        .count();
    let enough = usize::try_from(wanted).unwrap_or(usize::MAX) <= ready;
    if enough && workload.status.updated_replicas >= wanted {
        return None;
    }
    let count = if enough {
        format!(
            "{} of {wanted} pods have its newest version",
            workload.status.updated_replicas
        )
    } else {
        format!("{ready} of {wanted} pods ready")
    };
    let mut unready = pods
        .iter()
        .filter(|pod| !pod.is_ready_since(boot.since) && pod.metadata.deletion_timestamp.is_none());
    // The newest says most: the others are of the version before.
    let why = unready
        .by_ref()
        .max_by_key(|pod| rank(pod))
        .map(|pod| (why(pod, boot), format!("pod {}", pod.metadata.name)));
    let (why, what) = match why {
        Some((why, what)) => (why, what),
        None => (not_made(workload), workload.words().replace('/', " ")),
    };
    Some(Trouble {
        reason: match why {
            Some(why) => format!("{count}: {why}"),
            None => count,
        },
        remedy: describe(&what),
    })
}

/// A pod that says why comes before one that is only starting.
fn rank(pod: &Pod) -> u8 {
    let stuck = pod.status.init_container_statuses.iter();
    let stuck = stuck.chain(&pod.status.container_statuses).any(|status| {
        status
            .state
            .waiting
            .as_ref()
            .is_some_and(|why| !starting(&why.reason))
            || status.state.terminated.is_some()
    });
    u8::from(stuck)
}

fn starting(reason: &str) -> bool {
    matches!(reason, "ContainerCreating" | "PodInitializing" | "")
}

fn why(pod: &Pod, boot: &Boot) -> Option<String> {
    let statuses = pod.status.init_container_statuses.iter();
    let statuses: Vec<_> = statuses.chain(&pod.status.container_statuses).collect();
    let said = |reason: &str, message: &str| {
        let message = message.lines().next().unwrap_or_default();
        if message.is_empty() {
            reason.to_owned()
        } else {
            format!("{reason}: {message}")
        }
    };
    for status in &statuses {
        if let Some(why) = &status.state.waiting
            && !starting(&why.reason)
        {
            return Some(format!(
                "container {}: {}",
                status.name,
                said(&why.reason, &why.message)
            ));
        }
    }
    for status in &statuses {
        if let Some(why) = &status.state.terminated
            && why.exit_code.is_some_and(|code| code != 0)
        {
            let code = why.exit_code.unwrap_or_default();
            return Some(format!(
                "container {} ended with exit status {code}",
                status.name
            ));
        }
    }
    let failed =
        |condition: &Condition| condition.status == "False" && !condition.message.is_empty();
    if let Some(condition) = pod.condition("PodScheduled").filter(|one| failed(one)) {
        return Some(said(&condition.reason, &condition.message));
    }
    let unready: Vec<&str> = pod
        .lasting()
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if !unready.is_empty() {
        return Some(format!("not ready: {}", unready.join(", ")));
    }
    let old = |started| started <= boot.since;
    pod.lasting()
        .filter_map(|status| status.state.running.as_ref())
        .any(|running| old(running.started_at))
        .then(|| "what is known of it is from before this start".to_owned())
}

fn not_made(workload: &Workload) -> Option<String> {
    let conditions = &workload.status.conditions;
    conditions
        .iter()
        .find(|condition| condition.kind == "ReplicaFailure" && condition.status == "True")
        .map(|condition| format!("{}: {}", condition.reason, condition.message))
}
