"""The reference image in QEMU."""
