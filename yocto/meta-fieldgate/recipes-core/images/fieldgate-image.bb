SUMMARY = "The appliance: k3s, Dapr and the modules, preloaded"
DESCRIPTION = "A disk that boots into a working gateway, and the file system that an update brings."
LICENSE = "Apache-2.0"

IMAGE_INSTALL = "packagegroup-fieldgate"

inherit fieldgate-image features_check
# As the packages in it.
REQUIRED_DISTRO_FEATURES = "rauc systemd usrmerge"
