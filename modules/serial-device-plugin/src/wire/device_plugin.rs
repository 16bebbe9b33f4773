//! The kubelet's device plugin API, package `v1beta1` (k8s.io/kubelet v0.34, pkg/apis/deviceplugin/v1beta1/api.proto).
//!
//! Left out: NUMA topology and CDI devices, which a serial port does not have.

use std::collections::HashMap;

/// `version` of a registration.
pub const VERSION: &str = "v1beta1";
/// `health` of a device that can be given.
pub const HEALTHY: &str = "Healthy";
/// `health` of a device that cannot.
pub const UNHEALTHY: &str = "Unhealthy";

/// The kubelet's call for plugins: [`RegisterRequest`] → [`Empty`].
pub const REGISTER: &str = "/v1beta1.Registration/Register";
/// The plugin's options: [`Empty`] → [`DevicePluginOptions`].
pub const OPTIONS: &str = "/v1beta1.DevicePlugin/GetDevicePluginOptions";
/// The plugin's devices, again at each change: [`Empty`] → stream of [`ListAndWatchResponse`].
pub const LIST_AND_WATCH: &str = "/v1beta1.DevicePlugin/ListAndWatch";
/// What a container is to be given: [`AllocateRequest`] → [`AllocateResponse`].
pub const ALLOCATE: &str = "/v1beta1.DevicePlugin/Allocate";
/// Which of the free devices are best: [`PreferredAllocationRequest`] → [`PreferredAllocationResponse`].
pub const PREFERRED: &str = "/v1beta1.DevicePlugin/GetPreferredAllocation";
/// Before a container starts: [`PreStartContainerRequest`] → [`Empty`] (as empty as its own type).
pub const PRE_START: &str = "/v1beta1.DevicePlugin/PreStartContainer";

/// Nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// What the kubelet may ask beyond list and allocate.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DevicePluginOptions {
    /// PreStartContainer wants to be called.
    #[prost(bool, tag = "1")]
    pub pre_start_required: bool,
    /// GetPreferredAllocation can be called.
    #[prost(bool, tag = "2")]
    pub get_preferred_allocation_available: bool,
}

/// A plugin presents itself. Its socket must be served already: the kubelet connects before it answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegisterRequest {
    /// [`VERSION`].
    #[prost(string, tag = "1")]
    pub version: String,
    /// File name of the plugin's socket in the kubelet's folder.
    #[prost(string, tag = "2")]
    pub endpoint: String,
    /// The extended resource.
    #[prost(string, tag = "3")]
    pub resource_name: String,
    /// The plugin's options.
    #[prost(message, optional, tag = "4")]
    pub options: Option<DevicePluginOptions>,
}

/// All devices of the resource.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListAndWatchResponse {
    /// One per id.
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<Device>,
}

/// One device.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Device {
    /// At most 63 characters.
    #[prost(string, tag = "1")]
    pub id: String,
    /// [`HEALTHY`] or [`UNHEALTHY`].
    #[prost(string, tag = "2")]
    pub health: String,
}

/// Free devices, of which some are wanted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PreferredAllocationRequest {
    /// One per container.
    #[prost(message, repeated, tag = "1")]
    pub container_requests: Vec<ContainerPreferredAllocationRequest>,
}

/// Free devices for one container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerPreferredAllocationRequest {
    /// To choose from.
    #[prost(string, repeated, tag = "1")]
    pub available_device_ids: Vec<String>,
    /// To be in the answer.
    #[prost(string, repeated, tag = "2")]
    pub must_include_device_ids: Vec<String>,
    /// How many.
    #[prost(int32, tag = "3")]
    pub allocation_size: i32,
}

/// The devices preferred.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PreferredAllocationResponse {
    /// One per container.
    #[prost(message, repeated, tag = "1")]
    pub container_responses: Vec<ContainerPreferredAllocationResponse>,
}

/// The devices preferred for one container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerPreferredAllocationResponse {
    /// Their ids.
    #[prost(string, repeated, tag = "1")]
    pub device_ids: Vec<String>,
}

/// A container is about to start.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PreStartContainerRequest {
    /// Its devices.
    #[prost(string, repeated, tag = "1")]
    pub device_ids: Vec<String>,
}

/// Containers that are to be given devices.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AllocateRequest {
    /// One per container.
    #[prost(message, repeated, tag = "1")]
    pub container_requests: Vec<ContainerAllocateRequest>,
}

/// The devices chosen for a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerAllocateRequest {
    /// Their ids.
    #[prost(string, repeated, tag = "1")]
    pub device_ids: Vec<String>,
}

/// How containers are given their devices.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AllocateResponse {
    /// One per container, in the order of the request.
    #[prost(message, repeated, tag = "1")]
    pub container_responses: Vec<ContainerAllocateResponse>,
}

/// What a container is given.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerAllocateResponse {
    /// Environment variables.
    #[prost(map = "string, string", tag = "1")]
    pub envs: HashMap<String, String>,
    /// Bind mounts.
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    /// Device nodes.
    #[prost(message, repeated, tag = "3")]
    pub devices: Vec<DeviceSpec>,
    /// Annotations for the runtime.
    #[prost(map = "string, string", tag = "4")]
    pub annotations: HashMap<String, String>,
}

/// A bind mount.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mount {
    /// In the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// On the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Without it the container may write.
    #[prost(bool, tag = "3")]
    pub read_only: bool,
}

/// A device node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeviceSpec {
    /// In the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// On the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Of `r`, `w` and `m` (make nodes).
    #[prost(string, tag = "3")]
    pub permissions: String,
}
