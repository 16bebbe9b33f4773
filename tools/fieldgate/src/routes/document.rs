//! What routing needs of iothub-module's document, and where each of its rules is written.

use std::path::Path as File;

use ::routes::{RouteConfiguration, Surroundings};
use anyhow::{Context, Result, bail};
use module_runtime::configuration::{self, Path};
use module_runtime::{ConfigurationError, ModuleConfiguration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// The keys that matter here; the others are not looked at.
#[derive(Debug, Deserialize, JsonSchema)]
struct Read {
    #[serde(default)]
    routes: Vec<RouteConfiguration>,
    #[serde(default)]
    subscriptions: Vec<Subscription>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Subscription {
    topic: String,
    #[serde(default)]
    to: Option<String>,
}

impl Read {
    /// Topics whose events go through the queue, hence by routes.
    fn topics(&self) -> Vec<String> {
        let queued = self
            .subscriptions
            .iter()
            .filter(|subscription| match &subscription.to {
                Some(to) => to == "queue",
                None => subscription.topic != "status",
            });
        let mut topics: Vec<String> = queued
            .map(|subscription| subscription.topic.clone())
            .collect();
        topics.sort();
        topics.dedup();
        topics
    }
}

impl ModuleConfiguration for Read {
    fn check(&self, problems: &mut Problems) {
        let topics = self.topics();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let surroundings = Surroundings {
            identities: None,
            // A file that has only routes says nothing about topics.
            topics: (!topics.is_empty()).then_some(topics.as_slice()),
        };
        ::routes::check(
            &self.routes,
            &Path::root().join("routes"),
            surroundings,
            problems,
        );
    }
}

/// A document whose routes are valid.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) routes: Vec<RouteConfiguration>,
    topics: Vec<String>,
    name: String,
    places: Option<configuration::Document>,
}

impl Document {
    /// Reads a document; the inner error is about its routes.
    pub(super) fn load(file: &File) -> Result<Result<Self, ConfigurationError>> {
        let name = file.display().to_string();
        // Says better than the loader, whose words are for modules, what cannot be read.
        let text = std::fs::read(file).with_context(|| format!("{name}: cannot be read"))?;
        let read = match module_runtime::load::<Read>(file) {
            Ok(read) => read.configuration,
            Err(problems) => return Ok(Err(problems)),
        };
        let text = String::from_utf8_lossy(&text);
        Ok(Ok(Self {
            routes: read.routes.clone(),
            topics: read.topics(),
            places: configuration::Document::parse(&name, text.trim_start_matches('\u{feff}')).ok(),
            name,
        }))
    }

    /// Topics whose events go through the queue.
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// An event of another topic never comes to the routes.
    pub(super) fn check_topic(&self, topic: &str) -> Result<()> {
        if !self.topics.is_empty() && !self.topics.iter().any(|known| known == topic) {
            bail!(
                "--topic {topic}: no subscription of {} brings it to the queue; those that do: {}",
                self.name,
                self.topics.join(", ")
            );
        }
        Ok(())
    }

    /// `FILE:LINE:COLUMN` of a condition of a rule.
    pub(super) fn place(&self, rule: usize, condition: &Path) -> String {
        let start = Path::root().join("routes").join(rule);
        let path = condition
            .segments()
            .iter()
            .fold(start, |path, segment| path.join(segment.clone()));
        match &self.places {
            Some(places) => {
                let position = places.position(&path, true);
                format!("{}:{}:{}", self.name, position.line, position.column)
            }
            None => self.name.clone(),
        }
    }
}
