//! A document that has nothing but rules.

use module_runtime::configuration::Path;
use module_runtime::{ModuleConfiguration, Problems};
use routes::{RouteConfiguration, Surroundings};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) routes: Vec<RouteConfiguration>,
}

impl ModuleConfiguration for Document {
    fn check(&self, problems: &mut Problems) {
        let surroundings = Surroundings {
            identities: Some(&["plant", "line-4"]),
            topics: Some(&["telemetry", "alarms"]),
        };
        routes::check(
            &self.routes,
            &Path::root().join("routes"),
            surroundings,
            problems,
        );
    }
}

/// The document, or `LINE:COLUMN: PATH: MESSAGE` of each problem.
pub(crate) fn load(text: &str) -> Result<Document, Vec<String>> {
    let loaded = module_runtime::load_str_as_written::<Document>("rules.yaml", text);
    let loaded = loaded.map_err(|error| {
        let problems = error.problems.iter();
        problems
            .map(|problem| problem.to_string().replacen("rules.yaml:", "", 1))
            .collect::<Vec<_>>()
    })?;
    Ok(std::sync::Arc::into_inner(loaded.configuration).unwrap())
}
