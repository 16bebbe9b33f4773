SUMMARY = "The update that brings a device to this version"
DESCRIPTION = "A signed RAUC bundle with the root file system. Signing needs RAUC_KEY_FILE and RAUC_CERT_FILE."
LICENSE = "Apache-2.0"

PV = "${FIELDGATE_VERSION}"

inherit bundle features_check
# As the image.
REQUIRED_DISTRO_FEATURES = "rauc systemd usrmerge"

# The same words as in system.conf (fieldgate-rauc-conf): an update for another machine is refused.
RAUC_BUNDLE_COMPATIBLE = "fieldgate-${MACHINE}"
RAUC_BUNDLE_VERSION = "${FIELDGATE_VERSION}"
# Not the time: the same input gives the same bundle.
RAUC_BUNDLE_BUILD = "${FIELDGATE_VERSION}"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "rootfs"

RAUC_SLOT_rootfs = "fieldgate-image"
RAUC_SLOT_rootfs[fstype] = "ext4"
RAUC_SLOT_rootfs[rename] = "root.img"
# Of an update over the network, only blocks are read that the device does not have in one of its slots.
RAUC_SLOT_rootfs[adaptive] = "block-hash-index"

BUNDLE_ARGS = '--mksquashfs-args="-comp zstd"'

python do_check_keys() {
    import os
    for name in ('RAUC_KEY_FILE', 'RAUC_CERT_FILE'):
        value = d.getVar(name)
        if not value:
            bb.fatal('%s is not set: name the file that signs updates, as a variable of the environment or in site.conf (yocto/README.md, "Keys")' % name)
        if not value.startswith('pkcs11:') and not os.path.isfile(value):
            bb.fatal('%s names no file: %s' % (name, value))
        if d.getVar('FIELDGATE_RELEASE') == '1' and os.path.realpath(value).startswith(os.path.realpath(d.getVar('FIELDGATE_REPOSITORY')) + os.sep):
            bb.fatal('%s lies in the repository (%s): a release is signed with a key that is kept elsewhere' % (name, value))
}
addtask check_keys before do_fetch
do_check_keys[nostamp] = "1"
do_check_keys[vardeps] += "RAUC_KEY_FILE RAUC_CERT_FILE"
