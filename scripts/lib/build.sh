# Shared by the scripts in scripts/: where things are, and how each thing is built once. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
PLATFORM=$TARGET/platform
export CARGO_TARGET_DIR=$TARGET

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

need() { # command, what to do when it is missing
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"
}

need_toolchains() {
  need cargo "install Rust 1.94 or newer with rustup (https://rustup.rs)"
  need cc "install a C compiler, on Debian: apt-get install gcc"
  need go "install Go 1.26 or newer (https://go.dev/dl)"
}

# The Go programs: Dapr in one file and the broker. Built once; the stamp is the content of image/dapr and image/broker.
# FIELDGATE_DAPRD and FIELDGATE_NATS_SERVER name programs to use instead; then nothing is built for that part.
build_platform() {
  local version
  version=$(cd "$ROOT/image/dapr" && go list -m -f '{{.Version}}' github.com/dapr/dapr)
  replaced "${FIELDGATE_DAPRD:-}" || build_go image/dapr fieldgate-dapr . "-X github.com/dapr/dapr/pkg/buildinfo.version=${version#v}"
  replaced "${FIELDGATE_NATS_SERVER:-}" || build_go image/broker nats-server github.com/nats-io/nats-server/v2
}

replaced() { # program that the user gives instead of ours, or nothing
  [ -n "$1" ] || return 1
  [ -x "$1" ] || die "$1 is not an executable file: mend the environment variable that names it"
}

# Static, because the same files go into images, which have no C library; CGO_ENABLED=1 in front of the call for a program that needs C.
build_go() { # folder of the module, program, package, linker flags
  local folder=$ROOT/$1 program=$PLATFORM/$2 stamp
  stamp=$(cd "$folder" && find . -type f \( -name 'go.*' -o -name '*.go' \) | LC_ALL=C sort | xargs sha256sum | sha256sum)
  [ -x "$program" ] && [ "$(cat "$program.stamp" 2>/dev/null)" = "$stamp" ] && return
  say "building $2 with Go (once; some minutes the first time)"
  mkdir -p "$PLATFORM"
  (cd "$folder" && CGO_ENABLED=${CGO_ENABLED:-0} go build -trimpath -ldflags "-s -w ${4:-}" -o "$program" "$3")
  printf '%s' "$stamp" >"$program.stamp"
}

# Every program of the repository, optimised: what the demonstration, the benchmarks and the tests of whole processes run.
build_programs() {
  say "building the programs (release)"
  (cd "$ROOT" && cargo build --locked --release --bins --examples)
}
