# The kernel has what it needs to reach its root, and waits for it: no initrd.
/^initrd /d
s/^options .*/& rootwait=30/
