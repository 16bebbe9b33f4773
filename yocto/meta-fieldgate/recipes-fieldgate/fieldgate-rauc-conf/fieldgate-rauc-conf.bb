SUMMARY = "Settings of the updates, and whose signature is taken"
DESCRIPTION = "image/rootfs/usr/lib/rauc/system.conf for this machine, and the keyring that RAUC_KEYRING_FILE names."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

PV = "${FIELDGATE_VERSION}"

FILESEXTRAPATHS:prepend := "${THISDIR}/files:${FIELDGATE_REPOSITORY}/image/rootfs/usr/lib/rauc:"
SRC_URI = " \
    file://system.conf \
    file://u-boot.sed \
"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"

# Or a distribution that only has this layer beside meta-rauc would get these settings with its RAUC.
inherit features_check
REQUIRED_DISTRO_FEATURES = "rauc"

PACKAGE_ARCH = "${MACHINE_ARCH}"
FILES:${PN} = "${nonarch_libdir}/rauc"
RPROVIDES:${PN} += "virtual-rauc-conf"

# In place of our backend for systemd-boot (FIELDGATE_BOOTLOADER = "u-boot": conf/distro/include/fieldgate-boot.inc).
FIELDGATE_BOOTLOADER ?= "systemd-boot"

RAUC_KEYRING_FILE ??= ""

do_configure[noexec] = "1"
do_compile[noexec] = "1"

python do_check_keyring() {
    import os
    keyring = d.getVar('RAUC_KEYRING_FILE')
    if not keyring:
        bb.fatal('RAUC_KEYRING_FILE is not set: name the certificates whose updates a device takes, as a variable of the environment or in '
                 'site.conf (yocto/README.md, "Keys")')
    if not os.path.isfile(keyring):
        bb.fatal('RAUC_KEYRING_FILE names no file: %s' % keyring)
    with open(keyring, encoding='utf-8', errors='replace') as file:
        if 'PRIVATE KEY' in file.read():
            bb.fatal('RAUC_KEYRING_FILE %s has a private key in it: a device gets certificates only' % keyring)
}
addtask check_keyring before do_install
do_check_keyring[nostamp] = "1"
do_check_keyring[vardeps] += "RAUC_KEYRING_FILE"
do_install[file-checksums] += "${@'%s:True' % d.getVar('RAUC_KEYRING_FILE') if d.getVar('RAUC_KEYRING_FILE') else ''}"

do_install() {
    install -d ${D}${nonarch_libdir}/rauc
    sed -e 's/@MACHINE@/${MACHINE}/' ${UNPACKDIR}/system.conf >${WORKDIR}/system.conf.here
    if [ "${FIELDGATE_BOOTLOADER}" = u-boot ]; then sed -i -f ${UNPACKDIR}/u-boot.sed ${WORKDIR}/system.conf.here; fi
    install -m 0644 ${WORKDIR}/system.conf.here ${D}${nonarch_libdir}/rauc/system.conf
    install -m 0644 ${RAUC_KEYRING_FILE} ${D}${nonarch_libdir}/rauc/keyring.pem
}
