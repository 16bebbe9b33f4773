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
)

image_version() { sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -1; }

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
  fi
}

# A release contains them; for a build without, they lie beside it.
k3s_has_no_tools() { [ -e "$(dirname "$FIELDGATE_K3S")/containerd-shim-runc-v2" ]; }

# Pause and CoreDNS as the test node has them, when the archive of k3s's release is not there. This CoreDNS knows the names of the cluster only.
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
pathlib.Path(folder).with_name("manifests").joinpath("cluster-dns.yaml").write_text(files.coredns())
PYTHON
  )
  rm "$program"
  cat >"$1/config/15-own-images.yaml" <<YAML
# This image was built without the archive of k3s's release: pause and CoreDNS are small ones of our own.
pause-image: fieldgate.io/pause:1
disable+: [coredns]
YAML
}

# The ESP: boot loader, kernel, initrd and entry of slot a. Slot b gets its own with its first update.
make_esp() { # file, bytes, stage
  local file=$1 stage=$3
  rm -f "$file"
  truncate -s "$2" "$file"
  mkfs.vfat -F32 -n ESP --invariant -i "$(image_uuid esp | cut -c1-8)" "$file" >/dev/null
  sed "s/@VERSION@/$(image_version)/" "$REFERENCE/loader/fieldgate-a.conf" >"$stage/fieldgate-a.conf"
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

# Each line of the console with the seconds since the start, without what firmware and systemd do to the screen.
with_seconds() {
  local line begun=${EPOCHREALTIME/[.,]/} now
  sed -u -e 's/\x1b\][^\a\x1b]*\(\a\|\x1b\\\)//g' -e 's/\x1b\[[0-9;?=!]*[a-zA-Z]//g' -e 's/\x1b[c78]//g' | while IFS= read -r line; do
    now=$(((${EPOCHREALTIME/[.,]/} - begun) / 100000))
    printf '%5d.%d  %s\n' $((now / 10)) $((now % 10)) "${line%$'\r'}"
  done
}
