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

# Collects in target/bundle what goes onto a device, for the architectures named (amd64, arm64). What it collects has to be built before:
# images in target/images/ARCH, and static programs in FIELDGATE_STATIC_DIR/ARCH (default target/static).
build_bundle() { # architecture...
  local bundle=$TARGET/bundle programs=${FIELDGATE_STATIC_DIR:-$TARGET/static} arch program
  [ $# -gt 0 ] || die "build_bundle: name an architecture, amd64 or arm64"
  render_dapr_manifests
  say "collecting the bundle for $* in ${bundle#"$ROOT"/}"
  rm -rf "$bundle"
  mkdir -p "$bundle/manifests" "$bundle/systemd"
  cp "$K3S/manifests/dapr-crds.yaml" "$K3S/manifests/dapr.yaml" "$bundle/manifests/"
  mkdir -p "$bundle/k3s"
  cp -r "$ROOT/image/k3s/config.yaml.d" "$ROOT/image/k3s/kubelet.conf.d" "$ROOT/image/k3s/registries.yaml" "$bundle/k3s/"
  cp "$ROOT"/image/k3s/systemd/*.service "$bundle/systemd/"
  for arch in "$@"; do
    compgen -G "$TARGET/images/$arch/*.tar.zst" >/dev/null || die "there are no images in target/images/$arch: run scripts/build-images $arch"
    mkdir -p "$bundle/images/$arch" "$bundle/bin/$arch"
    # Links share the disk with target/images where they can.
    cp -l "$TARGET/images/$arch"/*.tar.zst "$bundle/images/$arch/" 2>/dev/null || cp "$TARGET/images/$arch"/*.tar.zst "$bundle/images/$arch/"
    for program in fieldgate serial-device-plugin; do
      [ -x "$programs/$arch/$program" ] || die "$programs/$arch/$program is missing: build it static for $arch, or name its folder in FIELDGATE_STATIC_DIR"
      cp "$programs/$arch/$program" "$bundle/bin/$arch/"
    done
  done
  (cd "$bundle" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
}
