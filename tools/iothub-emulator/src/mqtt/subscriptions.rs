//! What a connection is subscribed to.

use iothub_protocol::limits::SUBSCRIPTIONS;
use iothub_protocol::{HubIdentity, Subscription};
use rumqttc::mqttbytes::QoS;

use crate::storage::state::Session;

/// The granted filters of one session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    granted: Vec<Granted>,
}

#[derive(Debug)]
struct Granted {
    filter: String,
    kind: Subscription,
    qos: QoS,
}

/// Why a filter is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotGranted {
    /// Not one of IoT Hub's documented filters for this identity.
    Undocumented,
    /// More than IoT Hub allows per device.
    TooMany,
}

impl Subscriptions {
    /// Takes up a kept session; filters that mean nothing any more are left out.
    pub(super) fn from_session(session: &Session, identity: &HubIdentity) -> Self {
        let mut subscriptions = Self::default();
        for (filter, qos) in &session.subscriptions {
            let _ = subscriptions.add(
                filter,
                if *qos == 0 {
                    QoS::AtMostOnce
                } else {
                    QoS::AtLeastOnce
                },
                identity,
            );
        }
        subscriptions
    }

    pub(super) fn to_session(&self) -> Session {
        Session {
            subscriptions: self
                .granted
                .iter()
                .map(|granted| (granted.filter.clone(), granted.qos as u8))
                .collect(),
        }
    }

    /// Grants a filter; QoS 2 is granted as 1 (device guide). A repeated filter replaces the former (MQTT 3.1.1, 3.8.4).
    pub(super) fn add(
        &mut self,
        filter: &str,
        qos: QoS,
        identity: &HubIdentity,
    ) -> Result<QoS, NotGranted> {
        let kind = Subscription::parse(filter, identity).ok_or(NotGranted::Undocumented)?;
        let qos = if qos == QoS::AtMostOnce {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        let held = self.granted.len();
        match self
            .granted
            .iter_mut()
            .find(|granted| granted.filter == filter)
        {
            Some(granted) => granted.qos = qos,
            None if held >= SUBSCRIPTIONS => return Err(NotGranted::TooMany),
            None => self.granted.push(Granted {
                filter: filter.to_owned(),
                kind,
                qos,
            }),
        }
        Ok(qos)
    }

    pub(super) fn remove(&mut self, filter: &str) {
        self.granted.retain(|granted| granted.filter != filter);
    }

    /// The QoS at which a kind of message is to be sent, or nothing if it is not.
    pub(super) fn qos_of(&self, kind: Subscription) -> Option<QoS> {
        self.granted
            .iter()
            .find(|granted| granted.kind == kind)
            .map(|granted| granted.qos)
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Subscription> {
        self.granted.iter().map(|granted| granted.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_filters_and_at_most_five() {
        let module = HubIdentity::new("d", Some("m")).unwrap();
        let mut subscriptions = Subscriptions::default();
        assert_eq!(
            subscriptions.add("#", QoS::AtMostOnce, &module),
            Err(NotGranted::Undocumented)
        );
        assert_eq!(
            subscriptions.add(
                "devices/d/messages/devicebound/#",
                QoS::AtLeastOnce,
                &module
            ),
            Err(NotGranted::Undocumented)
        );
        for filter in [
            "$iothub/twin/res/#",
            "$iothub/methods/POST/#",
            "$iothub/twin/PATCH/properties/desired/#",
        ] {
            assert_eq!(
                subscriptions.add(filter, QoS::ExactlyOnce, &module),
                Ok(QoS::AtLeastOnce)
            );
        }
        assert_eq!(
            subscriptions.add("devices/d/modules/m/inputs/#", QoS::AtMostOnce, &module),
            Ok(QoS::AtMostOnce)
        );
        assert_eq!(
            subscriptions.add("devices/d/modules/m/#", QoS::AtMostOnce, &module),
            Ok(QoS::AtMostOnce)
        );
        // Repeating one is not a sixth.
        assert_eq!(
            subscriptions.add("$iothub/twin/res/#", QoS::AtMostOnce, &module),
            Ok(QoS::AtMostOnce)
        );
        let kept = Subscriptions::from_session(&subscriptions.to_session(), &module);
        assert_eq!(kept.to_session(), subscriptions.to_session());
        assert_eq!(
            kept.qos_of(Subscription::TwinResponses),
            Some(QoS::AtMostOnce)
        );
        assert_eq!(kept.qos_of(Subscription::Methods), Some(QoS::AtLeastOnce));
    }
}
