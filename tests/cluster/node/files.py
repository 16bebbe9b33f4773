"""The configuration files of the node's components."""

SERVICES, DNS = "10.43.0.0/16", "10.43.0.10"
DOMAIN = "cluster.local"
PAUSE, COREDNS = "fieldgate.io/pause:1", "fieldgate.io/coredns:1"


def pods(number):
    """The addresses of the pods on a node; the first node has number 0."""
    return f"10.42.{number}.0/24"


def containerd(folder):
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/run/containerd"
oom_score = 0
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # no right here to lower a score, and no AppArmor
  restrict_oom_score_adj = true
  disable_apparmor = true
  # what k3s calls nonroot-devices
  device_ownership_from_security_context = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{folder}/cni"
"""


# k3s's own file with what a test machine cannot do left out; k3s fills in the braces.
K3S_CONTAINERD = """version = 3
root = {{ printf "%q" .NodeConfig.Containerd.Root }}
state = {{ printf "%q" .NodeConfig.Containerd.State }}
[grpc]
  address = {{ printf "%q" .NodeConfig.Containerd.Address }}
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"
[plugins.'io.containerd.cri.v1.runtime']
  # no right here to lower a score, and no AppArmor
  restrict_oom_score_adj = true
  disable_apparmor = true
  device_ownership_from_security_context = {{ .NonrootDevices }}
  enable_unprivileged_ports = {{ .EnableUnprivileged }}
  enable_unprivileged_icmp = {{ .EnableUnprivileged }}
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{{ .NodeConfig.AgentConfig.Snapshotter }}"
  use_local_image_pull = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{ .NodeConfig.AgentConfig.PauseImage }}"
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = [{{ printf "%q" .NodeConfig.AgentConfig.CNIBinDir }}]
  conf_dir = {{ printf "%q" .NodeConfig.AgentConfig.CNIConfDir }}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = {{ printf "%q" .NodeConfig.Containerd.Registry }}
"""


def k3s_kubelet(cgroup):
    """What a machine of a test is without, beside what the appliance sets."""
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
featureGates: {{KubeletInUserNamespace: true}}
cgroupRoot: {cgroup}
enforceNodeAllocatable: []
failSwapOn: false
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
"""


def cni(number=0):
    return f"""{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods(number)}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
}}]}}
"""


def kubelet(folder, authority, cgroup):
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: "{authority.certificate}"}}
authorization: {{mode: Webhook}}
# the machine of a test may be without cgroup v2 and without the right to raise limits
failCgroupV1: false
featureGates: {{KubeletInUserNamespace: true}}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: "unix://{folder}/containerd.sock"
clusterDNS: ["{DNS}"]
clusterDomain: {DOMAIN}
resolvConf: "{folder}/resolv.conf"
podLogsDir: "{folder}/pod-logs"
volumePluginDir: "{folder}/volume-plugins"
# as image/k3s sets it for the device: an edited ConfigMap arrives soon
syncFrequency: 10s
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
maxPods: 60
readOnlyPort: 0
"""


def coredns():
    return f"""apiVersion: v1
kind: ServiceAccount
metadata: {{name: coredns, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: coredns}}
rules:
- {{apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: coredns}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}}
subjects: [{{kind: ServiceAccount, name: coredns, namespace: kube-system}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: coredns, namespace: kube-system}}
data:
  Corefile: |
    .:53 {{
        errors
        health :8080
        ready :8181
        kubernetes {DOMAIN} in-addr.arpa
        cache 5
        loadbalance
    }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: coredns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata: {{labels: {{k8s-app: kube-dns}}}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      # port 53 for a user that is not root
      securityContext: {{sysctls: [{{name: net.ipv4.ip_unprivileged_port_start, value: "0"}}]}}
      containers:
      - name: coredns
        image: {COREDNS}
        imagePullPolicy: IfNotPresent
        args: [-conf, /etc/coredns/Corefile]
        readinessProbe: {{httpGet: {{path: /ready, port: 8181}}, periodSeconds: 1}}
        securityContext: {{runAsNonRoot: true, runAsUser: 65532, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
        volumeMounts: [{{name: configuration, mountPath: /etc/coredns}}]
      volumes: [{{name: configuration, configMap: {{name: coredns}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  clusterIP: {DNS}
  selector: {{k8s-app: kube-dns}}
  ports:
  - {{name: dns, port: 53, targetPort: 53, protocol: UDP}}
  - {{name: dns-tcp, port: 53, targetPort: 53, protocol: TCP}}
"""
