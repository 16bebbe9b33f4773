require recipes-kernel/linux/fieldgate-kernel.inc
