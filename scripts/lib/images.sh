# How container images are built, without Docker. Sourced after build.sh, never run.
# shellcheck shell=bash
. "$ROOT/scripts/lib/prerequisites.sh"

# Zig is C compiler and linker for both architectures: pinned, because another one makes other bytes (docs/decisions/0008).
IMAGE_TOOLS=("ziglang==0.17.1" "cargo-zigbuild==0.24.0")
IMAGE_VENV=$TARGET/venv-images

build_images() { # amd64, arm64 or all, any number of them; writes to target/images/<architecture>/
  local architecture
  for architecture in "$@"; do
    image_builder build --root "$ROOT" --arch "$architecture"
  done
}

# The program that does the work, with everything it calls; its arguments as they are.
image_builder() {
  need_image_tools
  (cd "$ROOT" && cargo build --locked --release -q -p image-builder)
  PATH=$IMAGE_VENV/bin:$PATH "$TARGET/release/image-builder" "$@"
}

need_image_tools() {
  local target wanted="${IMAGE_TOOLS[*]}"
  for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
    [ -d "$(rustc --print target-libdir --target "$target")" ] && continue
    need rustup "the standard library for $target is missing and rustup is not there to add it: install Rust with rustup"
    say "adding the Rust target $target"
    rustup target add "$target" || die "add it by hand: rustup target add $target"
  done
  [ "$(cat "$IMAGE_VENV/installed" 2>/dev/null)" = "$wanted" ] && return
  need python3 "install Python 3.11 or newer, on Debian: apt-get install python3-venv"
  python3 -m ensurepip --version >/dev/null 2>&1 || install_venv
  say "installing $wanted"
  rm -rf "$IMAGE_VENV"
  python3 -m venv "$IMAGE_VENV"
  "$IMAGE_VENV/bin/pip" install -q "${IMAGE_TOOLS[@]}"
  printf '%s' "$wanted" >"$IMAGE_VENV/installed"
}

install_venv() {
  # seen by need_test_packages in place of the whole list
  # shellcheck disable=SC2034
  local TEST_PACKAGES=("python3-venv /nowhere")
  need_test_packages
}
