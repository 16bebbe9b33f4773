# What tests and benchmarks need beside the toolchains. Sourced, never run.
# shellcheck shell=bash

# Each row is a Debian package and a file or command that shows it is there. First: bundles of updates, made and read.
UNIT_PACKAGES=(
  "rauc rauc"
  "squashfs-tools mksquashfs"
  "openssl openssl"
)

TEST_PACKAGES=(
  "socat socat"
  "mosquitto mosquitto"
  "libmodbus-dev /usr/include/modbus/modbus.h"
  "pkg-config pkg-config"
  "python3-venv /usr/lib/python3.11/ensurepip /usr/lib/python3*/ensurepip"
  "nodejs node"
  "npm npm"
  "iproute2 ip"
  "openssl openssl"
  "util-linux unshare"
  "mount losetup"
  "fdisk sfdisk"
  "dosfstools mkfs.vfat"
  "e2fsprogs mkfs.ext4"
  "mtools mcopy"
  "zstd zstd"
)

# What the tests of the Yocto layers call.
YOCTO_TEST_PACKAGES=(
  "python3-venv /usr/lib/python3.11/ensurepip /usr/lib/python3*/ensurepip"
  "iproute2 ip"
  "util-linux unshare"
  "systemd systemd-analyze"
  "qemu-system-x86 qemu-system-x86_64"
  "u-boot-qemu /usr/lib/u-boot/qemu-x86/u-boot.rom"
  "u-boot-tools mkimage"
  "mtools mcopy"
  "dosfstools mkfs.vfat"
  "fdisk sfdisk"
  "e2fsprogs mke2fs"
  "git git"
  "curl curl"
)

# What the test node is made of, and static programs for images.
CLUSTER_PACKAGES=(
  "containerd containerd"
  "runc runc"
  "containernetworking-plugins /usr/lib/cni/bridge"
  "nftables nft"
  "iptables iptables"
  "ipset ipset"
  "conntrack conntrack"
  "musl-tools musl-gcc"
  "qemu-user-static qemu-aarch64-static"
)

is_there() { # any of the commands or files
  local what
  for what in "$@"; do
    case $what in
      /*) compgen -G "$what" >/dev/null && return 0 ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "$what" >/dev/null 2>&1 && return 0 ;;
    esac
  done
  return 1
}

need_unit_packages() { need_packages "${UNIT_PACKAGES[@]}"; }
need_test_packages() { need_packages "${TEST_PACKAGES[@]}"; }
need_cluster_packages() { need_packages "${TEST_PACKAGES[@]}" "${CLUSTER_PACKAGES[@]}"; }

need_packages() { # rows of the tables above
  local row missing=()
  for row in "$@"; do
    # shellcheck disable=SC2086
    set -- $row
    is_there "${@:2}" || missing+=("$1")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" = 0 ] || die "these Debian packages are missing: ${missing[*]}
run: sudo apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A Python environment of our own with exactly the versions of tests/requirements.txt.
python_environment() {
  local wanted=$ROOT/tests/requirements.txt venv=$TARGET/venv
  cmp -s "$wanted" "$venv/requirements.installed" && return
  say "installing the Python packages of tests/requirements.txt"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q -r "$wanted"
  cp "$wanted" "$venv/requirements.installed"
}

node_packages() { # folder with package.json and package-lock.json
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return
  say "installing the Node packages of ${1#"$ROOT"/}"
  (cd "$1" && npm ci --no-audit --no-fund --silent)
  cp "$1/package-lock.json" "$1/node_modules/.installed"
}

# One network namespace of its own: ports that an SDK has hard-coded are free there, and nothing leaves it.
in_own_network() {
  local user=()
  [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
  unshare "${user[@]}" --net bash -euo pipefail -c 'ip link set lo up; "$@"' own-network "$@"
}
