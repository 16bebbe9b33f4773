//! Twin requests: asked on whatever connection there is, asked again when it goes away or the answer is lost.

use bytes::Bytes;
use iothub_protocol::twin::{ErrorBody, is_retryable};
use iothub_protocol::{TwinDocument, TwinError};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep, timeout};

use crate::client::{Client, Stopped};
use crate::connection::Control;

const TRIES: u32 = 3;

/// Why a twin request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("IoT Hub did not answer the twin request ({tries} tries)")]
    Timeout { tries: u32 },
    #[error("IoT Hub answered the twin request with {status}: {message}")]
    Refused { status: u16, message: String },
    #[error(transparent)]
    Invalid(#[from] TwinError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What to ask.
#[derive(Debug, Clone)]
pub(crate) enum TwinQuestion {
    Get,
    Report(Bytes),
}

/// The hub's answer.
#[derive(Debug)]
pub(crate) struct TwinAnswer {
    pub(crate) status: u16,
    pub(crate) version: Option<u64>,
    pub(crate) payload: Bytes,
}

impl Client {
    pub(crate) async fn get_twin(&self) -> Result<TwinDocument, RequestError> {
        let answer = self.ask(TwinQuestion::Get).await?;
        Ok(TwinDocument::parse(&answer.payload)?)
    }

    pub(crate) async fn send_report(&self, patch: &Value) -> Result<u64, RequestError> {
        iothub_protocol::twin::check_patch(patch)?;
        let payload = serde_json::to_vec(patch).map_err(TwinError::Json)?;
        let answer = self.ask(TwinQuestion::Report(payload.into())).await?;
        Ok(answer.version.unwrap_or_default())
    }

    async fn ask(&self, question: TwinQuestion) -> Result<TwinAnswer, RequestError> {
        let per_try = self.options().twin_timeout;
        let mut refusal = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(Duration::from_millis(500 << attempt).min(per_try)).await;
            }
            match timeout(per_try, self.ask_once(question.clone())).await {
                Err(_) => {}
                Ok(Err(stopped)) => return Err(stopped.into()),
                Ok(Ok(answer)) if matches!(answer.status, 200 | 204) => return Ok(answer),
                Ok(Ok(answer)) => {
                    let message = ErrorBody::parse(&answer.payload)
                        .message
                        .unwrap_or_else(|| "no reason given".to_owned());
                    let error = RequestError::Refused {
                        status: answer.status,
                        message,
                    };
                    if !is_retryable(answer.status) {
                        return Err(error);
                    }
                    refusal = Some(error);
                }
            }
        }
        Err(refusal.unwrap_or(RequestError::Timeout { tries: TRIES }))
    }

    /// One try; a connection that ends meanwhile does not count, the question goes out again on the next.
    async fn ask_once(&self, question: TwinQuestion) -> Result<TwinAnswer, Stopped> {
        loop {
            let session = self.session().await?;
            let (answer, receiver) = oneshot::channel();
            let control = Control::Twin {
                question: question.clone(),
                answer,
            };
            if session.control(control).await.is_ok()
                && let Ok(answer) = receiver.await
            {
                return Ok(answer);
            }
            session.ended().await;
        }
    }
}
