# The manifests of Dapr's control plane, and the bundle that `fieldgate install` reads. Sourced after build.sh, never run.
# shellcheck shell=bash

K3S=$TARGET/k3s

# Renders Dapr's chart into target/k3s/manifests: dapr-crds.yaml, dapr.yaml. Again only when the values, the program or the version changed.
# FIELDGATE_DAPR_REGISTRY and FIELDGATE_DAPR_TAG name other images than ours (ghcr.io/dapr and 1.18.2: the stock ones).
render_dapr_manifests() {
  local folder=$ROOT/image/k3s/dapr output=$K3S/manifests stamp
  local images=(${FIELDGATE_DAPR_REGISTRY:+-registry "$FIELDGATE_DAPR_REGISTRY"} ${FIELDGATE_DAPR_TAG:+-tag "$FIELDGATE_DAPR_TAG"})
  need go "install Go 1.26 or newer (https://go.dev/dl)"
  stamp=$({ cd "$folder" && find . -type f | LC_ALL=C sort | xargs sha256sum && echo "${images[*]}"; } | sha256sum)
  [ "$(cat "$K3S/manifests.stamp" 2>/dev/null)" = "$stamp" ] && [ -s "$output/dapr.yaml" ] && [ -s "$output/dapr-crds.yaml" ] && return
  say "rendering Dapr's manifests"
  mkdir -p "$output"
  (cd "$folder" && CGO_ENABLED=0 go run . -values values.yaml -output "$output" "${images[@]}")
  printf '%s' "$stamp" >"$K3S/manifests.stamp"
}

own_architecture() {
  case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die "this machine's processor is $(uname -m): name the architecture, amd64 or arm64" ;;
  esac
}

static_target() { # architecture
  case $1 in
    amd64) echo x86_64-unknown-linux-musl ;;
    arm64) echo aarch64-unknown-linux-musl ;;
    *) die "there is no architecture '$1'; architectures: amd64 arm64" ;;
  esac
}

# The programs that run on the device itself, without a C library, as those in images; needs images.sh.
build_static_programs() { # architecture
  local target
  target=$(static_target "$1")
  need_image_tools
  say "building fieldgate and serial-device-plugin for $1"
  (cd "$ROOT" && PATH=$IMAGE_VENV/bin:$PATH cargo zigbuild --locked --release --target "$target" --bin fieldgate --bin serial-device-plugin)
}

# Collects in target/bundle what goes onto a device. Images and programs have to be built before: target/images/ARCH, target/TRIPLE/release.
build_bundle() { # architecture...
  local bundle=$TARGET/bundle arch program programs
  [ $# -gt 0 ] || die "build_bundle: name an architecture, amd64 or arm64"
  render_dapr_manifests
  say "collecting the bundle for $* in $bundle"
  rm -rf "$bundle"
  mkdir -p "$bundle/manifests" "$bundle/systemd" "$bundle/k3s"
  cp "$K3S/manifests/dapr-crds.yaml" "$K3S/manifests/dapr.yaml" "$bundle/manifests/"
  cp -r "$ROOT/image/k3s/config.yaml.d" "$ROOT/image/k3s/kubelet.conf.d" "$ROOT/image/k3s/registries.yaml" "$bundle/k3s/"
  cp "$ROOT"/image/k3s/systemd/*.service "$bundle/systemd/"
  for arch in "$@"; do
    programs=$TARGET/$(static_target "$arch")/release
    compgen -G "$TARGET/images/$arch/*.tar.zst" >/dev/null || die "there are no images in target/images/$arch: run scripts/build-images --arch $arch"
    mkdir -p "$bundle/images/$arch" "$bundle/bin/$arch"
    # Hard links where the file system allows: the archives are large.
    cp -l "$TARGET/images/$arch"/*.tar.zst "$bundle/images/$arch/" 2>/dev/null || cp "$TARGET/images/$arch"/*.tar.zst "$bundle/images/$arch/"
    for program in fieldgate serial-device-plugin; do
      [ -x "$programs/$program" ] || die "$programs/$program is missing: run scripts/build-bundle $arch"
      cp "$programs/$program" "$bundle/bin/$arch/"
    done
  done
  (cd "$bundle" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
}
