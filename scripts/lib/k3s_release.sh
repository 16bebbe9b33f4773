# k3s's release for the reference image: the one that the Yocto image packs. Sourced, never run.
# shellcheck shell=bash

# Its version and checksums, the one place for both images.
K3S_RELEASE_FILE=${K3S_RELEASE_FILE:-$ROOT/yocto/meta-fieldgate/recipes-k3s/k3s-bin/k3s-release.inc}

k3s_release_value() { # name in the file
  sed -n "s|^$1 *?*= *\"\(.*\)\"|\1|p" "$K3S_RELEASE_FILE"
}

# Program and images into a folder, and FIELDGATE_K3S and FIELDGATE_K3S_IMAGES to them. FIELDGATE_K3S_RELEASES names a mirror of the releases. A file
# that is there with the right checksum is not fetched again, and one with another checksum is never left under its name.
download_k3s() { # folder, amd64 or arm64
  local folder=$1 architecture=$2 suffix= version
  need curl "on Debian: apt-get install curl; or name k3s's binary in FIELDGATE_K3S"
  # Of the release's assets, that for amd64 has no suffix.
  [ "$architecture" = amd64 ] || suffix=-$architecture
  version=$(k3s_release_value PV)
  mkdir -p "$folder"
  fetch_k3s "k3s$suffix" "$(k3s_release_value "SRC_URI\[k3s-$architecture.sha256sum\]")" "$folder/k3s-$version-$architecture"
  fetch_k3s "k3s-airgap-images-$architecture.tar.zst" "$(k3s_release_value "SRC_URI\[images-$architecture.sha256sum\]")" \
    "$folder/k3s-airgap-images-$version-$architecture.tar.zst"
  chmod 755 "$folder/k3s-$version-$architecture"
  export FIELDGATE_K3S=$folder/k3s-$version-$architecture FIELDGATE_K3S_IMAGES=$folder/k3s-airgap-images-$version-$architecture.tar.zst
}

fetch_k3s() { # asset, SHA-256, file
  local releases address found
  [ "$(sha256_of "$3")" != "$2" ] || return 0
  releases=${FIELDGATE_K3S_RELEASES:-$(k3s_release_value FIELDGATE_K3S_RELEASES)}
  # `+` is a letter of the tag.
  address=$releases/v$(k3s_release_value PV)%2Bk3s1/$1
  say "downloading $address"
  curl --fail --silent --show-error --location --retry 3 --connect-timeout 30 --output "$3.part" "$address" \
    || die "$address cannot be fetched; name a mirror of k3s's releases in FIELDGATE_K3S_RELEASES, or the files in FIELDGATE_K3S and FIELDGATE_K3S_IMAGES"
  found=$(sha256_of "$3.part")
  if [ "$found" != "$2" ]; then
    rm "$3.part"
    die "$address has the SHA-256 $found, and ${K3S_RELEASE_FILE#"$ROOT"/} says $2; it is not used"
  fi
  mv "$3.part" "$3"
}

sha256_of() { # file
  [ ! -f "$1" ] || sha256sum "$1" | cut -d' ' -f1
}
