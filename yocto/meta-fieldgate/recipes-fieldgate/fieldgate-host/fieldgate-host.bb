SUMMARY = "Units, settings and scripts of the appliance"
DESCRIPTION = "image/rootfs as it is, and what of systemd is switched on and off (image/reference/units)."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

PV = "${FIELDGATE_VERSION}"

FILESEXTRAPATHS:prepend := "${THISDIR}/files:${FIELDGATE_REPOSITORY}/image:${FIELDGATE_REPOSITORY}/image/reference:"
SRC_URI = " \
    file://rootfs/etc/ssh \
    file://rootfs/usr \
    file://units \
    file://units.sed \
    file://entry.sed \
    file://50-yocto.preset \
"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"

inherit features_check
REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

# The boot files differ.
PACKAGE_ARCH = "${MACHINE_ARCH}"

FILES:${PN} = "${sysconfdir} ${prefix}"
# Programs come with fieldgate-preload and k3s; these are what the scripts call.
RDEPENDS:${PN} = "coreutils findutils iproute2 nftables systemd util-linux"

# What of etc other packages bring, too, is the image's to place (fieldgate-image.bbclass). Links to nowhere cannot be fetched: here they are.
MASKED_GENERATORS = "systemd-ssh-generator"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    tar -C ${UNPACKDIR}/rootfs --owner=0 --group=0 --mode='u=rwX,go=rX' --sort=name -c . | tar -C ${D} --no-same-owner -x
    # For this machine, in fieldgate-rauc-conf.
    rm -r ${D}${nonarch_libdir}/rauc

    # What is switched on is a preset, applied when the image is made; what is masked is a link to nowhere.
    install -d ${D}${nonarch_libdir}/systemd/system-preset ${D}${sysconfdir}/systemd/system ${D}${sysconfdir}/systemd/system-generators
    for name in ${MASKED_GENERATORS}; do ln -s /dev/null ${D}${sysconfdir}/systemd/system-generators/$name; done
    sed -E -f ${UNPACKDIR}/units.sed ${UNPACKDIR}/units >${WORKDIR}/units.here
    {
        sed -n 's/^enable /&/p; s/^disable /&/p' ${WORKDIR}/units.here
        cat ${UNPACKDIR}/50-yocto.preset
    } >${D}${nonarch_libdir}/systemd/system-preset/50-fieldgate.preset
    sed -n 's/^mask //p' ${WORKDIR}/units.here | while read -r unit; do
        ln -s /dev/null ${D}${sysconfdir}/systemd/system/$unit
    done

    # OpenSSH's unit has Debian's name, too: scripts and drop-in use that.
    ln -s sshd.service ${D}${systemd_system_unitdir}/ssh.service

    # systemd would make links in a root that is not written, to folders that are mounted here.
    install -d ${D}${sysconfdir}/tmpfiles.d
    ln -s /dev/null ${D}${sysconfdir}/tmpfiles.d/00-create-volatile.conf

    if ${@bb.utils.contains('MACHINE_FEATURES', 'efi', 'true', 'false', d)}; then
        sed -i -E -f ${UNPACKDIR}/entry.sed ${D}${nonarch_libdir}/fieldgate/boot/entry.conf
    else
        rm -rf ${D}${nonarch_libdir}/fieldgate/boot ${D}${nonarch_libdir}/fieldgate/rauc-backend
    fi
}

# Scripts in /usr/lib/fieldgate are of both worlds: nothing here is a library.
INSANE_SKIP:${PN} += "libdir"
