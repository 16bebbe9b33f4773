//! `fieldgate routes`: tries the routes of iothub-module's document on events, without a hub, a broker or a device.

mod document;
mod events;
mod report;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ::routes::{Event, Routes};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use measurement::Envelope;
use module_runtime::EXIT_CONFIGURATION;
use serde::Deserialize;

use document::Document;
use events::{Events, Found};
use report::Trial;

/// Tries routes of iothub-module on events
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    Test(TestArgs),
}

/// Tells which route events take, why not another one, and what follows
///
/// Nothing is sent and no service is needed. Exit status: 0 when every event was routed; 1 when something is no event, comes from no known
/// topic, or took another route than --expect; 78 when the routes of the document are not valid.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// iothub-module's document; its routes and subscriptions are read, `iothub-module --check` checks the rest
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// Files with CloudEvents in JSON, any number in each, such as one a line; - is standard input
    #[arg(value_name = "EVENT", required = true)]
    events: Vec<PathBuf>,
    /// The topic that the events come from. Without it the event's attribute `topic`, or the only topic of the document
    #[arg(long)]
    topic: Option<String>,
    /// The route that every event must take
    #[arg(long, value_name = "ROUTE")]
    expect: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &RoutesCommand) -> Result<ExitCode> {
    match command {
        RoutesCommand::Test(args) => test(args),
    }
}

fn test(args: &TestArgs) -> Result<ExitCode> {
    let document = match Document::load(&args.document)? {
        Ok(document) => document,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let routes = Routes::compile(&document.routes);
    if let Some(topic) = &args.topic {
        document.check_topic(topic)?;
    }
    if let Some(expected) = &args.expect
        && routes.named(expected).is_none()
    {
        let names: Vec<&str> = routes.all().map(|route| &*route.name).collect();
        bail!(
            "--expect {expected}: there is no such route; {} has {}",
            args.document.display(),
            names.join(", ")
        );
    }
    if document.routes.is_empty() {
        eprintln!(
            "{}: has no routes; every event takes {}",
            args.document.display(),
            ::routes::DEFAULT_ROUTE
        );
    }
    let trials = Trials {
        args,
        document: &document,
        routes: &routes,
        taken: BTreeMap::new(),
        failures: 0,
    };
    trials.run()
}

struct Trials<'a> {
    args: &'a TestArgs,
    document: &'a Document,
    routes: &'a Routes,
    /// Events by route.
    taken: BTreeMap<String, u64>,
    failures: u64,
}

impl Trials<'_> {
    fn run(mut self) -> Result<ExitCode> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for file in &self.args.events {
            let events = Events::read(file)?;
            for found in events.iter() {
                let text = self.one(&events, &found);
                out.write_all(text.as_bytes())
                    .context("writing to standard output")?;
            }
        }
        if !self.args.json {
            writeln!(
                out,
                "{}",
                report::summary(self.routes, &self.taken, self.failures)
            )
            .context("writing to standard output")?;
        }
        out.flush().context("writing to standard output")?;
        Ok(if self.failures == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// What is said about one event, as lines.
    fn one(&mut self, events: &Events, found: &Found<'_>) -> String {
        let place = format!("{}:{}", events.name, found.line);
        match self.trial(found) {
            Ok((trial, text)) => {
                *self.taken.entry(trial.route.clone()).or_default() += 1;
                if trial.is_unexpected() {
                    self.failures += 1;
                }
                if self.args.json {
                    trial.as_json(&place)
                } else {
                    text.under(&place)
                }
            }
            Err(error) => {
                self.failures += 1;
                report::failure(&place, &error, self.args.json)
            }
        }
    }

    fn trial(&self, found: &Found<'_>) -> Result<(Trial, report::Text), String> {
        let body = found.event.as_ref().map_err(Clone::clone)?.as_bytes();
        let envelope = Envelope::parse(body)
            .map_err(|error| format!("{error}; iothub-module would make it a dead letter"))?;
        let topic = self.topic(body)?;
        let event = Event {
            topic: &topic,
            envelope: &envelope,
            body,
        };
        let explanation = self.routes.explain(&event);
        let expected = self.args.expect.as_deref();
        let trial = Trial::of(&envelope.id, &topic, &explanation, expected);
        let text = report::Text::of(&trial, &explanation, self.document);
        Ok((trial, text))
    }

    fn topic(&self, body: &[u8]) -> Result<String, String> {
        /// Dapr adds it to events that it wraps.
        #[derive(Deserialize)]
        struct Attributes {
            topic: Option<String>,
        }
        if let Some(topic) = &self.args.topic {
            return Ok(topic.clone());
        }
        let own = serde_json::from_slice::<Attributes>(body).ok();
        if let Some(topic) = own.and_then(|attributes| attributes.topic) {
            return Ok(topic);
        }
        match self.document.topics() {
            [only] => Ok(only.clone()),
            [] => Err("has no attribute topic; say with --topic where it comes from".to_owned()),
            several => Err(format!(
                "has no attribute topic; say with --topic where it comes from: {}",
                several.join(", ")
            )),
        }
    }
}
