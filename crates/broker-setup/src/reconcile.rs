//! Makes a running broker like its plan: creates what is missing, updates what differs, deletes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use async_nats::Client;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};

use crate::plan::{ConsumerPlan, DUPLICATE_WINDOW, Keep, Plan, StreamPlan};
use crate::report::{ConsumerState, Report, StreamState, Update};
use crate::saved;
use crate::server_api::{ServerApi, consumer_words, stream_words};
use crate::setup_error::SetupError;

/// What to do about a stream of the plan that is not there.
#[derive(Debug, Clone, Copy)]
pub enum Missing<'a> {
    /// Create it.
    Create,
    /// Restore what [`save`](crate::save) has put into this folder; where there is nothing, create it.
    Restore(&'a Path),
    /// Nothing: another set-up makes it, and this one fails until then.
    Await,
}

/// As [`reconcile_with`], and creates what is missing.
///
/// # Errors
/// As [`reconcile_with`].
pub async fn reconcile(client: &Client, plan: &Plan) -> Result<Report, SetupError> {
    reconcile_with(client, plan, Missing::Create).await
}

/// Makes the broker like the plan and says what it did and found. It may be repeated at any time; the second time in a
/// row changes nothing. It deletes nothing: neither a stream, nor an event, nor a consumer.
///
/// A broker that is still starting is waited for, at most 20 s for each request. Cancel-safe: what was done stays, and
/// the next call does the rest.
///
/// # Errors
/// When the plan is wrong, the broker does not answer or refuses, or something exists that differs in a setting that cannot
/// be changed. What came before it in the plan is done then.
pub async fn reconcile_with(
    client: &Client,
    plan: &Plan,
    missing: Missing<'_>,
) -> Result<Report, SetupError> {
    plan.check()?;
    let api = ServerApi::new(client);
    let mut report = Report::default();
    let mut existing = Vec::with_capacity(plan.streams.len());
    for stream in &plan.streams {
        let found = api.stream(&stream.name).await?;
        if let Some(found) = &found {
            refuse_immutable_stream(stream, &found.config)?;
        }
        existing.push(found);
    }
    // A topic that moves must have left its old stream before the new one can have it.
    for (stream, found) in plan.streams.iter().zip(&mut existing) {
        if let Some(found) = found {
            give_up_topics(&api, stream, found).await?;
        }
    }
    for (stream, found) in plan.streams.iter().zip(&mut existing) {
        if found.is_none() && is_restored(client, stream, missing).await? {
            *found = api.stream(&stream.name).await?;
            report
                .created
                .push(format!("{}, as it was saved", stream_words(&stream.name)));
        }
        put_stream(&api, stream, found.as_ref(), &mut report).await?;
    }
    for stream in &plan.streams {
        let present = api.consumers(&stream.name).await?;
        let mut changed = false;
        for planned in plan
            .consumers
            .iter()
            .filter(|planned| planned.stream == stream.name)
        {
            let found = present.iter().find(|found| found.name == planned.durable);
            changed |= put_consumer(&api, planned, found, &mut report).await?;
        }
        let present = if changed {
            api.consumers(&stream.name).await?
        } else {
            present
        };
        let planned = |name: &str| {
            let mut consumers = plan.consumers.iter();
            consumers.any(|planned| planned.stream == stream.name && planned.durable == name)
        };
        let durable = present
            .iter()
            .filter(|found| found.config.durable_name.is_some());
        report
            .consumers
            .extend(durable.map(|found| consumer_state(found, planned(&found.name))));
    }
    for stream in &plan.streams {
        if let Some(found) = api.stream(&stream.name).await? {
            report.streams.push(StreamState {
                name: found.config.name,
                bytes: found.state.bytes,
                max_bytes: u64::try_from(found.config.max_bytes).unwrap_or(u64::MAX),
                messages: found.state.messages,
            });
        }
    }
    Ok(report)
}

/// Takes out a consumer that nobody reads any more; returns whether there was one. Its unread events go with it, where no
/// other consumer wants them.
///
/// # Errors
/// When the plan has it, or the broker does not answer or refuses.
pub async fn remove_consumer(
    client: &Client,
    plan: &Plan,
    stream: &str,
    durable: &str,
) -> Result<bool, SetupError> {
    let mut consumers = plan.consumers.iter();
    if consumers.any(|planned| planned.stream == stream && planned.durable == durable) {
        return Err(SetupError::Planned {
            what: consumer_words(stream, durable),
        });
    }
    ServerApi::new(client)
        .delete_consumer(stream, durable)
        .await
}

async fn is_restored(
    client: &Client,
    stream: &StreamPlan,
    missing: Missing<'_>,
) -> Result<bool, SetupError> {
    match missing {
        Missing::Create => Ok(false),
        Missing::Restore(folder) => saved::restore(client, &stream.name, folder).await,
        Missing::Await => Err(SetupError::Awaited {
            what: stream_words(&stream.name),
        }),
    }
}

/// The broker's own words for the retention of a plan.
fn retention(keep: Keep) -> (RetentionPolicy, DiscardPolicy) {
    match keep {
        Keep::Interest => (RetentionPolicy::Interest, DiscardPolicy::New),
        Keep::Limits { .. } => (RetentionPolicy::Limits, DiscardPolicy::Old),
    }
}

/// A change of retention is possible for the broker, but may drop events that are stored: never without a person.
fn refuse_immutable_stream(stream: &StreamPlan, found: &Config) -> Result<(), SetupError> {
    let differs = |field, found: String, planned: String| {
        Err(SetupError::Immutable {
            what: stream_words(&stream.name),
            field,
            found,
            planned,
        })
    };
    if found.storage != StorageType::File {
        return differs("storage", format!("{:?}", found.storage), "File".to_owned());
    }
    let (planned, _) = retention(stream.keep);
    if found.retention != planned {
        return differs(
            "retention",
            format!("{:?}", found.retention),
            format!("{planned:?}"),
        );
    }
    Ok(())
}

async fn give_up_topics(
    api: &ServerApi,
    stream: &StreamPlan,
    found: &mut Info,
) -> Result<(), SetupError> {
    let kept: Vec<String> = found
        .config
        .subjects
        .iter()
        .filter(|topic| stream.topics.contains(topic))
        .cloned()
        .collect();
    // A stream without subjects would be one for all.
    if !kept.is_empty() && kept.len() < found.config.subjects.len() {
        let mut config = found.config.clone();
        config.subjects = kept;
        api.update_stream(&config).await?;
    }
    Ok(())
}

async fn put_stream(
    api: &ServerApi,
    stream: &StreamPlan,
    found: Option<&Info>,
    report: &mut Report,
) -> Result<(), SetupError> {
    let Some(found) = found else {
        let config = planned_stream(stream, Config::default());
        api.create_stream(&config).await?;
        report.created.push(stream_words(&stream.name));
        return Ok(());
    };
    // What the plan does not speak of stays as a person has set it.
    let wanted = planned_stream(stream, found.config.clone());
    let fields = stream_differences(&found.config, &wanted);
    if !fields.is_empty() {
        api.update_stream(&wanted).await?;
        report.updated.push(Update {
            what: stream_words(&stream.name),
            fields,
        });
    }
    Ok(())
}

fn planned_stream(stream: &StreamPlan, base: Config) -> Config {
    let (retention, discard) = retention(stream.keep);
    Config {
        name: stream.name.clone(),
        subjects: stream.topics.clone(),
        retention,
        discard,
        max_bytes: i64::try_from(stream.max_bytes).unwrap_or(i64::MAX),
        max_age: match stream.keep {
            Keep::Interest => std::time::Duration::ZERO,
            Keep::Limits { max_age } => max_age,
        },
        duplicate_window: DUPLICATE_WINDOW,
        storage: StorageType::File,
        num_replicas: usize::from(stream.replicas),
        ..base
    }
}

fn stream_differences(found: &Config, wanted: &Config) -> Vec<&'static str> {
    let topics = |config: &Config| config.subjects.iter().cloned().collect::<BTreeSet<_>>();
    differing([
        ("topics", topics(found) != topics(wanted)),
        ("discard", found.discard != wanted.discard),
        ("max_bytes", found.max_bytes != wanted.max_bytes),
        ("max_age", found.max_age != wanted.max_age),
        (
            "duplicate_window",
            found.duplicate_window != wanted.duplicate_window,
        ),
        ("replicas", found.num_replicas != wanted.num_replicas),
    ])
}

/// The names of the fields that differ.
fn differing<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
}

/// Returns whether it created or updated.
async fn put_consumer(
    api: &ServerApi,
    planned: &ConsumerPlan,
    found: Option<&consumer::Info>,
    report: &mut Report,
) -> Result<bool, SetupError> {
    let what = consumer_words(&planned.stream, &planned.durable);
    let wanted = planned_consumer(planned);
    let Some(found) = found else {
        api.put_consumer(&planned.stream, &wanted).await?;
        report.created.push(what);
        return Ok(true);
    };
    refuse_immutable_consumer(&what, &found.config)?;
    let found = &found.config;
    let fields = differing([
        (
            "topic",
            found.filter_subject != wanted.filter_subject || !found.filter_subjects.is_empty(),
        ),
        ("ack_wait", found.ack_wait != wanted.ack_wait),
        (
            "max_ack_pending",
            found.max_ack_pending != wanted.max_ack_pending,
        ),
        ("max_deliver", found.max_deliver != wanted.max_deliver),
    ]);
    if fields.is_empty() {
        return Ok(false);
    }
    api.put_consumer(&planned.stream, &wanted).await?;
    report.updated.push(Update { what, fields });
    Ok(true)
}

fn refuse_immutable_consumer(what: &str, found: &consumer::Config) -> Result<(), SetupError> {
    let differs = |field, found: String, planned: &str| {
        Err(SetupError::Immutable {
            what: what.to_owned(),
            field,
            found,
            planned: planned.to_owned(),
        })
    };
    if let Some(subject) = &found.deliver_subject {
        return differs("deliver_subject", subject.clone(), "none (a pull consumer)");
    }
    if found.ack_policy != AckPolicy::Explicit {
        return differs("ack_policy", format!("{:?}", found.ack_policy), "Explicit");
    }
    if found.deliver_policy != DeliverPolicy::All {
        return differs(
            "deliver_policy",
            format!("{:?}", found.deliver_policy),
            "All",
        );
    }
    if found.replay_policy != ReplayPolicy::Instant {
        return differs(
            "replay_policy",
            format!("{:?}", found.replay_policy),
            "Instant",
        );
    }
    Ok(())
}

/// Field by field as the Dapr component updates it (image/dapr/jetstream), so that the two do not contradict each other.
fn planned_consumer(planned: &ConsumerPlan) -> pull::Config {
    pull::Config {
        durable_name: Some(planned.durable.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: planned.ack_wait,
        max_ack_pending: i64::from(planned.max_ack_pending),
        max_deliver: -1,
        filter_subject: planned.topic.clone(),
        ..pull::Config::default()
    }
}

fn consumer_state(found: &consumer::Info, planned: bool) -> ConsumerState {
    ConsumerState {
        stream: found.stream_name.clone(),
        durable: found.name.clone(),
        pending: found.num_pending,
        unacknowledged: found.num_ack_pending as u64,
        redelivered: found.num_redelivered as u64,
        planned,
    }
}
