# The namespaces that a test node lives in, and its programs. Sourced, never run.
# shellcheck shell=bash

# What a node has for itself below these names. k3s is a binary that FIELDGATE_K3S names, in place of the stand-in.
NODE_FOLDERS="/var/lib/kubelet /var/lib/cni /var/lib/fieldgate /run/netns"
NODE_OVERLAYS=
if [ -n "${FIELDGATE_K3S:-}" ]; then
  NODE_FOLDERS+=" /var/lib/rancher /etc/rancher /run/k3s /run/flannel"
  # Where `fieldgate install` writes besides: it sees what is there and changes nothing of it.
  NODE_OVERLAYS="/etc /usr/local"
fi

# Runs a command in network, mount and process namespaces of its own: its bridge, its mounts, what it puts into /var/lib/kubelet and every process it
# started end with it, however it ends. Its cgroups are taken away afterwards.
in_own_node() {
  [ "$(id -u)" = 0 ] || die "cluster tests start containers: run them as root"
  local name=fieldgate-node-$$ state status=0
  state=$(mktemp -d "${TMPDIR:-/tmp}/fieldgate-node.XXXXXX")
  make_cgroups "$name"
  FIELDGATE_NODE_NAMESPACE=$name FIELDGATE_NODE_CGROUP=/$name FIELDGATE_NODE_STATE=$state FIELDGATE_NODE_FOLDERS=$NODE_FOLDERS NODE_OVERLAYS=$NODE_OVERLAYS \
    unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -euo pipefail -c '
      mount --make-rshared /
      for folder in $NODE_OVERLAYS; do
        mkdir -p "$FIELDGATE_NODE_STATE/upper$folder" "$FIELDGATE_NODE_STATE/work$folder"
        mount -t overlay -o "lowerdir=$folder,upperdir=$FIELDGATE_NODE_STATE/upper$folder,workdir=$FIELDGATE_NODE_STATE/work$folder" overlay "$folder"
      done
      for folder in $FIELDGATE_NODE_FOLDERS; do
        mkdir -p "$folder" "$FIELDGATE_NODE_STATE$folder"
        mount --bind "$FIELDGATE_NODE_STATE$folder" "$folder"
      done
      mount --make-rshared /run/netns
      ip link set lo up
      status=0
      "$@" || status=$?
      exit $status' own-node "$@" || status=$?
  remove_cgroups "$name"
  rm -rf "$state"
  return $status
}

cgroup_hierarchies() {
  awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
}

make_cgroups() {
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    mkdir -p "$hierarchy/$1" 2>/dev/null || die "$hierarchy is read-only: containers need control groups they can make"
    # a new cpuset group of version 1 is empty until it says which
    if [ -e "$hierarchy/$1/cpuset.cpus" ] && [ -e "$hierarchy/cpuset.mems" ]; then
      cat "$hierarchy/cpuset.cpus" >"$hierarchy/$1/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" >"$hierarchy/$1/cpuset.mems"
    fi
  done
}

remove_cgroups() {
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    [ -d "$hierarchy/$1" ] && find "$hierarchy/$1" -depth -type d -exec rmdir {} + 2>/dev/null
  done
  return 0
}

# Upstream Kubernetes, kine, CoreDNS and kube-router's policy controller, from Go modules. k3s brings all but CoreDNS.
build_node() {
  [ -z "${FIELDGATE_K3S:-}" ] || { build_go tests/cluster/kubernetes coredns ./coredns && return; }
  build_go tests/cluster/kubernetes kubernetes . "-X k8s.io/component-base/version.gitVersion=v1.34.4"
  CGO_ENABLED=1 build_go tests/cluster/kubernetes kine ./kine
  build_go tests/cluster/kubernetes coredns ./coredns
  build_go tests/cluster/network-policy network-policy .
}
