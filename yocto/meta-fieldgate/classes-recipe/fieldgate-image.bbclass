# An image of the appliance: a root that is never written, for either of two slots (docs/decisions/0012). Other images of yours inherit this too.

# The image of one partition, without room to grow: MiB, equal to image/reference/layout.
FIELDGATE_ESP_MIB ?= "256"
FIELDGATE_ROOT_MIB ?= "1536"
FIELDGATE_DATA_MIB ?= "256"

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_FSTYPES = "ext4 wic.zst wic.bmap"
# Slot a of a new disk has the very bytes that a bundle carries: the first update finds its blocks there.
# nooelint: oelint.vars.specific
IMAGE_TYPEDEP:wic = "ext4"

IMAGE_ROOTFS_SIZE = "${@int(d.getVar('FIELDGATE_ROOT_MIB')) * 1024}"
IMAGE_ROOTFS_MAXSIZE = "${IMAGE_ROOTFS_SIZE}"
IMAGE_ROOTFS_EXTRA_SPACE = "0"
IMAGE_OVERHEAD_FACTOR = "1.0"
# 4 KiB blocks: RAUC's index of blocks counts in these.
# nooelint: oelint.vars.specific
EXTRA_IMAGECMD:ext4 = "-b 4096 -i 16384 -m 1 -J size=32"

# Nobody reads translations on a device.
IMAGE_LINGUAS = ""

inherit core-image

# What the boot loader takes along onto the disk; the machine says what (conf/distro/include/fieldgate-boot.inc).
FIELDGATE_WIC_DEPENDS ?= ""
do_image_wic[depends] += "${FIELDGATE_WIC_DEPENDS}"
do_rootfs[depends] += "virtual/kernel:do_deploy"
do_rootfs[file-checksums] += "${@' '.join('%s/image/rootfs/etc/%s:True' % (d.getVar('FIELDGATE_REPOSITORY'), name) for name in ('fstab', 'hostname', 'hosts'))}"

# Files of /etc that packages have, too: the device has those of image/rootfs.
FIELDGATE_OWN_ETC = "fstab hostname hosts localtime machine-id resolv.conf"

fieldgate_own_etc() {
    for name in ${FIELDGATE_OWN_ETC}; do
        from=${FIELDGATE_REPOSITORY}/image/rootfs/etc/$name
        [ -e "$from" ] || [ -L "$from" ] || continue
        rm -f ${IMAGE_ROOTFS}${sysconfdir}/$name
        cp -P --no-preserve=ownership "$from" ${IMAGE_ROOTFS}${sysconfdir}/$name
        [ -L "$from" ] || chmod 0644 ${IMAGE_ROOTFS}${sysconfdir}/$name
    done
    # What fstab mounts needs a place, and a folder, not a link to one.
    awk '!/^#/ && NF { print $2 }' ${IMAGE_ROOTFS}${sysconfdir}/fstab | while read -r folder; do
        [ ! -L "${IMAGE_ROOTFS}$folder" ] || rm "${IMAGE_ROOTFS}$folder"
        mkdir -p "${IMAGE_ROOTFS}$folder"
    done
}

# Kernel and root are one: an update brings both, and the boot loader's file for it.
fieldgate_boot_files() {
    install -d ${IMAGE_ROOTFS}${nonarch_libdir}/fieldgate/boot
    install -m 0644 ${DEPLOY_DIR_IMAGE}/${KERNEL_IMAGETYPE} ${IMAGE_ROOTFS}${nonarch_libdir}/fieldgate/boot/vmlinuz
}

ROOTFS_POSTPROCESS_COMMAND += "fieldgate_own_etc fieldgate_boot_files"

python () {
    open_doors = {'allow-empty-password', 'empty-root-password', 'allow-root-login', 'serial-autologin-root', 'post-install-logging', 'debug-tweaks'}
    found = sorted(open_doors & set((d.getVar('IMAGE_FEATURES') or '').split()))
    if found:
        bb.fatal('%s: IMAGE_FEATURES has %s; no image of the appliance has an account without a key. '
                 'Take it out of IMAGE_FEATURES and EXTRA_IMAGE_FEATURES; the way in is a key (yocto/README.md)' % (d.getVar('PN'), ' '.join(found)))
}
