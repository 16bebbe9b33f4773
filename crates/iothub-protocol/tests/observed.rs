//! What Microsoft's unmodified SDKs put on the wire (Python azure-iot-device 2.14.0, Node azure-iot-device 1.18.4) must be understood, and what
//! this crate writes must be the same bytes.

use bytes::Bytes;
use iothub_protocol::limits::MESSAGE_BYTES;
use iothub_protocol::message::MessageError;
use iothub_protocol::{
    DeviceTopic, HubIdentity, HubTopic, Message, PropertyBag, SasError, SasToken, SharedAccessKey,
    Subscription, Username, UsernameError,
};

const PYTHON: &str = "testhub.azure-devices.test/dev1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29";
const PYTHON_MODULE: &str = "testhub.azure-devices.test/dev1/mod1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29";
const PYTHON_PNP: &str = "testhub.azure-devices.test/dev1/?api-version=2020-09-30&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1";
const NODE: &str = "testhub.azure-devices.test/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)myprod%2F1.0";
const NODE_PNP: &str = "testhub.azure-devices.test/dev1/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)myprod%2F1.0";

#[test]
fn usernames_of_both_sdks() {
    let python = Username::parse(PYTHON).unwrap();
    assert_eq!(python.hub, "testhub.azure-devices.test");
    assert_eq!(python.identity, HubIdentity::device_only("dev1").unwrap());
    assert_eq!(python.api_version, "2019-10-01");
    assert_eq!(
        python.client_type.as_deref(),
        Some("azure-iot-device-iothub-py/2.14.0(3.11.7;Linux #1 SMP PREEMPT_DYNAMIC @0;x86_64)")
    );
    assert_eq!(python.model_id, None);
    assert_eq!(
        python.to_string(),
        PYTHON,
        "written back as Python wrote it"
    );

    let module = Username::parse(PYTHON_MODULE).unwrap();
    assert_eq!(
        module.identity,
        HubIdentity::new("dev1", Some("mod1")).unwrap()
    );
    assert_eq!(module.to_string(), PYTHON_MODULE);

    let pnp = Username::parse(PYTHON_PNP).unwrap();
    assert_eq!(
        pnp.model_id.as_deref(),
        Some("dtmi:com:example:Thermostat;1")
    );
    assert_eq!(pnp.to_string(), PYTHON_PNP);

    let node = Username::parse(NODE).unwrap();
    assert_eq!(node.api_version, "2021-04-12");
    assert_eq!(
        node.client_type.as_deref(),
        Some("azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)myprod/1.0")
    );
    assert_eq!(
        Username::parse(NODE_PNP).unwrap().model_id.as_deref(),
        Some("dtmi:com:example:Thermostat;1")
    );
}

#[test]
fn usernames_in_odd_shapes() {
    let bare = Username::parse("hub/dev1/api-version=2021-04-12&DeviceClientType=a/b").unwrap();
    assert_eq!(
        (bare.identity.module(), bare.client_type.as_deref()),
        (None, Some("a/b"))
    );
    let module = Username::parse("hub/dev1/mod1/api-version=x&auth-chain=e1%3Be2").unwrap();
    assert_eq!(module.identity.module(), Some("mod1"));
    assert_eq!(
        module.other,
        [("auth-chain".to_owned(), "e1;e2".to_owned())]
    );
    let question = Username::parse("hub/dev1/?/?api-version=x").unwrap();
    assert_eq!(
        question.identity.module(),
        Some("?"),
        "an id may begin with a question mark"
    );
    let slash = Username::parse("hub/dev1/?DeviceClientType=a/b&api-version=x").unwrap();
    assert_eq!(
        (slash.identity.module(), slash.client_type.as_deref()),
        (None, Some("a/b"))
    );
    for broken in [
        "",
        "hub",
        "hub/dev1",
        "hub//?api-version=1",
        "/dev1/?api-version=1",
    ] {
        assert!(Username::parse(broken).is_err(), "{broken:?}");
    }
    assert!(matches!(
        Username::parse("hub/dev1/?DeviceClientType=x"),
        Err(UsernameError::ApiVersion(_))
    ));
}

#[test]
fn identities() {
    let module = HubIdentity::new("dev1", Some("mod1")).unwrap();
    assert_eq!(module.client_id(), "dev1/mod1");
    assert_eq!(HubIdentity::from_client_id("dev1/mod1").unwrap(), module);
    assert_eq!(
        module.sas_resource("h.example"),
        "h.example/devices/dev1/modules/mod1"
    );
    assert_eq!(
        module.username("h.example", "fieldgate/1 (x)"),
        "h.example/dev1/mod1/?api-version=2021-04-12&DeviceClientType=fieldgate%2F1%20%28x%29"
    );
    for refused in ["", "a/b/c", "a#", "a+b", "a b", "a/", "ä", &"x".repeat(129)] {
        assert!(HubIdentity::from_client_id(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn tokens_of_both_sdks() {
    let python = "SharedAccessSignature sr=testhub.azure-devices.test%2Fdevices%2Fdev1&sig=WcX6WGqR%2F9ZSFKpOn3n5eK5Borj2u3AmGelyUwtLM%2Fs%3D&se=1795336823";
    let token = SasToken::parse(python).unwrap();
    assert_eq!(token.resource(), "testhub.azure-devices.test/devices/dev1");
    assert_eq!((token.expiry(), token.key_name()), (1_795_336_823, None));
    assert_eq!(token.to_string(), python, "written back as Python wrote it");

    let node_provisioning = "SharedAccessSignature sr=0ne00ABCDEF/registrations/reg1&sig=XO9wyEk15EwSSchCM09mGQVoDPa%2BGICRyouRmQfsF3Y%3D&skn=registration&se=1795336862";
    let token = SasToken::parse(node_provisioning).unwrap();
    assert_eq!(token.resource(), "0ne00ABCDEF/registrations/reg1");
    assert_eq!(token.key_name(), Some("registration"));
}

/// The signatures were made by an independent implementation (Python's hmac and base64) with the key "secretkey".
#[test]
fn signatures_agree_with_another_implementation() {
    let key = SharedAccessKey::from_base64("c2VjcmV0a2V5").unwrap();
    let resource = "testhub.azure-devices.test/devices/dev1/modules/mod1";
    let token = SasToken::create(resource, &key, 1_795_336_848, None);
    let expected = "SharedAccessSignature sr=testhub.azure-devices.test%2Fdevices%2Fdev1%2Fmodules%2Fmod1&sig=FQbsPwbMde6dGPqMfI1847SyU13v0HEU43T0GecjScA%3D&se=1795336848";
    assert_eq!(token.to_string(), expected);
    assert_eq!(
        SasToken::parse(expected)
            .unwrap()
            .verify(&key, resource, 1_795_336_847),
        Ok(())
    );

    // Signed over a resource that is not encoded, as Node's provisioning client does.
    let raw = "SharedAccessSignature sr=0ne00ABCDEF/registrations/reg1&sig=Bs9yiufN76Vxxhv3NtV5cIWZLVqEvvaC6vYWstRBn84%3D&skn=registration&se=1795336862";
    assert_eq!(
        SasToken::parse(raw)
            .unwrap()
            .verify(&key, "0ne00ABCDEF/registrations/reg1", 0),
        Ok(())
    );
}

#[test]
fn tokens_that_do_not_open() {
    let key = SharedAccessKey::from_base64("c2VjcmV0a2V5").unwrap();
    let other = SharedAccessKey::from_base64("b3RoZXI=").unwrap();
    let token = SasToken::create("h/devices/d1", &key, 1000, None);
    assert_eq!(
        token.verify(&key, "h/devices/d1", 1010),
        Err(SasError::Expired { ago: 10 })
    );
    assert_eq!(
        token.verify(&other, "h/devices/d1", 1),
        Err(SasError::Signature)
    );
    assert!(
        matches!(
            token.verify(&key, "h/devices/d10", 1),
            Err(SasError::Resource { .. })
        ),
        "a prefix counts by segment only"
    );
    assert_eq!(token.verify(&key, "h/devices/d1/modules/m", 1), Ok(()));
    let text = token.to_string().replace("d1", "d2");
    assert_eq!(
        SasToken::parse(&text)
            .unwrap()
            .verify(&key, "h/devices/d2", 1),
        Err(SasError::Signature)
    );
    for broken in [
        "",
        "x",
        "SharedAccessSignature",
        "SharedAccessSignature sr=a&sig=%%%&se=1",
        "SharedAccessSignature sr=a&se=1",
        "SharedAccessSignature sr=a&sig=YQ==&se=-1",
    ] {
        assert!(SasToken::parse(broken).is_err(), "{broken:?}");
    }
    assert_eq!(
        format!("{key:?}"),
        "SharedAccessKey(9 bytes)",
        "the key stays out of logs"
    );
    assert!(!format!("{token:?}").contains("sig"));
    assert!(
        SharedAccessKey::from_base64("no base64!").is_err()
            && SharedAccessKey::from_base64("").is_err()
    );
}

/// RFC 4231, test case 2, by way of the provisioning rule: the derived key is the HMAC of the registration id.
#[test]
fn derived_keys() {
    let key = SharedAccessKey::from_bytes(b"Jefe").unwrap();
    let derived = key.derive("what do ya want for nothing?");
    let expected: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(
                &"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"[at..at + 2],
                16,
            )
            .unwrap()
        })
        .collect();
    assert_eq!(derived, SharedAccessKey::from_bytes(&expected).unwrap());
}

#[test]
fn telemetry_topics_of_both_sdks() {
    let python = "devices/dev1/messages/events/%24.mid=id%201%2F2&%24.cid=c%23%2B1&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermostat1&a%20key=a%2Fb%26c%3Dd&iothub-creation-time-utc=2026-11-22T10%3A00%3A00.000Z";
    let DeviceTopic::Telemetry {
        device: "dev1",
        module: None,
        bag,
    } = DeviceTopic::parse(python).unwrap()
    else {
        panic!("{python}")
    };
    let message = Message::from_bag(bag, Bytes::from_static(b"{\"t\": 21.5}"));
    assert_eq!(message.id.as_deref(), Some("id 1/2"));
    assert_eq!(message.correlation_id.as_deref(), Some("c#+1"));
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(
        message.creation_time.as_deref(),
        Some("2026-11-22T10:00:00.000Z")
    );
    assert_eq!(
        message.system,
        [("$.sub".to_owned(), "thermostat1".to_owned())]
    );
    assert_eq!(
        message.properties,
        [("a key".to_owned(), "a/b&c=d".to_owned())]
    );
    assert_eq!(
        format!("devices/dev1/messages/events/{}", message.bag()),
        python,
        "written back as Python wrote it"
    );

    let node = "devices/dev1/modules/mod1/messages/events/%24.on=out1&%24.mid=id%201%2F2&%24.uid=u1&a%20key=a%2Fb%26c%3Dd&iothub-creation-time-utc=2026-11-22T10%3A00%3A00.000Z/";
    let DeviceTopic::Telemetry {
        device: "dev1",
        module: Some("mod1"),
        bag,
    } = DeviceTopic::parse(node).unwrap()
    else {
        panic!("{node}")
    };
    let message = Message::from_bag(bag, Bytes::new());
    assert_eq!(
        message.creation_time.as_deref(),
        Some("2026-11-22T10:00:00.000Z"),
        "the slash after the bag is not part of it"
    );
    let shown: Vec<_> = message.system_properties().map(|(name, _)| name).collect();
    assert_eq!(
        shown,
        ["message-id", "creation-time", "output-name", "user-id"]
    );

    for lenient in [
        "devices/d/messages/events",
        "devices/d/messages/events/",
        "devices/d/messages/events/?a=b",
    ] {
        assert!(
            matches!(
                DeviceTopic::parse(lenient),
                Ok(DeviceTopic::Telemetry { device: "d", .. })
            ),
            "{lenient}"
        );
    }
}

#[test]
fn twin_and_method_topics_of_both_sdks() {
    let rid = "01e63b62-75f5-44b4-a088-e56db02c59e7";
    let get = format!("$iothub/twin/GET/?$rid={rid}");
    assert_eq!(
        DeviceTopic::parse(&get).unwrap(),
        DeviceTopic::TwinGet { rid }
    );
    assert_eq!(DeviceTopic::TwinGet { rid }.to_string(), get);
    let reported = format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}");
    assert_eq!(
        DeviceTopic::parse(&reported).unwrap(),
        DeviceTopic::Reported { rid }
    );
    assert_eq!(
        DeviceTopic::parse("$iothub/methods/res/200/?$rid=1a2b").unwrap(),
        DeviceTopic::MethodResponse {
            status: 200,
            rid: "1a2b"
        }
    );
    assert_eq!(
        DeviceTopic::parse("$iothub/methods/res/-1/?%24rid=1a2b").unwrap(),
        DeviceTopic::MethodResponse {
            status: -1,
            rid: "1a2b"
        }
    );

    let answered = format!("$iothub/twin/res/204/?$rid={rid}&$version=8");
    assert_eq!(
        HubTopic::parse(&answered).unwrap(),
        HubTopic::TwinResponse {
            status: 204,
            rid,
            version: Some(8)
        }
    );
    assert_eq!(
        HubTopic::parse("$iothub/twin/PATCH/properties/desired/?$version=4").unwrap(),
        HubTopic::Desired { version: Some(4) }
    );
    let HubTopic::Method { name, rid } =
        HubTopic::parse("$iothub/methods/POST/modbus%2Dreader.write/?$rid=1a2b").unwrap()
    else {
        panic!()
    };
    assert_eq!((name.as_ref(), rid), ("modbus-reader.write", "1a2b"));

    for broken in [
        "",
        "$iothub",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/methods/res/x/?$rid=1",
        "devices",
        "devices//messages/events/",
        "devices/d/messages/eventsx",
        "a/b",
    ] {
        assert!(DeviceTopic::parse(broken).is_err(), "{broken:?}");
        assert!(HubTopic::parse(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn cloud_messages_as_the_hub_sends_them() {
    let topic = "devices/dev1/messages/devicebound/%24.mid=m-1&%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound&%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&prop1&prop2=&prop3=a%20string";
    let HubTopic::CloudMessage {
        device: "dev1",
        bag,
    } = HubTopic::parse(topic).unwrap()
    else {
        panic!()
    };
    let message = Message::from_bag(bag, Bytes::from_static(b"{\"cmd\":1}"));
    assert_eq!(message.id.as_deref(), Some("m-1"));
    assert_eq!(
        message.system,
        [(
            "$.to".to_owned(),
            "/devices/dev1/messages/devicebound".to_owned()
        )]
    );
    let expected = [
        ("iothub-ack", "full"),
        ("prop1", ""),
        ("prop2", ""),
        ("prop3", "a string"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(message.properties, expected);
    assert_eq!(
        PropertyBag::decode(bag).to_string(),
        bag,
        "a bag keeps the difference between null and empty"
    );

    let input =
        HubTopic::parse("devices/dev1/modules/mod1/inputs/in1/%24.mid=m-2&%24.cdid=leaf1&p=v")
            .unwrap();
    assert!(matches!(
        input,
        HubTopic::ModuleInput {
            device: "dev1",
            module: "mod1",
            bag: "%24.mid=m-2&%24.cdid=leaf1&p=v",
            ..
        }
    ));
}

#[test]
fn subscriptions() {
    let device = HubIdentity::device_only("dev1").unwrap();
    let module = HubIdentity::new("dev1", Some("mod1")).unwrap();
    assert_eq!(
        Subscription::parse("devices/dev1/messages/devicebound/#", &device),
        Some(Subscription::CloudMessages)
    );
    assert_eq!(
        Subscription::parse("devices/dev2/messages/devicebound/#", &device),
        None
    );
    assert_eq!(
        Subscription::parse("devices/dev1/messages/devicebound/#", &module),
        None,
        "modules get no cloud-to-device messages"
    );
    assert_eq!(
        Subscription::parse("devices/dev1/modules/mod1/inputs/#", &module),
        Some(Subscription::ModuleInputs)
    );
    assert_eq!(Subscription::parse("#", &device), None);
    for identity in [&device, &module] {
        for subscription in Subscription::all(identity) {
            assert_eq!(
                Subscription::parse(&subscription.filter(identity), identity),
                Some(subscription)
            );
        }
    }
    assert_eq!(Subscription::all(&device).len(), 4);
    assert_eq!(Subscription::all(&module).len(), 3);
}

#[test]
fn size_of_a_message() {
    let mut message = Message::json(vec![b'x'; MESSAGE_BYTES - 27]);
    message
        .properties
        .push(("ke".to_owned(), "valu".to_owned()));
    assert_eq!(
        message.size(),
        MESSAGE_BYTES,
        "16 and 5 bytes of system values, 6 of a property"
    );
    assert_eq!(message.check(), Ok(()));
    message.properties.push(("x".to_owned(), String::new()));
    assert_eq!(
        message.check(),
        Err(MessageError::TooLarge {
            size: MESSAGE_BYTES + 1,
            limit: MESSAGE_BYTES
        })
    );
    assert!(message.check_cloud_to_device().is_err());

    let reserved = Message {
        properties: vec![("$.mid".to_owned(), String::new())],
        ..Message::default()
    };
    assert!(matches!(reserved.check(), Err(MessageError::Reserved(_))));
    let id = Message {
        id: Some("ü".to_owned()),
        ..Message::default()
    };
    assert!(matches!(id.check(), Err(MessageError::Id(1))));
}
