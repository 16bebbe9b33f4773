SUMMARY = "k3s, the release's program and images"
DESCRIPTION = "Kubernetes in one program, with containerd, runc and the CNI plugins inside. The same file as in the reference image."
HOMEPAGE = "https://k3s.io"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

require k3s-release.inc

K3S_ARCHITECTURE = ""
K3S_ARCHITECTURE:x86-64 = "amd64"
K3S_ARCHITECTURE:aarch64 = "arm64"
# Of the release's assets, that for amd64 has no suffix.
K3S_SUFFIX = "-${K3S_ARCHITECTURE}"
K3S_SUFFIX:x86-64 = ""
COMPATIBLE_HOST = "(x86_64|aarch64).*-linux"

K3S_PROGRAM = "k3s-${PV}-${K3S_ARCHITECTURE}"
K3S_IMAGES = "k3s-airgap-images-${PV}-${K3S_ARCHITECTURE}.tar.zst"
SRC_URI = " \
    ${FIELDGATE_K3S_RELEASES}/${K3S_RELEASE}/k3s${K3S_SUFFIX};name=k3s-${K3S_ARCHITECTURE};downloadfilename=${K3S_PROGRAM};unpack=0 \
    ${FIELDGATE_K3S_RELEASES}/${K3S_RELEASE}/k3s-airgap-images-${K3S_ARCHITECTURE}.tar.zst;name=images-${K3S_ARCHITECTURE};downloadfilename=${K3S_IMAGES};unpack=0 \
"
S = "${UNPACKDIR}"
UPSTREAM_CHECK_URI = "https://github.com/k3s-io/k3s/releases"

CVE_PRODUCT = "k3s:k3s suse:k3s"
SPDX_PACKAGE_URL = "pkg:github/k3s-io/k3s@${K3S_RELEASE}"

INHIBIT_DEFAULT_DEPS = "1"
FILES:${PN} = "${K3S_FOLDER} ${prefix}/local/bin ${datadir}/fieldgate/k3s"
RCONFLICTS:${PN} = "k3s"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# One folder with all that k3s looks for in PATH, as in the reference image; what a person calls is in /usr/local/bin.
K3S_FOLDER = "${libexecdir}/fieldgate/k3s"

do_install() {
    install -D -m 0755 ${UNPACKDIR}/${K3S_PROGRAM} ${D}${K3S_FOLDER}/k3s
    install -d ${D}${prefix}/local/bin
    for name in kubectl crictl ctr; do ln -s k3s ${D}${K3S_FOLDER}/$name; done
    for name in k3s kubectl crictl ctr; do ln -s ../../libexec/fieldgate/k3s/$name ${D}${prefix}/local/bin/$name; done
    # The version is in the name: k3s tells archives that it has imported by name, size and time.
    install -D -m 0644 ${UNPACKDIR}/${K3S_IMAGES} ${D}${datadir}/fieldgate/k3s/images/${K3S_IMAGES}
}

INSANE_SKIP:${PN} += "already-stripped ldflags"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
