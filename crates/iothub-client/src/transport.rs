//! The MQTT library set up for IoT Hub.

use std::time::SystemTime;

use iothub_protocol::SasToken;
use iothub_protocol::limits::PACKET_BYTES;
use rumqttc::{
    AckMode, AsyncClient, ConfigError, EventLoop, MqttOptions, NetworkOptions, TlsConfiguration,
    Transport,
};

use crate::client::Shared;

/// Requests the library takes at once beside the window: answers, acknowledgements, subscriptions, twin requests.
const CONTROL_ROOM: usize = 512;
/// Requests per flush. The library's default is one, which costs a system call and a TLS record per message.
const REQUEST_BATCH: usize = 64;
/// How long one flush, at most a buffer and one message, may take: 256 KiB at about 70 kbit/s.
const FLUSH_SECONDS: u64 = 30;

/// A client and event loop for exactly one connection. A fresh pair each time keeps the library from sending anything of an earlier connection
/// again (docs/decisions/0001).
pub(crate) fn connection(shared: &Shared) -> Result<(AsyncClient, EventLoop), ConfigError> {
    let options = &shared.options;
    let mut mqtt = MqttOptions::new(
        options.identity.client_id(),
        (options.host.clone(), options.port),
    );
    mqtt.set_transport(Transport::Tls(TlsConfiguration::Rustls(shared.tls.clone())));
    mqtt.set_credentials(
        options
            .identity
            .username(&options.hub_name, &options.product),
        password(shared),
    );
    mqtt.set_keep_alive(
        u16::try_from(options.keep_alive.as_secs())
            .unwrap_or(u16::MAX)
            .max(1),
    );
    // All of Microsoft's SDKs keep the session; with a clean one the hub drops waiting cloud-to-device messages.
    mqtt.try_set_clean_session(false)?;
    mqtt.set_ack_mode(AckMode::Manual);
    mqtt.set_max_packet_size(PACKET_BYTES, PACKET_BYTES);
    // Packet ids are taken in a ring of this size: room beyond the window, so that one late PUBACK does not hold up the others.
    mqtt.try_set_inflight(options.window.saturating_mul(4).max(64))?;
    mqtt.set_max_request_batch(REQUEST_BATCH);
    let (client, mut event_loop) = AsyncClient::builder(mqtt)
        .capacity(usize::from(options.window) + CONTROL_ROOM)
        .build();
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(FLUSH_SECONDS.max(options.connect_timeout.as_secs()));
    event_loop.set_network_options(network);
    Ok((client, event_loop))
}

/// A SAS token that starts now.
fn password(shared: &Shared) -> String {
    let options = &shared.options;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Rounded up: the token must not end before the renewal that is planned from its life.
    let expiry = (now + options.sas_lifetime).as_secs() + 1;
    SasToken::create(
        &options.identity.sas_resource(&options.hub_name),
        &options.key,
        expiry,
        None,
    )
    .to_string()
}
