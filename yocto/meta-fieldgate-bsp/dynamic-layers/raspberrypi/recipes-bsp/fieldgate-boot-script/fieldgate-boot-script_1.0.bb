SUMMARY = "Which slot a Raspberry Pi starts"
DESCRIPTION = "U-Boot's script: counts the tries of an update, and goes back to the slot that was good."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

DEPENDS = "u-boot-mkimage-native"
PROVIDES += "u-boot-default-script"
SRC_URI = "file://boot.cmd"
S = "${UNPACKDIR}"
INHIBIT_DEFAULT_DEPS = "1"
COMPATIBLE_MACHINE = "^rpi$"

inherit kernel-arch deploy nopackages

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    mkimage -A ${UBOOT_ARCH} -T script -C none -n "Fieldgate" -d ${UNPACKDIR}/boot.cmd ${WORKDIR}/boot.scr
}

do_deploy() {
    install -D -m 0644 ${WORKDIR}/boot.scr ${DEPLOYDIR}/boot.scr
}
addtask deploy after do_compile before do_build
