# Which slot is started. Kept in U-Boot's environment, by this script and by RAUC (bootloader=uboot):
#   BOOT_ORDER                 slots, the one to try first in front; RAUC puts an updated one there
#   BOOT_a_LEFT, BOOT_b_LEFT   tries that are left, at most 3; 0 is a slot that is bad
#   BOOT_GOOD                  the slot that was good last: it is started without counting, so nothing is written at an ordinary start
# Written for U-Boot's old parser; tests/yocto/test_boot_script.py and test_u_boot.py run it.

# What the firmware found out about the board and wants to tell the kernel.
fdt addr ${fdt_addr}
fdt get value firmware_args /chosen bootargs
setenv every_args "ro rootwait=30 init=/usr/lib/fieldgate/preinit quiet loglevel=4 panic=10 systemd.gpt_auto=no cgroup_enable=memory cgroup_memory=1"

# The first start.
if test "${BOOT_GOOD}" = ""; then
  setenv BOOT_GOOD a
  setenv BOOT_ORDER a
  setenv BOOT_a_LEFT 3
  setenv BOOT_b_LEFT 0
  saveenv
fi

# Those in the order that have a try left; the next when a kernel cannot be read.
for slot in ${BOOT_ORDER}; do
  setenv part 0
  setenv left 0
  setenv trial ""
  if test "${slot}" = "a"; then setenv part 2; setenv left "${BOOT_a_LEFT}"; fi
  if test "${slot}" = "b"; then setenv part 3; setenv left "${BOOT_b_LEFT}"; fi
  if test 0x${left} -gt 0; then
    if test "${slot}" != "${BOOT_GOOD}"; then
      setenv next 0
      if test "${left}" = "2"; then setenv next 1; fi
      if test "${left}" = "3"; then setenv next 2; fi
      setenv BOOT_${slot}_LEFT ${next}
      # A try that cannot be counted is none.
      if saveenv; then setenv trial fieldgate.trial; else setenv part 0; fi
    fi
    if test ${part} -gt 0; then
      if load mmc 0:${part} ${kernel_addr_r} /usr/lib/fieldgate/boot/vmlinuz; then
        setenv bootargs "${firmware_args} root=PARTLABEL=root-${slot} rauc.slot=${slot} ${every_args} ${trial}"
        booti ${kernel_addr_r} - ${fdt_addr}
      fi
    fi
  fi
done

# None is left: better the one that was good than nothing.
setenv part 2
if test "${BOOT_GOOD}" = "b"; then setenv part 3; fi
if load mmc 0:${part} ${kernel_addr_r} /usr/lib/fieldgate/boot/vmlinuz; then
  setenv bootargs "${firmware_args} root=PARTLABEL=root-${BOOT_GOOD} rauc.slot=${BOOT_GOOD} ${every_args}"
  booti ${kernel_addr_r} - ${fdt_addr}
fi
reset
