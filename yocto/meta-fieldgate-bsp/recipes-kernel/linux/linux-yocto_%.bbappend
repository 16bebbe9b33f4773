# linux-yocto names the machines that it is for.
COMPATIBLE_MACHINE:fieldgate-x86-64 = "^fieldgate-x86-64$"
KMACHINE:fieldgate-x86-64 = "common-pc-64"
KBRANCH:fieldgate-x86-64 ?= "v6.18/standard/base"
