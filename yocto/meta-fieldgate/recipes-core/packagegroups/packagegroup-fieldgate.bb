SUMMARY = "What the appliance consists of"
DESCRIPTION = "The same as image/reference/packages, in Yocto's names: yocto/packages has both side by side."
LICENSE = "Apache-2.0"

# Names of packages that are made of others' depend on the machine.
PACKAGE_ARCH = "${MACHINE_ARCH}"
inherit packagegroup features_check
# fieldgate-rauc-conf and fieldgate-host have these.
REQUIRED_DISTRO_FEATURES = "rauc systemd usrmerge"

# The release binary; kas/k3s-source.yml has another.
FIELDGATE_K3S ?= "k3s-bin"
# What a board needs besides (conf/distro/include/fieldgate-boot.inc).
FIELDGATE_BOARD_INSTALL ?= ""

# the system
RDEPENDS:${PN} = "\
    ${MACHINE_ESSENTIAL_EXTRA_RDEPENDS} \
    base-files \
    base-passwd \
    busybox \
    ca-certificates \
    coreutils \
    dbus \
    dosfstools \
    e2fsprogs \
    findutils \
    iproute2 \
    kernel-modules \
    kmod \
    netbase \
    nftables \
    openssh-keygen \
    openssh-sftp-server \
    openssh-sshd \
    os-release \
    procps \
    rauc \
    rauc-service \
    systemd \
    systemd-extra-utils \
    systemd-networkd \
    tzdata \
    udev \
    util-linux \
    wpa-supplicant \
"

# the appliance
RDEPENDS:${PN} += "\
    ${FIELDGATE_BOARD_INSTALL} \
    ${FIELDGATE_K3S} \
    fieldgate-host \
    fieldgate-preload \
    fieldgate-rauc-conf \
"

RRECOMMENDS:${PN} = " \
    ${MACHINE_ESSENTIAL_EXTRA_RRECOMMENDS} \
    ${MACHINE_EXTRA_RDEPENDS} \
    ${MACHINE_EXTRA_RRECOMMENDS} \
"
