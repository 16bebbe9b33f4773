SUMMARY = "What a Raspberry Pi needs besides"
DESCRIPTION = "Its watchdog's limit, and what systemd-bless-boot does on x86: a slot that was started for a try is marked good once the system is healthy."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = " \
    file://20-raspberrypi.conf \
    file://fieldgate-keep-slot \
    file://fieldgate-keep-slot.service \
    file://fieldgate-trial-generator \
"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"
inherit features_check
REQUIRED_DISTRO_FEATURES = "rauc systemd"
COMPATIBLE_MACHINE = "^rpi$"

FILES:${PN} = "${nonarch_libdir}"
RDEPENDS:${PN} = "rauc u-boot-fw-utils"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${UNPACKDIR}/20-raspberrypi.conf ${D}${nonarch_libdir}/systemd/system.conf.d/20-raspberrypi.conf
    install -D -m 0755 ${UNPACKDIR}/fieldgate-keep-slot ${D}${nonarch_libdir}/fieldgate/keep-slot
    install -D -m 0644 ${UNPACKDIR}/fieldgate-keep-slot.service ${D}${systemd_system_unitdir}/fieldgate-keep-slot.service
    install -D -m 0755 ${UNPACKDIR}/fieldgate-trial-generator ${D}${nonarch_libdir}/systemd/system-generators/fieldgate-trial-generator
}
