//! Requests to the JetStream API: a deadline for each, patience with a server that is still starting, one kind of error.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::jetstream::{Error as ApiError, ErrorCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::setup_error::SetupError;

/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A request with all its attempts.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
/// Names in one answer of the server (its own limit is 256), times this: more consumers than any plan has.
const MOST_PAGES: usize = 64;

/// The JetStream API of one broker.
#[derive(Debug, Clone)]
pub(crate) struct ServerApi {
    context: Context,
    /// For the one request that must not be repeated.
    patient: Context,
}

#[derive(Serialize)]
struct CreateConsumer<'a> {
    stream_name: &'a str,
    config: consumer::Config,
}

#[derive(Deserialize)]
struct ConsumerPage {
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<consumer::Info>>,
}

/// `{}`: the body of a request that says all in its subject.
#[derive(Serialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Done {}

impl ServerApi {
    pub(crate) fn new(client: &Client) -> Self {
        let context = |attempt| ContextBuilder::new().timeout(attempt).build(client.clone());
        Self {
            context: context(ATTEMPT),
            patient: context(PATIENCE),
        }
    }

    /// The stream, if it exists.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<stream::Info>, SetupError> {
        let answer = self
            .ask(
                &stream_words(name),
                format!("STREAM.INFO.{name}"),
                &Nothing {},
            )
            .await;
        absent_is_none(answer, ErrorCode::STREAM_NOT_FOUND)
    }

    pub(crate) async fn create_stream(&self, config: &stream::Config) -> Result<(), SetupError> {
        let what = format!("creating {}", stream_words(&config.name));
        self.ask::<_, Done>(&what, format!("STREAM.CREATE.{}", config.name), config)
            .await
            .map(drop)
    }

    pub(crate) async fn update_stream(&self, config: &stream::Config) -> Result<(), SetupError> {
        let what = format!("updating {}", stream_words(&config.name));
        self.ask::<_, Done>(&what, format!("STREAM.UPDATE.{}", config.name), config)
            .await
            .map(drop)
    }

    /// Creates a durable pull consumer, or updates it.
    pub(crate) async fn put_consumer(
        &self,
        stream: &str,
        config: &pull::Config,
    ) -> Result<(), SetupError> {
        use consumer::IntoConsumerConfig;
        let durable = config.durable_name.clone().unwrap_or_default();
        let what = format!("setting up {}", consumer_words(stream, &durable));
        let subject = format!(
            "CONSUMER.CREATE.{stream}.{durable}.{}",
            config.filter_subject
        );
        let mut config = config.clone().into_consumer_config();
        config.name = Some(durable);
        let request = CreateConsumer {
            stream_name: stream,
            config,
        };
        self.ask::<_, Done>(&what, subject, &request)
            .await
            .map(drop)
    }

    /// Asks for a snapshot of a stream; the answer tells what will be in it.
    pub(crate) async fn snapshot<T: Serialize, V: DeserializeOwned>(
        &self,
        stream: &str,
        request: &T,
    ) -> Result<V, SetupError> {
        let what = format!("saving {}", stream_words(stream));
        self.ask(&what, format!("STREAM.SNAPSHOT.{stream}"), request)
            .await
    }

    /// Announces a snapshot; the answer tells where to send it. It is asked once: a second one would find the name taken by the first.
    pub(crate) async fn restore<T: Serialize, V: DeserializeOwned>(
        &self,
        stream: &str,
        request: &T,
    ) -> Result<V, SetupError> {
        let what = format!("restoring {}", stream_words(stream));
        let subject = format!("STREAM.RESTORE.{stream}");
        self.ask_with(&self.patient, PATIENCE, &what, subject, request)
            .await
    }

    /// Whether there was one.
    pub(crate) async fn delete_stream(&self, stream: &str) -> Result<bool, SetupError> {
        let what = format!("deleting {}", stream_words(stream));
        let answer = self
            .ask::<_, Done>(&what, format!("STREAM.DELETE.{stream}"), &Nothing {})
            .await;
        Ok(absent_is_none(answer, ErrorCode::STREAM_NOT_FOUND)?.is_some())
    }

    /// Whether there was one.
    pub(crate) async fn delete_consumer(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<bool, SetupError> {
        let what = format!("deleting {}", consumer_words(stream, durable));
        let answer = self
            .ask::<_, Done>(
                &what,
                format!("CONSUMER.DELETE.{stream}.{durable}"),
                &Nothing {},
            )
            .await;
        Ok(absent_is_none(answer, ErrorCode::CONSUMER_NOT_FOUND)?.is_some())
    }

    /// Every consumer of a stream.
    pub(crate) async fn consumers(&self, stream: &str) -> Result<Vec<consumer::Info>, SetupError> {
        let what = format!("the consumers of {}", stream_words(stream));
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let offset = std::collections::BTreeMap::from([("offset", all.len())]);
            let page: ConsumerPage = self
                .ask(&what, format!("CONSUMER.LIST.{stream}"), &offset)
                .await?;
            let consumers = page.consumers.unwrap_or_default();
            let last = consumers.is_empty();
            all.extend(consumers);
            if last || all.len() >= page.total {
                break;
            }
        }
        Ok(all)
    }

    /// Asks until the server answers or patience ends, for a request that may be repeated.
    async fn ask<T, V>(&self, what: &str, subject: String, payload: &T) -> Result<V, SetupError>
    where
        T: Serialize,
        V: DeserializeOwned,
    {
        self.ask_with(&self.context, ATTEMPT, what, subject, payload)
            .await
    }

    /// `attempt` is the time-out of the context. With all of [`PATIENCE`] in it, only what no server has taken is asked again.
    async fn ask_with<T, V>(
        &self,
        context: &Context,
        attempt: Duration,
        what: &str,
        subject: String,
        payload: &T,
    ) -> Result<V, SetupError>
    where
        T: Serialize,
        V: DeserializeOwned,
    {
        let until = Instant::now() + PATIENCE;
        loop {
            // A connection that is not there yet takes requests and sends them later: hence a deadline of our own.
            let asked = tokio::time::timeout(
                attempt,
                context.request::<_, T, Response<V>>(subject.clone(), payload),
            );
            let reason = match asked.await {
                Ok(Ok(Response::Ok(answer))) => return Ok(answer),
                Ok(Ok(Response::Err { error })) if is_passing(&error) => error.to_string(),
                Ok(Ok(Response::Err { error })) => {
                    return Err(SetupError::Refused {
                        what: what.to_owned(),
                        reason: error.to_string(),
                        code: error.error_code().0,
                    });
                }
                // JetStream answers a little later than the server's port.
                Ok(Err(error)) => match error.kind() {
                    RequestErrorKind::NoResponders => "JetStream is not running".to_owned(),
                    RequestErrorKind::TimedOut => "no answer".to_owned(),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                        return Err(SetupError::Answer {
                            what: what.to_owned(),
                            reason: with_cause(&error),
                        });
                    }
                },
                Err(_) => "no connection".to_owned(),
            };
            if Instant::now() + PAUSE >= until {
                return Err(SetupError::NoAnswer {
                    what: what.to_owned(),
                    within: PATIENCE,
                    reason,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

pub(crate) fn stream_words(name: &str) -> String {
    format!("stream {name}")
}

pub(crate) fn consumer_words(stream: &str, durable: &str) -> String {
    format!("consumer {durable} of stream {stream}")
}

/// Passes by itself: a cluster that has no leader yet, a server that is shutting down or recovering.
fn is_passing(error: &ApiError) -> bool {
    error.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE
        || error.error_code() == ErrorCode::CLUSTER_NOT_LEADER
        || error.error_code() == ErrorCode::CLUSTER_INCOMPLETE
}

fn absent_is_none<T>(
    answer: Result<T, SetupError>,
    absent: ErrorCode,
) -> Result<Option<T>, SetupError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(SetupError::Refused { code, .. }) if code == absent.0 => Ok(None),
        Err(error) => Err(error),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
