# The environment lies twice on the card, in no partition: a power cut while it is written leaves the other copy.
FILESEXTRAPATHS:prepend:fieldgate-os := "${THISDIR}/files:"
# fw_env.config is meta-raspberrypi's entry, and ours the file.
SRC_URI:append:rpi:fieldgate-os = " file://environment.cfg file://start.cfg"
