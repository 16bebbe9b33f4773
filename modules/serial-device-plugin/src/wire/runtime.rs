//! The container runtime interface, package `runtime.v1` (k8s.io/cri-api v0.34, pkg/apis/runtime/v1/api.proto): only the calls
//! that find and stop containers, and of their messages only the fields that are used. Unknown fields are skipped.

use std::collections::HashMap;

/// The containers: [`ListContainersRequest`] → [`ListContainersResponse`].
pub const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
/// One container: [`ContainerStatusRequest`] → [`ContainerStatusResponse`].
pub const CONTAINER_STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";
/// Ends one container: [`StopContainerRequest`] → [`StopContainerResponse`].
pub const STOP_CONTAINER: &str = "/runtime.v1.RuntimeService/StopContainer";

/// `ContainerState` of a container whose process runs.
pub const CONTAINER_RUNNING: i32 = 1;
/// The kubelet's label with the pod's name.
pub const LABEL_POD: &str = "io.kubernetes.pod.name";
/// The kubelet's label with the pod's namespace.
pub const LABEL_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The kubelet's label with the container's name in the pod.
pub const LABEL_CONTAINER: &str = "io.kubernetes.container.name";

/// Which containers are wanted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListContainersRequest {
    /// Without one: all.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

/// What wanted containers have in common.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerFilter {
    /// Their state.
    #[prost(message, optional, tag = "2")]
    pub state: Option<ContainerStateValue>,
}

/// A state, so that none can be told from the first one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerStateValue {
    /// A `ContainerState`.
    #[prost(int32, tag = "1")]
    pub state: i32,
}

/// Containers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListContainersResponse {
    /// In no order.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// A container in a list.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Container {
    /// Never used again for another one.
    #[prost(string, tag = "1")]
    pub id: String,
    /// A `ContainerState`.
    #[prost(int32, tag = "6")]
    pub state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// The kubelet's labels among them.
    #[prost(map = "string, string", tag = "8")]
    pub labels: HashMap<String, String>,
}

/// Which container is wanted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerStatusRequest {
    /// Its id.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// With `info`.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// A container in detail.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerStatusResponse {
    /// The runtime's own: containerd and CRI-O put a JSON document under the key `info`.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// Which container is to end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopContainerRequest {
    /// Its id.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Seconds from the stop signal to the kill.
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// It ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopContainerResponse {}
