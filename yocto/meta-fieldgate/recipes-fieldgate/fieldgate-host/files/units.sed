# image/reference/units in Yocto's names. Comments go.
/^[[:space:]]*(#|$)/d
s/ ssh\.service$/ sshd.service/
s/ sshd-keygen\.service$/ sshdgenkeys.service/
# Debian's alone.
/ (dpkg-db-backup\.timer|e2scrub_(all\.timer|reap\.service)|getty-static\.service)$/d
