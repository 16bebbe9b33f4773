//! The sidecar behind its gRPC and HTTP ports, with the types the `dapr` crate generates (its own client hides errors).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use dapr::dapr::proto::runtime::v1::dapr_client::DaprClient;
use dapr::dapr::proto::runtime::v1::{
    BulkPublishRequest, BulkPublishRequestEntry, GetSecretRequest,
};
use tokio::sync::mpsc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::http::HttpSide;
use super::{
    BoxFuture, Delivery, InvokeReply, MAX_MESSAGE, OutgoingEvent, PublishReport, Sidecar,
    SidecarError, Subscription, subscription,
};
use crate::args::{ModuleArgs, Secret};

const PUBLISH_DEADLINE: Duration = Duration::from_secs(15);
const SECRET_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// daprd takes at most 4 MiB in one message unless it is told otherwise (`--max-body-size`).
const PART_BYTES: usize = 3 << 20;
const PART_EVENTS: usize = 1000;
/// Published as it is: daprd would otherwise pass the event through a map of floats and round large integers.
const RAW_PAYLOAD: (&str, &str) = ("rawPayload", "true");
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// The real sidecar. Connects when it is first needed, and again whenever the connection was lost.
#[derive(Debug)]
pub struct DaprSidecar {
    target: GrpcTarget,
    channel: OnceLock<Channel>,
    http: HttpSide,
}

impl DaprSidecar {
    /// A sidecar on this host's loopback, at the ports of the arguments.
    pub fn new(args: &ModuleArgs) -> Arc<Self> {
        Arc::new(Self {
            target: GrpcTarget::new(args.dapr_grpc_port, &args.dapr_api_token),
            channel: OnceLock::new(),
            http: HttpSide::new(args.dapr_http_port, &args.dapr_api_token),
        })
    }

    fn client(&self) -> DaprClient<Channel> {
        // A channel needs the runtime to be made, so it waits for the first call.
        let channel = self.channel.get_or_init(|| self.target.connect());
        GrpcTarget::client(channel.clone())
    }

    async fn publish_part(
        &self,
        pubsub: &str,
        topic: &str,
        first: usize,
        events: &[OutgoingEvent],
        report: &mut PublishReport,
    ) -> Result<(), SidecarError> {
        let entries = events
            .iter()
            .enumerate()
            .map(|(offset, event)| BulkPublishRequestEntry {
                entry_id: (first + offset).to_string(),
                event: event.body.to_vec(),
                content_type: CLOUD_EVENT.to_owned(),
                metadata: HashMap::new(),
            })
            .collect();
        let request = BulkPublishRequest {
            pubsub_name: pubsub.to_owned(),
            topic: topic.to_owned(),
            entries,
            metadata: raw_payload(),
        };
        let operation = format!("a publish to {pubsub}/{topic}");
        let request = self.target.request(request, Some(PUBLISH_DEADLINE));
        let mut client = self.client();
        let call = Box::pin(client.bulk_publish_event(request));
        let answer = deadline(PUBLISH_DEADLINE, &operation, call).await?;
        for failed in answer.into_inner().failed_entries {
            match failed.entry_id.parse::<usize>() {
                Ok(index) if (first..first + events.len()).contains(&index) => {
                    report.failed.push((index, failed.error));
                }
                _ => {
                    return Err(SidecarError::Invalid(format!(
                        "{operation} answered for entry {:?}, which was not in it",
                        failed.entry_id
                    )));
                }
            }
        }
        Ok(())
    }
}

impl Sidecar for DaprSidecar {
    fn publish<'a>(
        &'a self,
        pubsub: &'a str,
        topic: &'a str,
        events: &'a [OutgoingEvent],
    ) -> BoxFuture<'a, Result<PublishReport, SidecarError>> {
        Box::pin(async move {
            let mut report = PublishReport::default();
            let mut first = 0;
            while let Some(rest) = events.get(first..).filter(|rest| !rest.is_empty()) {
                let (part, _) = rest.split_at(part_length(rest));
                match self
                    .publish_part(pubsub, topic, first, part, &mut report)
                    .await
                {
                    Ok(()) => first += part.len(),
                    Err(error) if first == 0 => return Err(error),
                    Err(error) => {
                        let message = error.to_string();
                        report.failed.retain(|(index, _)| *index < first);
                        let unsent = first..events.len();
                        report
                            .failed
                            .extend(unsent.map(|index| (index, message.clone())));
                        break;
                    }
                }
            }
            report.failed.sort();
            report.failed.dedup_by_key(|(index, _)| *index);
            Ok(report)
        })
    }

    fn subscribe(&self, subscription: Subscription) -> mpsc::Receiver<Delivery> {
        subscription::start(self.target.clone(), subscription)
    }

    fn invoke<'a>(
        &'a self,
        app: &'a str,
        method: &'a str,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<InvokeReply, SidecarError>> {
        Box::pin(self.http.invoke(app, method, body, deadline))
    }

    fn secret<'a>(
        &'a self,
        store: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, SidecarError>> {
        Box::pin(async move {
            let request = GetSecretRequest {
                store_name: store.to_owned(),
                key: name.to_owned(),
                metadata: HashMap::new(),
            };
            let operation = format!("the secret {name} of {store}");
            let request = self.target.request(request, Some(SECRET_DEADLINE));
            let mut client = self.client();
            let call = Box::pin(client.get_secret(request));
            let answer = deadline(SECRET_DEADLINE, &operation, call).await?;
            Ok(answer.into_inner().data.into_iter().collect())
        })
    }

    fn healthy(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.http.healthy())
    }
}

/// Where the sidecar's gRPC port is and what it wants with every call.
#[derive(Debug, Clone)]
pub(crate) struct GrpcTarget {
    port: u16,
    token: Option<MetadataValue<Ascii>>,
}

impl GrpcTarget {
    pub(crate) fn new(port: u16, token: &Secret) -> Self {
        let token = token.get().and_then(|token| {
            let mut value = MetadataValue::try_from(token).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { port, token }
    }

    /// A connection of its own. Subscriptions take one each: HTTP/2 shares one receive window among all streams of a
    /// connection, so a subscriber that reads slowly would hold up everything else on it.
    pub(crate) fn connect(&self) -> Channel {
        // A port number always makes a valid address.
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))
            .unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:50001"))
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_nodelay(true)
            // daprd allows a ping every 8 s.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(2 << 20)
            .connect_lazy()
    }

    pub(crate) fn client(channel: Channel) -> DaprClient<Channel> {
        DaprClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn request<T>(&self, message: T, deadline: Option<Duration>) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("dapr-api-token", token.clone());
        }
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        request
    }
}

pub(crate) fn raw_payload() -> HashMap<String, String> {
    HashMap::from([(RAW_PAYLOAD.0.to_owned(), RAW_PAYLOAD.1.to_owned())])
}

/// Waits for a call, at most for so long.
pub(crate) async fn deadline<T>(
    after: Duration,
    operation: &str,
    call: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, SidecarError> {
    match tokio::time::timeout(after, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(SidecarError::from_status(&status, operation, after)),
        Err(_) => Err(SidecarError::Timeout {
            operation: operation.to_owned(),
            after,
        }),
    }
}

/// How many of the events go into one message: at least one.
fn part_length(events: &[OutgoingEvent]) -> usize {
    let mut bytes = 0;
    let fitting = events
        .iter()
        .take(PART_EVENTS)
        .take_while(|event| {
            bytes += event.body.len() + 64;
            bytes <= PART_BYTES
        })
        .count();
    fitting.max(1).min(events.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(size: usize) -> OutgoingEvent {
        OutgoingEvent {
            id: "a".to_owned(),
            body: vec![b'x'; size].into(),
        }
    }

    #[test]
    fn parts_stay_within_the_sidecars_message_size() {
        assert_eq!(part_length(&vec![event(100); 100]), 100);
        assert_eq!(part_length(&vec![event(100); 5000]), PART_EVENTS);
        assert_eq!(part_length(&vec![event(1 << 20); 10]), 2);
        assert_eq!(part_length(&[event(8 << 20), event(1)]), 1);
    }
}
