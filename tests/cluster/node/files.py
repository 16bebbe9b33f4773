"""The configuration files and flags of the node's components. The reference image without k3s has the same ones: image/stand-in."""

SERVICES, DNS = "10.43.0.0/16", "10.43.0.10"
DOMAIN = "cluster.local"
PAUSE, COREDNS = "fieldgate.io/pause:1", "fieldgate.io/coredns:1"


# What only the machine of a test is like: no right to lower a score.
TEST_RUNTIME = "  restrict_oom_score_adj = true\n"


def pods(number):
    """The addresses of the pods on a node; the first node has number 0."""
    return f"10.42.{number}.0/24"


def containerd(root, state, socket, cni, runtime=TEST_RUNTIME):
    return f"""version = 2
root = "{root}"
state = "{state}"
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
{runtime}  # what k3s calls nonroot-devices
  device_ownership_from_security_context = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
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


def cni(number=0, more=""):
    """`more` are further plugins, each with a comma in front."""
    return f"""{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods(number)}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
}}{more}]}}
"""


def kubelet(authority, socket, more):
    """`authority` is the certificate that clients are signed by, `more` what is so on this machine only."""
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: "{authority}"}}
authorization: {{mode: Webhook}}
failSwapOn: false
containerRuntimeEndpoint: "unix://{socket}"
clusterDNS: ["{DNS}"]
clusterDomain: {DOMAIN}
readOnlyPort: 0
{more}"""


def machine_kubelet(folder, cgroup):
    """The machine of a test may be without cgroup v2, without the right to raise limits, and nearly full."""
    return f"""failCgroupV1: false
featureGates: {{KubeletInUserNamespace: true}}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
enforceNodeAllocatable: []
resolvConf: "{folder}/resolv.conf"
podLogsDir: "{folder}/pod-logs"
volumePluginDir: "{folder}/volume-plugins"
# as image/k3s sets it for the device: an edited ConfigMap arrives soon
syncFrequency: 10s
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
maxPods: 60
"""


# ---- flags. `keys` is the folder of image/stand-in/certificates.


def kube_apiserver(keys, issued, store, address):
    """`store` is where kine listens; `address` is what the service `kubernetes` leads to."""
    return [f"--etcd-servers={store}", f"--advertise-address={address}", "--secure-port=6443",
            f"--tls-cert-file={issued}/apiserver.crt", f"--tls-private-key-file={issued}/apiserver.key", f"--client-ca-file={keys}/server-ca.crt",
            f"--service-account-key-file={keys}/service.pub", f"--service-account-signing-key-file={keys}/service.key",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}", f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC", "--allow-privileged=true", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false",
            f"--kubelet-client-certificate={issued}/apiserver.crt", f"--kubelet-client-key={issued}/apiserver.key",
            "--kubelet-preferred-address-types=InternalIP", "--profiling=false"]  # fmt: skip


def kube_controller_manager(keys, kubeconfig):
    return [f"--kubeconfig={kubeconfig}", "--use-service-account-credentials=true", f"--root-ca-file={keys}/server-ca.crt",
            f"--service-account-private-key-file={keys}/service.key", "--leader-elect=false", "--secure-port=0", "--profiling=false"]  # fmt: skip


def kube_scheduler(kubeconfig):
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]


def kube_proxy(kubeconfig, node):
    return [f"--kubeconfig={kubeconfig}", "--proxy-mode=nftables", "--conntrack-max-per-core=0", f"--hostname-override={node}",
            "--metrics-bind-address=127.0.0.1:10249", "--healthz-bind-address=127.0.0.1:10256"]  # fmt: skip


def kubelet_flags(kubeconfig, configuration, certificates, node, address):
    return [f"--kubeconfig={kubeconfig}", f"--config={configuration}", "--root-dir=/var/lib/kubelet", f"--cert-dir={certificates}",
            f"--hostname-override={node}", f"--node-ip={address}"]  # fmt: skip


def network_policy(kubeconfig, node):
    return [f"--kubeconfig={kubeconfig}", f"--hostname-override={node}"]


def coredns(outside=""):
    """`outside`: who is asked for names outside the cluster, as the forward plugin of CoreDNS takes it."""
    forward = f"\n        forward . {outside}" if outside else ""
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
        kubernetes {DOMAIN} in-addr.arpa{forward}
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
      # the node's resolv.conf, not this service
      dnsPolicy: Default
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
