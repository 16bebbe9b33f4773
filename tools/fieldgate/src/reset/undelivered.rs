//! How many events wait in the queue to the hub: what a reset would lose.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::install::{APPLIANCE, Outline};
use crate::metrics::Samples;
use crate::secrets::Kubectl;

const METRIC: &str = "fieldgate_iothub_module_queued_events";
const POD: &str = "jsonpath={.items[0].metadata.name}";
/// A device that does not answer is reset all the same.
const DEADLINE: Duration = Duration::from_secs(10);

/// The events that the hub has not confirmed, as iothub-module says; none without that module. The queue's file cannot be asked: the module
/// holds it alone.
pub(super) fn count() -> Result<Option<u64>> {
    let outline = Outline::load(std::path::Path::new(APPLIANCE))?;
    if !outline.modules().iter().any(|name| name == "iothub-module") {
        return Ok(None);
    }
    let kubectl = Kubectl::new(None, None)?;
    crate::runtime()?
        .block_on(ask(&kubectl, &outline.namespace))
        .map(Some)
}

async fn ask(kubectl: &Kubectl, namespace: &str) -> Result<u64> {
    let find = [
        "--namespace",
        namespace,
        "get",
        "pods",
        "--selector",
        "fieldgate.io/module=iothub-module",
        "--output",
        POD,
    ];
    let pod = kubectl.run_for(&find, DEADLINE).await?;
    // Its first port is that of the metrics.
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{}/proxy/metrics",
        pod.trim()
    );
    let text = kubectl.run_for(&["get", "--raw", &path], DEADLINE).await?;
    read(&text).context("iothub-module does not say how many events it holds")
}

fn read(metrics: &str) -> Option<u64> {
    let count = Samples::parse(metrics).sum(METRIC)?;
    // As text: a number of events has no fraction.
    format!("{count:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_module_says_how_many() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("kubectl");
        std::fs::write(
            &program,
            format!(
                "#!/bin/sh\ncase \"$*\" in\n  *pods*iothub-module*name*) echo iothub-module-7f ;;\n  *'--raw /api/v1/namespaces/plant/pods/iothub-module-7f/proxy/metrics') printf '# x\\n{METRIC} 41\\n{METRIC}_other 3\\n' ;;\n  *) exit 1 ;;\nesac\n"
            ),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let kubectl = Kubectl::new(program.to_str(), None).unwrap();
        assert_eq!(ask(&kubectl, "plant").await.unwrap(), 41);
        assert_eq!(read("other 1\n"), None);
    }
}
