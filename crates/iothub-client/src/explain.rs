//! From errors of the MQTT library to reasons a person can act on.

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};
use rustls::CertificateError;

use crate::options::ClientOptions;
use crate::state::DisconnectReason;

/// `connected`: whether CONNACK had arrived.
pub(crate) fn explain(
    error: &ConnectionError,
    options: &ClientOptions,
    connected: bool,
) -> DisconnectReason {
    let host = options.host.clone();
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code, options),
        ConnectionError::Tls(TlsError::TLS(error)) => tls(error, host),
        ConnectionError::Tls(TlsError::Io(error)) | ConnectionError::Io(error) => {
            match inner(error) {
                Some(error) => tls(error, host),
                None if connected => DisconnectReason::Lost {
                    host,
                    detail: error.to_string(),
                },
                None => DisconnectReason::Unreachable {
                    host,
                    detail: error.to_string(),
                },
            }
        }
        ConnectionError::Tls(error) => DisconnectReason::Tls {
            host,
            detail: error.to_string(),
        },
        ConnectionError::NetworkTimeout => DisconnectReason::ConnectTimeout {
            host,
            after: options.connect_timeout,
        },
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            DisconnectReason::KeepAlive { host }
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => DisconnectReason::Lost {
            host,
            detail: "closed by the other side".to_owned(),
        },
        ConnectionError::MqttState(StateError::Io(error)) => match inner(error) {
            Some(error) => tls(error, host),
            None => DisconnectReason::Lost {
                host,
                detail: error.to_string(),
            },
        },
        // Reading and writing report the socket's errors through the codec.
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::mqttbytes::Error::Io(
            error,
        ))) => match inner(error) {
            Some(error) => tls(error, host),
            None => DisconnectReason::Lost {
                host,
                detail: error.to_string(),
            },
        },
        other => DisconnectReason::Lost {
            host,
            detail: other.to_string(),
        },
    }
}

/// The hub answers every refused CONNECT with 5, so the causes cannot be told apart (azure-iot-sdk-c, connection and messaging reliability).
fn refused(code: ConnectReturnCode, options: &ClientOptions) -> DisconnectReason {
    DisconnectReason::Refused {
        host: options.host.clone(),
        identity: options.identity.to_string(),
        detail: format!("CONNACK {code:?}"),
    }
}

fn inner(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls(error: &rustls::Error, host: String) -> DisconnectReason {
    let detail = error.to_string();
    let rustls::Error::InvalidCertificate(problem) = error else {
        return DisconnectReason::Tls { host, detail };
    };
    match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            DisconnectReason::WrongName { host, detail }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            DisconnectReason::Untrusted { host, detail }
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            DisconnectReason::OutOfTime { host, detail }
        }
        _ => DisconnectReason::Tls { host, detail },
    }
}
