# How the reference image is put together: partitions without loop devices or mounts. Sourced after build.sh, never run.
# shellcheck shell=bash
. "$ROOT/scripts/lib/prerequisites.sh"

REFERENCE=$ROOT/image/reference
IMAGE_PACKAGES=(
  "mmdebstrap mmdebstrap"
  "fdisk sfdisk"
  "dosfstools mkfs.vfat"
  "mtools mcopy"
  "e2fsprogs mke2fs"
  "uuid-runtime uuidgen"
  "zstd zstd"
  "rauc rauc"
  "squashfs-tools mksquashfs"
  "openssl openssl"
)
STAND_IN_PACKAGES=(
  "gcc cc"
  "musl-tools musl-gcc"
  "python3 python3"
)

# IMAGE_MACHINE is what a bundle is for: RAUC refuses it elsewhere. The stand-in's database is not k3s's, so neither updates the other.
image_kind() {
  IMAGE_MACHINE=reference-amd64 IMAGE_VARIANT=
  [ -z "${FIELDGATE_K3S:-}" ] || return 0
  IMAGE_MACHINE+=-stand-in
  IMAGE_VARIANT="Not k3s: upstream Kubernetes in its place, for trying and tests only"
  IMAGE_PACKAGES+=("${STAND_IN_PACKAGES[@]}")
}

# FIELDGATE_IMAGE_VERSION names another one than the workspace's, for trying updates.
image_version() { echo "${FIELDGATE_IMAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -1)}"; }

# The same for the same version, and for nothing else.
image_uuid() { uuidgen --sha1 --namespace @dns --name "$1.$(image_version).fieldgate"; }

image_list() { sed 's/#.*//; /^ *$/d' "$1"; }

# Where Debian comes from: FIELDGATE_DEBIAN_MIRROR, or what apt on this machine uses. Lines for mmdebstrap.
debian_sources() {
  local suite=trixie key=/usr/share/keyrings/debian-archive-keyring.gpg mirror security
  mirror=${FIELDGATE_DEBIAN_MIRROR:-$(apt_uri debian)}
  security=${FIELDGATE_DEBIAN_SECURITY_MIRROR:-$(apt_uri debian-security)}
  [ -n "$mirror" ] || die "apt knows no Debian mirror: set FIELDGATE_DEBIAN_MIRROR"
  echo "deb [signed-by=$key] $mirror $suite main"
  [ -z "$security" ] || echo "deb [signed-by=$key] $security $suite-security main"
}

# Asked without its lists, which another program may have taken away.
apt_uri() { # the archive's name
  apt-get update --print-uris | sed -n "s#^'\(.*/$1/\)dists/.*#\1#p" | head -1
}

# k3s and what it needs, in a tree: one folder with everything that it looks for in PATH, what of it a person calls, and its images.
stage_k3s() { # tree
  local folder=$1/usr/libexec/fieldgate/k3s share=$1/usr/share/fieldgate/k3s beside name
  [ -x "$FIELDGATE_K3S" ] || die "FIELDGATE_K3S names no program: $FIELDGATE_K3S"
  beside=$(dirname "$FIELDGATE_K3S")
  mkdir -p "$folder" "$1/usr/local/bin" "$share/images" "$share/manifests" "$share/config"
  cp "$FIELDGATE_K3S" "$folder/k3s"
  for name in kubectl crictl ctr; do ln -s k3s "$folder/$name"; done
  for name in k3s kubectl crictl ctr; do ln -s "../../libexec/fieldgate/k3s/$name" "$1/usr/local/bin/$name"; done
  if k3s_has_no_tools; then
    ln -s k3s "$folder/containerd"
    for name in containerd-shim-runc-v2 flannel; do cp -L "$beside/$name" "$folder/" || die "$name is missing beside $FIELDGATE_K3S"; done
  fi
  if [ -n "${FIELDGATE_K3S_IMAGES:-}" ]; then
    cp "$FIELDGATE_K3S_IMAGES" "$share/images/"
  else
    stage_own_images "$share"
    cat >"$share/config/15-own-images.yaml" <<YAML
# This image was built without the archive of k3s's release: pause and CoreDNS are small ones of our own.
pause-image: fieldgate.io/pause:1
disable+: [coredns]
YAML
  fi
}

# A release contains them; for a build without, they lie beside it.
k3s_has_no_tools() { [ -e "$(dirname "$FIELDGATE_K3S")/containerd-shim-runc-v2" ]; }

# Pause and CoreDNS as the test node has them, when the archive of k3s's release is not there.
stage_own_images() { # usr/share/fieldgate/k3s
  local node=$ROOT/tests/cluster/node version program
  version=$(image_version)
  program=$(mktemp)
  need musl-gcc "on Debian: apt-get install musl-tools; or name the archive of k3s's release in FIELDGATE_K3S_IMAGES"
  build_go tests/cluster/kubernetes coredns ./coredns
  musl-gcc -static -Os -s -o "$program" "$node/pause.c"
  (cd "$node" && python3 - "$1/images" "$version" "$program" "$PLATFORM/coredns" <<'PYTHON'
import pathlib, sys
import files, images
folder, version, *programs = sys.argv[1:]
for name, program in zip((files.PAUSE, files.COREDNS), programs):
    short = name.split("/")[1].split(":")[0]
    images.archive(pathlib.Path(folder, f"fieldgate-{short}-{version}.tar"), name, pathlib.Path(program), f"/{short}")
# Not `coredns.yaml`: with `disable: [coredns]` k3s deletes that.
pathlib.Path(folder).with_name("manifests").joinpath("cluster-dns.yaml").write_text(files.coredns(outside="/etc/resolv.conf"))
PYTHON
  )
  rm "$program"
}

# In the place of k3s: what the node of the cluster tests is made of (image/stand-in), under k3s's names.
stage_stand_in() { # tree
  local folder=$1/usr/libexec/fieldgate/k3s share=$1/usr/share/fieldgate/k3s name version
  need go "install Go 1.26 or newer (https://go.dev/dl), or name k3s's binary in FIELDGATE_K3S"
  build_node
  mkdir -p "$folder" "$1/usr/local/bin" "$1/etc" "$share/images" "$share/manifests" "$share/config"
  cp "$ROOT/image/stand-in/k3s" "$PLATFORM"/{kubernetes,kine,network-policy} "$folder/"
  for name in kubectl ctr; do ln -s k3s "$folder/$name"; done
  for name in k3s kubectl ctr; do ln -s "../../libexec/fieldgate/k3s/$name" "$1/usr/local/bin/$name"; done
  version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$ROOT/tests/cluster/kubernetes/go.mod" | head -1)
  python3 -B "$ROOT/image/stand-in/render" "$1/usr/share/fieldgate/k3s-stand-in" "$version"
  stage_own_images "$share"
  echo "$IMAGE_VARIANT (docs/operate/image.md)" >"$1/etc/motd"
}

# The ESP: boot loader, kernel, initrd and entry of slot a. Slot b gets its own with its first update.
make_esp() { # file, bytes, stage
  local file=$1 stage=$3
  rm -f "$file"
  truncate -s "$2" "$file"
  mkfs.vfat -F32 -n ESP --invariant -i "$(image_uuid esp | cut -c1-8)" "$file" >/dev/null
  # Not counted: a device whose power fails during its first starts has no other slot to go to.
  sed 's/@SLOT@/a/g; s/@NUMBER@/1/' "$stage/entry.conf" >"$stage/fieldgate-a.conf"
  cp "$REFERENCE/loader/loader.conf" "$stage/loader.conf"
  touch --date="@$SOURCE_DATE_EPOCH" "$stage"/{bootx64.efi,vmlinuz,initrd,fieldgate-a.conf,loader.conf}
  mmd -i "$file" ::EFI ::EFI/BOOT ::EFI/systemd ::loader ::loader/entries ::a
  mcopy -m -i "$file" "$stage/bootx64.efi" ::EFI/BOOT/BOOTX64.EFI
  mcopy -m -i "$file" "$stage/bootx64.efi" ::EFI/systemd/systemd-bootx64.efi
  mcopy -m -i "$file" "$stage/vmlinuz" "$stage/initrd" ::a
  mcopy -m -i "$file" "$stage/loader.conf" ::loader
  mcopy -m -i "$file" "$stage/fieldgate-a.conf" ::loader/entries
}

# A disk of the layout, from the partitions' files in the stage: NAME.img; root-b stays empty.
make_disk() { # disk, stage
  local disk=$1 stage=$2 name start
  rm -f "$disk"
  # A little more than the partitions, for both tables.
  truncate -s "$(($(layout_mebibytes) + 3))M" "$disk"
  {
    echo "label-id: $(image_uuid disk)"
    image_list "$REFERENCE/layout" | while read -r line; do
      case $line in
        name=*) name=${line#name=} && echo "$line, uuid=$(image_uuid "${name%%,*}")" ;;
        *) echo "$line" ;;
      esac
    done
  } | sfdisk --quiet "$disk"
  sfdisk --dump "$disk" | sed -n 's/.*start= *\([0-9]*\),.*name="\(.*\)"/\1 \2/p' | while read -r start name; do
    [ -e "$stage/$name.img" ] || continue
    dd if="$stage/$name.img" of="$disk" bs=1M seek=$((start / 2048)) conv=notrunc,sparse status=none
  done
}

layout_mebibytes() { image_list "$REFERENCE/layout" | sed -n 's/.*size=\([0-9]*\)MiB.*/\1/p' | awk '{ sum += $1 } END { print sum }'; }

partition_bytes() { # name
  local size
  size=$(sed -n "s/^name=$1, *size=\([0-9]*\)MiB.*/\1/p" "$REFERENCE/layout")
  echo $((size << 20))
}

# ---- the bundle for updates

# FIELDGATE_RAUC_KEY and FIELDGATE_RAUC_CERT sign bundles, and devices take what FIELDGATE_RAUC_KEYRING (default: the certificate) signs. Without
# them a key of this folder is made once: good for trying things, and nothing that ought to leave it.
signing_keys() {
  if [ -z "${FIELDGATE_RAUC_KEY:-}" ]; then
    local keys=$TARGET/image/keys
    if [ ! -e "$keys/certificate.pem" ]; then
      say "making a key that signs updates, for development only, in $keys"
      mkdir -p "$keys"
      (umask 077 && openssl req -x509 -newkey rsa:3072 -nodes -keyout "$keys/key.pem" -out "$keys/certificate.pem.new" \
        -subj "/CN=Fieldgate development" -days 3650 2>/dev/null)
      mv "$keys/certificate.pem.new" "$keys/certificate.pem"
    fi
    RAUC_KEY=$keys/key.pem RAUC_CERT=$keys/certificate.pem RAUC_KEYRING=$keys/certificate.pem
  else
    RAUC_KEY=$FIELDGATE_RAUC_KEY RAUC_CERT=${FIELDGATE_RAUC_CERT:-} RAUC_KEYRING=${FIELDGATE_RAUC_KEYRING:-${FIELDGATE_RAUC_CERT:-}}
    [ -f "$RAUC_CERT" ] || die "FIELDGATE_RAUC_KEY is set; name its certificate in FIELDGATE_RAUC_CERT"
  fi
  [ -f "$RAUC_KEY" ] && [ -f "$RAUC_KEYRING" ] || die "no file: $RAUC_KEY or $RAUC_KEYRING"
}

# What an update of a device takes: the root of the image, signed.
make_update() { # update, root's image
  local folder
  folder=$(mktemp -d "$FIELDGATE_STAGE/update.XXXXXX")
  ln "$2" "$folder/root.img"
  cat >"$folder/manifest.raucm" <<MANIFEST
[update]
compatible=fieldgate-$IMAGE_MACHINE
version=$(image_version)

[bundle]
format=verity

[image.rootfs]
filename=root.img
adaptive=block-hash-index
MANIFEST
  rm -f "$1"
  rauc --cert="$RAUC_CERT" --key="$RAUC_KEY" --mksquashfs-args="-comp zstd -quiet -no-progress" bundle "$folder" "$1" >/dev/null
  rm -rf "$folder"
}

# ---- in QEMU

OVMF=/usr/share/OVMF
QEMU_PACKAGES=(
  "qemu-system-x86 qemu-system-x86_64"
  "ovmf $OVMF/OVMF_CODE_4M.fd"
)

# KVM where processor and rights allow it: some machines have the device only.
qemu_accelerator() {
  if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ]; then echo kvm; else echo tcg; fi
}
