//! The hand-written messages against bytes that were made by the Go types of k8s.io/kubelet v0.34.4 and k8s.io/cri-api v0.34.4.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::fmt::Debug;

use prost::Message;
use serial_device_plugin::wire::{device_plugin, runtime};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .map(|digit| char::from(digit).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Both ways.
fn same<M: Message + Default + PartialEq + Debug>(message: &M, hex: &str) {
    assert_eq!(message.encode_to_vec(), bytes(hex), "{message:?}");
    reads(message, hex);
}

/// One way: the bytes have fields that are not used here.
fn reads<M: Message + Default + PartialEq + Debug>(message: &M, hex: &str) {
    assert_eq!(&M::decode(bytes(hex).as_slice()).unwrap(), message);
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_registration() {
    same(
        &device_plugin::RegisterRequest {
            version: text("v1beta1"),
            endpoint: text("fieldgate-serial-line-1.sock"),
            resource_name: text("fieldgate.io/serial-line-1"),
            options: Some(device_plugin::DevicePluginOptions {
                pre_start_required: true,
                get_preferred_allocation_available: true,
            }),
        },
        "0a0776316265746131121c6669656c64676174652d73657269616c2d6c696e652d312e736f636b1a1a6669656c64676174652e696f2f73657269616c2d6c696e652d31220408011001",
    );
}

#[test]
fn a_list_of_devices() {
    let device = |id, health| device_plugin::Device {
        id: text(id),
        health: text(health),
    };
    reads(
        &device_plugin::ListAndWatchResponse {
            devices: vec![
                device("line-1-a", device_plugin::HEALTHY),
                device("line-1-b", device_plugin::UNHEALTHY),
            ],
        },
        "0a130a086c696e652d312d6112074865616c7468790a1b0a086c696e652d312d621209556e6865616c7468791a040a020801",
    );
}

#[test]
fn an_allocation() {
    same(
        &device_plugin::AllocateRequest {
            container_requests: vec![device_plugin::ContainerAllocateRequest {
                device_ids: vec![text("line-1-a")],
            }],
        },
        "0a0a0a086c696e652d312d61",
    );
    let pair = |key, value| HashMap::from([(text(key), text(value))]);
    same(
        &device_plugin::AllocateResponse {
            container_responses: vec![device_plugin::ContainerAllocateResponse {
                envs: pair("A", "b"),
                mounts: vec![device_plugin::Mount {
                    container_path: text("/dev/fieldgate/serial-line-1"),
                    host_path: text("/run/line"),
                    read_only: true,
                }],
                devices: vec![device_plugin::DeviceSpec {
                    container_path: text("/dev/fieldgate/serial-line-1"),
                    host_path: text("/dev/serial/by-id/x"),
                    permissions: text("rw"),
                }],
                annotations: pair("c", "d"),
            }],
        },
        "0a760a060a0141120162122b0a1c2f6465762f6669656c64676174652f73657269616c2d6c696e652d3112092f72756e2f6c696e6518011a370a1c2f6465762f6669656c64676174652f73657269616c2d6c696e652d3112132f6465762f73657269616c2f62792d69642f781a02727722060a0163120164",
    );
}

#[test]
fn what_is_not_wanted_is_understood_all_the_same() {
    same(
        &device_plugin::PreferredAllocationRequest {
            container_requests: vec![device_plugin::ContainerPreferredAllocationRequest {
                available_device_ids: vec![text("a"), text("b")],
                must_include_device_ids: vec![text("b")],
                allocation_size: 1,
            }],
        },
        "0a0b0a01610a01621201621801",
    );
    same(
        &device_plugin::PreferredAllocationResponse {
            container_responses: vec![device_plugin::ContainerPreferredAllocationResponse {
                device_ids: vec![text("b")],
            }],
        },
        "0a030a0162",
    );
    same(
        &device_plugin::PreStartContainerRequest {
            device_ids: vec![text("a")],
        },
        "0a0161",
    );
}

#[test]
fn containers() {
    same(
        &runtime::ListContainersRequest {
            filter: Some(runtime::ContainerFilter {
                state: Some(runtime::ContainerStateValue {
                    state: runtime::CONTAINER_RUNNING,
                }),
            }),
        },
        "0a0412020801",
    );
    reads(
        &runtime::ListContainersResponse {
            containers: vec![runtime::Container {
                id: text("c1"),
                state: runtime::CONTAINER_RUNNING,
                created_at: 1_700_000_000_123_456_789,
                labels: HashMap::from([(text(runtime::LABEL_POD), text("p"))]),
            }],
        },
        "0a540a026331120273311a110a0d6d6f646275732d726561646572100222030a01692a0172300138959a97ece39fe7cb17421b0a16696f2e6b756265726e657465732e706f642e6e616d651201704a060a0178120179",
    );
    same(
        &runtime::ContainerStatusRequest {
            container_id: text("c1"),
            verbose: true,
        },
        "0a0263311001",
    );
    reads(
        &runtime::ContainerStatusResponse {
            info: HashMap::from([(text("info"), text("{}"))]),
        },
        "0a060a0263312005120a0a04696e666f12027b7d",
    );
    same(
        &runtime::StopContainerRequest {
            container_id: text("c1"),
            timeout: 30,
        },
        "0a026331101e",
    );
}
