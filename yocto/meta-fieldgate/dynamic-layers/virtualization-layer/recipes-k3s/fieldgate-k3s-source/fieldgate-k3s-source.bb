SUMMARY = "k3s of meta-virtualization, in the places of the appliance"
DESCRIPTION = "Links to k3s, containerd, runc and the CNI plugins where k3s.service looks for them. For kas/k3s-source.yml."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

PV = "${FIELDGATE_VERSION}"

S = "${UNPACKDIR}"

inherit features_check
REQUIRED_DISTRO_FEATURES = "k3s seccomp virtualization"
COMPATIBLE_HOST = "(x86_64|aarch64).*-linux"

INHIBIT_DEFAULT_DEPS = "1"

FILES:${PN} = "${datadir}/fieldgate/k3s ${K3S_FOLDER}"
# `k3s` without k3s-server: its unit would start a second containerd beside that of k3s. Ours is in image/rootfs.
RDEPENDS:${PN} = "cni conntrack-tools ipset iptables k3s virtual-containerd virtual-runc"

# The release's archive of images for the version that the recipe k3s builds: which pause image and CoreDNS it asks for depends on that.
FIELDGATE_K3S_SOURCE_IMAGES ??= ""

python do_check_images() {
    import os
    images = d.getVar('FIELDGATE_K3S_SOURCE_IMAGES')
    if not images:
        bb.fatal('FIELDGATE_K3S_SOURCE_IMAGES is not set: name the file k3s-airgap-images-ARCHITECTURE.tar.zst of the release of k3s that the recipe '
                 'k3s builds; without pause image and CoreDNS nothing starts offline')
    if not os.path.isfile(images):
        bb.fatal('FIELDGATE_K3S_SOURCE_IMAGES names no file: %s' % images)
}
addtask check_images before do_install
do_check_images[vardeps] += "FIELDGATE_K3S_SOURCE_IMAGES"
do_install[file-checksums] += "${@'%s:True' % d.getVar('FIELDGATE_K3S_SOURCE_IMAGES') if d.getVar('FIELDGATE_K3S_SOURCE_IMAGES') else ''}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

K3S_FOLDER = "${libexecdir}/fieldgate/k3s"

do_install() {
    install -d ${D}${K3S_FOLDER}
    ln -s ../../../local/bin/k3s ${D}${K3S_FOLDER}/k3s
    for name in containerd containerd-shim-runc-v2 runc; do ln -s ../../../bin/$name ${D}${K3S_FOLDER}/$name; done
    for name in bandwidth bridge firewall flannel host-local loopback portmap; do ln -s ../../cni/$name ${D}${K3S_FOLDER}/$name; done
    # The checksum is in the name: k3s tells archives that it has imported by name, size and time.
    sum=$(sha256sum ${FIELDGATE_K3S_SOURCE_IMAGES} | cut -c1-12)
    install -D -m 0644 ${FIELDGATE_K3S_SOURCE_IMAGES} ${D}${datadir}/fieldgate/k3s/images/k3s-airgap-images-$sum.tar.zst
}
