#!/bin/sh
# A machine in namespaces, booted by systemd: run as pid 1 of new mount, pid, cgroup, net, uts and ipc namespaces.
#   boot.sh ROOT CHECKOUT PYTHON     ROOT is a temporary directory, with the files in it seen at the same path inside
# Its file system is this machine's under an overlay, so nothing written inside is seen outside, ROOT apart.
set -eu
root=$1 checkout=$2 python=$3
mount --make-rprivate /

# The overlay is in memory and gone with the namespace.
bed=$root/bed
mkdir -p "$bed"
mount -t tmpfs none "$bed"
mkdir "$bed/upper" "$bed/work" "$bed/new"
mount -t overlay -o "lowerdir=/,upperdir=$bed/upper,workdir=$bed/work" none "$bed/new"
cd "$bed/new"

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys # what pid 1 would set there is the real machine's
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for directory in run tmp; do mount -t tmpfs none $directory; done
chmod 1777 tmp
mount -t tmpfs -o mode=755 none dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs none dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir -p "./$root" "./$checkout"
mount --bind "$root" "./$root"
mount --bind "$checkout" "./$checkout"
mount -o remount,bind,ro "./$checkout"

# Nothing of this machine is started, but what the units under test and a user's manager need.
rm -rf etc/systemd/system/* lib/systemd/system/*.wants/* lib/systemd/system-generators lib/systemd/user-generators
rm -rf etc/cron.*/* var/lib/systemd/timers var/lib/systemd/linger
: > etc/fstab
: > etc/crontab
mkdir -p etc/systemd/system
ln -s /dev/null etc/systemd/system/systemd-sysctl.service
cat > etc/systemd/system/bed.target <<'UNIT'
[Unit]
Requires=basic.target timers.target dbus.service systemd-logind.service systemd-user-sessions.service
After=basic.target timers.target dbus.service systemd-logind.service systemd-user-sessions.service
UNIT

# A person without rights, who must be able to reach the interpreter and the checkout.
id you > /dev/null 2>&1 || chroot . /usr/sbin/useradd --create-home --shell /bin/sh you
for path in "$python" "$(readlink -f "$python")" "$checkout" "$root"; do
  while [ "$path" != / ]; do
    path=$(dirname "$path")
    [ "$path" = / ] || chmod a+rx "./$path" 2> /dev/null || test -x "./$path"
  done
done

mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i container=bed PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=bed.target --log-target=console --log-level=info
