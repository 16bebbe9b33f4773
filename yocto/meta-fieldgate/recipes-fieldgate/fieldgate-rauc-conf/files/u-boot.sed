# system.conf for boards that start with U-Boot: RAUC knows it, and our backend for systemd-boot is not there.
s/^bootloader=custom$/bootloader=uboot\
boot-attempts=3\
boot-attempts-primary=3/
/^\[handlers\]$/d
/^bootloader-custom-backend=/d
