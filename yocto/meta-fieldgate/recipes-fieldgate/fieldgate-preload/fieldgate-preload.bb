SUMMARY = "Images, manifests and programs of the appliance"
DESCRIPTION = "What scripts/build-bundle made, for this machine's processor. Nothing is compiled here."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

PV = "${FIELDGATE_VERSION}"

INHIBIT_DEFAULT_DEPS = "1"
S = "${UNPACKDIR}"

# Go's names, which container images have.
FIELDGATE_ARCHITECTURE = ""
FIELDGATE_ARCHITECTURE:x86-64 = "amd64"
FIELDGATE_ARCHITECTURE:aarch64 = "arm64"
COMPATIBLE_HOST = "(x86_64|aarch64).*-linux"

SHARE = "${datadir}/fieldgate/bundle"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

python do_check_bundle() {
    import os
    bundle, architecture = d.getVar('FIELDGATE_BUNDLE'), d.getVar('FIELDGATE_ARCHITECTURE')
    for folder in ('manifests', 'k3s', 'systemd', 'images/' + architecture, 'bin/' + architecture):
        if not os.path.isdir(os.path.join(bundle, folder)):
            bb.fatal('FIELDGATE_BUNDLE: %s has no folder %s: run `scripts/build-bundle %s` in the repository, or name the folder of a bundle '
                     'in the variable FIELDGATE_BUNDLE' % (bundle, folder, architecture))
    version = d.getVar('FIELDGATE_VERSION')
    bb.note('%s for %s, version %s' % (bundle, architecture, version))
}
addtask check_bundle before do_install
do_check_bundle[vardeps] += "FIELDGATE_BUNDLE"
do_install[file-checksums] += "${FIELDGATE_BUNDLE}/SHA256SUMS:${@os.path.isfile(d.getVar('FIELDGATE_BUNDLE') + '/SHA256SUMS')}"

do_install() {
    (cd ${FIELDGATE_BUNDLE} && sha256sum --quiet --check SHA256SUMS) || bbfatal "${FIELDGATE_BUNDLE} is not what its SHA256SUMS says: run scripts/build-bundle again"
    install -d ${D}${SHARE} ${D}${prefix}/local/bin ${D}${sysconfdir}/systemd/system
    tar -C ${FIELDGATE_BUNDLE} --owner=0 --group=0 --mode='u=rwX,go=rX' --sort=name -c manifests k3s systemd \
        images/${FIELDGATE_ARCHITECTURE} bin/${FIELDGATE_ARCHITECTURE} | tar -C ${D}${SHARE} --no-same-owner -x
    # One copy: `fieldgate install` finds them in their places.
    ln ${D}${SHARE}/bin/${FIELDGATE_ARCHITECTURE}/* ${D}${prefix}/local/bin/
    ln ${D}${SHARE}/systemd/*.service ${D}${sysconfdir}/systemd/system/
}

FILES:${PN} = "${SHARE} ${prefix}/local/bin ${sysconfdir}/systemd/system"
# Static programs, stripped where they were built.
INSANE_SKIP:${PN} += "already-stripped ldflags"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
