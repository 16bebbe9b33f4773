# Programs for another processor under qemu-user. Sourced, never run.
# shellcheck shell=bash

# A folder in which the modules are those for aarch64, each started by qemu-user, and everything else is this machine's.
emulated_programs() { # folder to make
  local program
  rm -rf "$1"
  mkdir -p "$1"
  for program in "$TARGET"/release/*; do
    [ -f "$program" ] && [ -x "$program" ] && ln -s "$program" "$1/"
  done
  for program in modbus-reader iothub-module device-agent broker-setup; do
    rm -f "$1/$program"
    printf '#!/bin/sh\nexec qemu-aarch64-static %s "$@"\n' "$TARGET/aarch64-unknown-linux-musl/release/$program" >"$1/$program"
    chmod +x "$1/$program"
  done
}
