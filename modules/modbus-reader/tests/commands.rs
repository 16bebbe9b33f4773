//! `read` and `write` as a caller sees them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use bytes::Bytes;
use module_runtime::{CommandError, Commands};
use serde_json::{Value, json};
use support::{Bench, Manner, Server};

fn configuration(server: &Server) -> String {
    format!(
        "links: [{{name: cell, tcp: {{host: 127.0.0.1, port: {}}}, timeout: 100ms}}]\n\
         devices: [{{name: one, link: cell, unit: 1}}, {{name: two, link: cell, unit: 2}}]\n\
         groups:\n\
         - name: slow\n  \
           devices: [one, two]\n  \
           period: 1h\n  \
           tags:\n  \
           - {{name: a, table: holding-register, address: 100, type: u16}}\n  \
           - {{name: set, table: holding-register, address: 10, type: i16, scale: 0.1, writable: true}}\n  \
           - {{name: wide, table: holding-register, address: 20, type: f64, order: little-endian, writable: true}}\n  \
           - {{name: text, table: holding-register, address: 30, type: string, length: 5, writable: true}}\n  \
           - {{name: run, table: coil, address: 3, writable: true}}\n",
        server.address.port()
    )
}

async fn call(commands: &Commands, name: &str, input: Value) -> Result<Value, CommandError> {
    let output = commands.run(name, Bytes::from(input.to_string())).await?;
    Ok(serde_json::from_slice(&output).unwrap())
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    let commands = Commands::new();
    modbus_reader::commands::add(&commands, &bench.engine.in_force());
    bench.apply(&configuration(&server)).await;
    bench.until("first", |event| event.device == "two").await;
    let values = [
        ("set", json!(-12.5)),
        ("wide", json!(1.0e-300)),
        ("text", json!("käse")),
        ("run", json!(false)),
    ];
    for (tag, value) in &values {
        let input = json!({"device": "two", "tag": tag, "value": value});
        let output = call(&commands, "write", input).await.unwrap();
        assert_eq!(output["written"], *value);
    }
    let input = json!({"device": "two", "tag": "a", "tags": ["set", "wide", "text", "run"]});
    let output = call(&commands, "read", input).await.unwrap();
    for (tag, value) in &values {
        assert_eq!(output["values"][tag], *value);
    }
    assert_eq!(output["values"]["a"], 100);
    assert_eq!(output["bad"], json!({}));
    // Functions 6, 16 and 5, and nothing for the other device.
    let written: Vec<u8> = (server.requests_of(2).iter())
        .map(|(function, ..)| *function)
        .filter(|function| *function > 4)
        .collect();
    assert_eq!(written, [6, 16, 16, 5]);
    assert!(
        server
            .requests_of(1)
            .iter()
            .all(|(function, ..)| *function < 5)
    );
    bench.engine.stop().await;
}

#[tokio::test]
async fn what_the_caller_can_mend_is_4xx_with_the_field() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    let commands = Commands::new();
    modbus_reader::commands::add(&commands, &bench.engine.in_force());
    bench.apply(&configuration(&server)).await;
    bench.until("first", |event| event.device == "two").await;
    let cases = [
        (
            "read",
            json!({"device": "three", "tag": "a"}),
            404,
            "device",
        ),
        ("read", json!({"device": "one", "tag": "x"}), 404, "tag"),
        (
            "read",
            json!({"device": "one", "tags": ["a", "x"]}),
            404,
            "tags[1]",
        ),
        ("read", json!({"device": "one"}), 400, "tag"),
        (
            "write",
            json!({"device": "one", "tag": "a", "value": 1}),
            403,
            "tag",
        ),
        (
            "write",
            json!({"device": "one", "tag": "set", "value": 4000}),
            422,
            "value",
        ),
        (
            "write",
            json!({"device": "one", "tag": "set", "value": "1"}),
            422,
            "value",
        ),
        (
            "write",
            json!({"device": "one", "tag": "text", "value": "123456"}),
            422,
            "value",
        ),
    ];
    for (command, input, status, field) in cases {
        let error = call(&commands, command, input.clone()).await.unwrap_err();
        assert_eq!(
            (error.status, error.field.as_deref()),
            (status, Some(field)),
            "{input}: {error}"
        );
    }
    assert!(
        server
            .requests_of(1)
            .iter()
            .all(|(function, ..)| *function < 5)
    );
    bench.engine.stop().await;
}

#[tokio::test]
async fn what_the_device_does_is_told() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    let commands = Commands::new();
    modbus_reader::commands::add(&commands, &bench.engine.in_force());
    bench.apply(&configuration(&server)).await;
    bench.until("first", |event| event.device == "two").await;
    let write = json!({"device": "one", "tag": "set", "value": 1});
    for (manner, status, code) in [
        (Manner::Exception(3), 422, "illegal-data-value"),
        (Manner::Exception(4), 502, "device-failure"),
        (Manner::Silent, 504, "timeout"),
    ] {
        server.set(1, manner);
        let error = call(&commands, "write", write.clone()).await.unwrap_err();
        assert_eq!((error.status, error.code), (status, code));
    }
    // A read tells the reason of each tag. The connection was dropped by the timeout and is made again.
    let read = json!({"device": "one", "tags": ["a", "run"]});
    server.set(1, Manner::Exception(2));
    let output = call(&commands, "read", read).await.unwrap();
    let reason = "illegal-data-address";
    assert_eq!(output["bad"], json!({"a": reason, "run": reason}));
    server.set(1, Manner::Well);
    assert!(call(&commands, "write", write).await.is_ok());
    bench.engine.stop().await;
}
