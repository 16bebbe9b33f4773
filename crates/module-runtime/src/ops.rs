//! What operation asks of every module: alive, ready, figures, log level.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::configuration::Duration;
use crate::health::Health;
use crate::logs::{DEFAULT_EXPIRY, LogControl};

/// Histogram bounds in seconds: from a register's answer to a hub's outage.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Builds the recorder: histograms named `…_seconds` get fixed buckets.
///
/// # Errors
/// Never with these buckets; the builder's own error otherwise.
pub fn metrics_builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

/// What the operation endpoints show and change.
#[derive(Debug, Clone)]
pub struct Ops {
    /// Behind /readyz.
    pub health: Health,
    /// Behind /loglevel; without it 404.
    pub logs: Option<LogControl>,
    /// Behind /metrics; without it 404.
    pub metrics: Option<PrometheusHandle>,
}

impl Ops {
    /// The router of the operation port.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/loglevel", get(loglevel).put(set_loglevel))
            .with_state(self)
    }
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let reasons = ops.health.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    if ops.health.is_standby() {
        body["standby"] = json!(true);
    }
    (status, Json(body)).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match ops.metrics {
        Some(handle) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            handle.render(),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    filter: String,
    #[serde(rename = "for", default = "default_expiry")]
    expiry: Duration,
}

fn default_expiry() -> Duration {
    DEFAULT_EXPIRY
}

async fn loglevel(State(ops): State<Ops>) -> Response {
    match ops.logs {
        Some(logs) => Json(filter_of(&logs)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn set_loglevel(State(ops): State<Ops>, body: Bytes) -> Response {
    let Some(logs) = ops.logs else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let changed = serde_json::from_slice::<Change>(&body)
        .map_err(|error| format!("{error}; send {{\"filter\":\"debug\",\"for\":\"10m\"}}"))
        .and_then(|change| {
            logs.set(&change.filter, change.expiry)
                .map_err(|error| error.to_string())
        });
    match changed {
        Ok(()) => Json(filter_of(&logs)).into_response(),
        Err(message) => {
            let body = json!({"error": {"code": "invalid-input", "message": message}});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

fn filter_of(logs: &LogControl) -> Value {
    let (filter, left) = logs.get();
    json!({ "filter": filter, "expires_in_seconds": left.map(|left| left.as_secs()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Figure;
    use crate::test_client::Served;

    fn ops(health: &Health) -> Ops {
        Ops {
            health: health.clone(),
            logs: None,
            metrics: None,
        }
    }

    #[tokio::test]
    async fn readiness_tells_the_reasons() {
        let health = Health::new();
        let line = health.component("line-1");
        let served = Served::start(ops(&health).router()).await;
        assert_eq!(served.send("GET", "/healthz", "").await.0, 200);
        line.not_ready("no route to 10.0.0.5");
        let (status, answer) = served.send("GET", "/readyz", "").await;
        assert_eq!(status, 503);
        assert_eq!(
            serde_json::from_str::<Value>(&answer).unwrap(),
            json!({"ready": false, "reasons": {"line-1": "no route to 10.0.0.5"}})
        );
        line.ready();
        let (status, answer) = served.send("GET", "/readyz", "").await;
        assert_eq!(
            (status, answer.as_str()),
            (200, r#"{"ready":true,"reasons":{}}"#)
        );
        health.set_standby();
        let (status, answer) = served.send("GET", "/readyz", "").await;
        assert_eq!(
            (status, answer.as_str()),
            (200, r#"{"ready":true,"reasons":{},"standby":true}"#)
        );
    }

    #[tokio::test]
    async fn seconds_are_histograms() {
        let recorder = metrics_builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            crate::describe(&[Figure::counter(
                "fieldgate_test_events_total",
                "Events made",
            )]);
            metrics::counter!("fieldgate_test_events_total").increment(3);
            metrics::histogram!("fieldgate_test_lateness_seconds").record(0.003);
        });
        let with_metrics = Ops {
            metrics: Some(handle),
            ..ops(&Health::new())
        };
        let served = Served::start(with_metrics.router()).await;
        let (_, text) = served.send("GET", "/metrics", "").await;
        assert!(text.contains("fieldgate_test_events_total 3"), "{text}");
        assert!(
            text.contains("# HELP fieldgate_test_events_total Events made\n"),
            "{text}"
        );
        assert!(
            text.contains("fieldgate_test_lateness_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn the_log_level_changes_for_a_while() {
        let (_subscriber, control) = crate::logs::subscriber("info", std::io::sink).unwrap();
        let with_logs = Ops {
            logs: Some(control.clone()),
            ..ops(&Health::new())
        };
        let served = Served::start(with_logs.router()).await;
        let change = r#"{"filter":"debug","for":"10m"}"#;
        let (status, answer) = served.send("PUT", "/loglevel", change).await;
        assert_eq!(status, 200, "{answer}");
        let (_, answer) = served.send("GET", "/loglevel", "").await;
        assert!(answer.contains(r#""filter":"debug""#), "{answer}");
        for wrong in [
            "",
            r#"{"filter":"debgu"}"#,
            r#"{"filter":"debug","for":"1000h"}"#,
            r#"{"filter":"debug","fro":"1s"}"#,
        ] {
            let (status, answer) = served.send("PUT", "/loglevel", wrong).await;
            assert_eq!(status, 400, "{wrong}: {answer}");
        }
        assert_eq!(control.get().0, "debug");
    }
}
