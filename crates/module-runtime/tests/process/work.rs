//! The module under test: it journals when it works, and ends as its configuration says.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use module_runtime::{ModuleConfiguration, Problems, Runtime, path};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    level: u8,
    #[serde(default)]
    on_shutdown: OnShutdown,
    /// A line is added to this file when the work begins and when it has ended.
    #[serde(default)]
    journal: Option<PathBuf>,
    /// After the shutdown there is something to flush until this file exists.
    #[serde(default)]
    flushed: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnShutdown {
    #[default]
    Return,
    Hang,
    Fail,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Nothing {}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        if self.level == 13 {
            problems.add(path!["level"], "13 brings bad luck; choose another");
        }
    }
}

impl Configuration {
    fn journal(&self, what: &str) {
        if let Some(path) = &self.journal {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.create(true).append(true).open(path).unwrap();
            writeln!(file, "{what} {}", std::process::id()).unwrap();
        }
    }
}

pub(crate) async fn work(mut runtime: Runtime<Configuration>) -> anyhow::Result<()> {
    let configuration = runtime.configuration.configuration;
    let level = Arc::new(AtomicU8::new(configuration.level));
    let now = Arc::clone(&level);
    runtime
        .commands
        .add("level", "The level in force", move |_: Nothing| {
            std::future::ready(Ok(json!({"level": now.load(Ordering::SeqCst)})))
        });
    let ready = runtime.health.component("work");
    configuration.journal("begin");
    ready.ready();
    let status = runtime.status.data();
    tracing::info!(
        level = configuration.level,
        configuration = status["configuration"]["state"].as_str(),
        "begins"
    );
    loop {
        tokio::select! {
            () = runtime.shutdown.cancelled() => break,
            next = runtime.watch.next() => match next {
                Ok(loaded) => {
                    level.store(loaded.configuration.level, Ordering::SeqCst);
                    tracing::info!(level = loaded.configuration.level, "applied");
                    runtime.status.in_force(&loaded);
                }
                Err(error) => runtime.status.rejected(&error),
            },
        }
    }
    if let Some(flushed) = &configuration.flushed {
        tracing::info!("flushing");
        while !flushed.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    match configuration.on_shutdown {
        OnShutdown::Return => {
            configuration.journal("end");
            Ok(())
        }
        OnShutdown::Hang => std::future::pending().await,
        OnShutdown::Fail => anyhow::bail!("cannot flush"),
    }
}
