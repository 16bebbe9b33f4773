#!/usr/bin/env bash
# yocto-check-layer for one of our layers, a part of scripts/yocto-check, inside `kas shell`: yocto_layer.sh LAYER WORK REPORT. In a folder of its
# own, because it rewrites bblayers.conf and leaves it changed when it is stopped.
set -euo pipefail
layer=$1 name=$(basename "$1") work=$2 report=$3 build=$PWD
own=$work/check-$name
rm -rf "$own"
mkdir -p "$own/conf"
# Its own settings besides: nothing of our distribution or machines, which it adds itself.
grep -E '^(BBMASK|BB_NO_NETWORK|CONNECTIVITY_CHECK_URIS|INHERIT:remove)' "$build/conf/local.conf" >"$own/conf/local.conf"
printf 'MACHINE ??= "qemux86-64"\nCONF_VERSION = "2"\n' >>"$own/conf/local.conf"
printf 'LCONF_VERSION = "7"\nBBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' "$work/openembedded-core/meta" >"$own/conf/bblayers.conf"

dependencies=()
oe=$work/meta-openembedded
case $name in
  meta-fieldgate) dependencies=("$oe/meta-oe" "$oe/meta-python" "$oe/meta-networking" "$work/meta-rauc") ;;
  meta-fieldgate-distro) dependencies=("$oe/meta-oe" "$oe/meta-python" "$oe/meta-networking" "$work/meta-rauc" "${layer%/*}/meta-fieldgate") ;;
esac
# bitbake takes the build it stands in.
cd "$own"
unset BBPATH
begun=$SECONDS
if BUILDDIR=$own yocto-check-layer ${dependencies:+--dependency "${dependencies[@]}" --no-auto-dependency} --machines qemux86-64 -- "$layer" >"$own/log" 2>&1; then
  printf '%-24s ok     yocto-check-layer: %s s; %s\n' "$name" "$((SECONDS - begun))" "$(grep -c ': PASS\|\.\.\. ok' "$own/log") tests" | tee -a "$report"
else
  tail -60 "$own/log"
  printf '%-24s FAILED yocto-check-layer: %s\n' "$name" "$own/log" | tee -a "$report"
  exit 1
fi
