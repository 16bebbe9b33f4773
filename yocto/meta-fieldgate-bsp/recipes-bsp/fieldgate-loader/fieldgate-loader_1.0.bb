SUMMARY = "What systemd-boot reads on a new disk"
DESCRIPTION = "Its settings and the entry of slot a. Slot b gets its own with its first update, from the root that the update brings."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

FILESEXTRAPATHS:prepend := "${FIELDGATE_REPOSITORY}/image/reference/loader:${FIELDGATE_REPOSITORY}/image/rootfs/usr/lib/fieldgate/boot:${FIELDGATE_REPOSITORY}/yocto/meta-fieldgate/recipes-fieldgate/fieldgate-host/files:"
SRC_URI = " \
    file://loader.conf \
    file://entry.conf \
    file://entry.sed \
"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"
inherit deploy nopackages
COMPATIBLE_HOST = "x86_64.*-linux"

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    # Not counted: a device whose power fails during its first starts has no other slot to go to.
    sed -E -f ${UNPACKDIR}/entry.sed -e 's/@SLOT@/a/g; s/@NUMBER@/1/' ${UNPACKDIR}/entry.conf >${WORKDIR}/fieldgate-a.conf
}

do_deploy() {
    install -D -m 0644 ${UNPACKDIR}/loader.conf ${DEPLOYDIR}/fieldgate-loader/loader.conf
    install -m 0644 ${WORKDIR}/fieldgate-a.conf ${DEPLOYDIR}/fieldgate-loader/fieldgate-a.conf
}
addtask deploy after do_compile before do_build
