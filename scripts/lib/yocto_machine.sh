#!/usr/bin/env bash
# One machine's part of scripts/yocto-check, inside `kas shell`, in the build's folder: yocto_machine.sh MACHINE REPORT
set -uo pipefail
export MACHINE=$1 BB_ENV_PASSTHROUGH_ADDITIONS="${BB_ENV_PASSTHROUGH_ADDITIONS:-} MACHINE"
report_file=$2
bad=0
report() { printf '%-18s %-6s %s\n' "$MACHINE" "$1" "$2" | tee -a "$report_file"; }
fail() { report FAILED "$1"; bad=1; }

stage() { # name, command…
  local name=$1 begun=$SECONDS log="$PWD/check-$MACHINE-${1// /-}.log" found
  shift
  if "$@" >"$log" 2>&1; then
    found=$(grep -cE '^(WARNING|ERROR):' "$log")
    report ok "$name: $((SECONDS - begun)) s, $found warnings; $(grep -oE '[0-9]+ \.bb files.*|Parsing of .*' "$log" | tail -1)"
    grep -E '^WARNING:' "$log"
  else
    # What follows would say the same.
    tail -40 "$log"
    fail "$name: $log"
    exit 1
  fi
}

stage "parse" bitbake -p
stage "resolve image" bitbake -g fieldgate-image
cp pn-buildlist "check-$MACHINE-recipes"
stage "resolve bundle" bitbake -g fieldgate-bundle
# One after the other: `grep -q` ends at the first match, and a pipe that breaks counts as a failure.
sort -u "check-$MACHINE-recipes" pn-buildlist >"check-$MACHINE-all"
built() { grep -qxF "$1" "check-$MACHINE-all" || fail "$1 is not among the recipes that are built"; }
not_built() { ! grep -qxF "$1" "check-$MACHINE-all" || fail "$1 is built"; }

bitbake -e fieldgate-image >"check-$MACHINE-image.env" || fail "bitbake -e fieldgate-image"
bitbake -e fieldgate-bundle >"check-$MACHINE-bundle.env" || fail "bitbake -e fieldgate-bundle"
bitbake -e systemd >"check-$MACHINE-systemd.env" || fail "bitbake -e systemd"
value() { sed -n "s/^$2=\"\(.*\)\"$/\1/p" "check-$MACHINE-$1.env"; }
is() { # recipe, variable, value
  [ "$(value "$1" "$2")" = "$3" ] || fail "$1: $2 is '$(value "$1" "$2")', not '$3'"
}
has() { # recipe, variable, word
  case " $(value "$1" "$2") " in *" $3 "*) ;; *) fail "$1: $2 has no $3: '$(value "$1" "$2")'" ;; esac
}
has_not() { # recipe, variable, word
  case " $(value "$1" "$2") " in *" $3 "*) fail "$1: $2 has $3" ;; esac
}

is image DISTRO fieldgate-os
has image IMAGE_FEATURES read-only-rootfs
for door in allow-empty-password empty-root-password allow-root-login serial-autologin-root post-install-logging; do has_not image IMAGE_FEATURES "$door"; done
for feature in rauc systemd usrmerge seccomp wifi systemd-resolved; do has image DISTRO_FEATURES "$feature"; done
for feature in x11 wayland opengl bluetooth nfs zeroconf ptest; do has_not image DISTRO_FEATURES "$feature"; done
has image IMAGE_FSTYPES ext4
is image IMAGE_ROOTFS_SIZE 1572864
has systemd PACKAGECONFIG repart
has systemd PACKAGECONFIG networkd
has systemd PACKAGECONFIG resolved
is bundle RAUC_BUNDLE_FORMAT verity
is bundle RAUC_BUNDLE_COMPATIBLE "fieldgate-$MACHINE"
for recipe in fieldgate-host fieldgate-preload fieldgate-rauc-conf k3s-bin nftables openssh rauc rauc-native systemd wic-native; do built "$recipe"; done
for recipe in k3s rauc-conf; do not_built "$recipe"; done
case $MACHINE in
  raspberrypi*)
    is image WKS_FILE fieldgate-raspberrypi.wks.in
    is image KERNEL_IMAGETYPE Image
    has image IMAGE_BOOT_FILES boot.scr
    has_not image IMAGE_BOOT_FILES Image
    for recipe in u-boot fieldgate-boot-script fieldgate-board-raspberrypi linux-raspberrypi libubootenv; do built "$recipe"; done
    not_built rpi-u-boot-scr
    ;;
  *)
    is image WKS_FILE fieldgate-x86.wks.in
    is image EFI_PROVIDER systemd-boot
    has systemd PACKAGECONFIG efi
    for recipe in systemd-boot fieldgate-loader linux-yocto; do built "$recipe"; done
    ;;
esac
[ "$bad" = 0 ] && report ok "variables and recipes: $(wc -l <"check-$MACHINE-all") recipes"
exit "$bad"
