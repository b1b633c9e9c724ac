#!/bin/sh
# The first process of the lab kernel. The kernel's command line hands it NETORCH_JOB, a directory of the host:
#   shares   directories of the host, one a line, that are read and written through; all else is a throw-away copy
#   job      shell commands that set the environment and exec what was asked for
#   out err  what it prints; status  what it left with (written last: whoever booted us then ends the kernel)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs none /sys && cd /sys && mkdir upper work root  # /sys: the host's is of no use here, and it always exists
mount -t overlay none -o lowerdir=/,upperdir=/sys/upper,workdir=/sys/work root && cd root || exit 1
mount -t proc none proc
mount -t sysfs none sys
mount -t devtmpfs none dev
mkdir -p dev/pts dev/shm dev/net
mount -t devpts -o mode=620,ptmxmode=666 none dev/pts
mount -t tmpfs none dev/shm
mount -t tmpfs -o mode=1777 none tmp
mount -t tmpfs -o mode=755 none run
[ -e dev/fd ] || ln -s /proc/self/fd dev/fd
[ -c dev/net/tun ] || mknod -m 666 dev/net/tun c 10 200
mkdir -p run/netns run/lock
while IFS= read -r share; do
    mkdir -p "./$share" && mount -t hostfs none "./$share" -o "$share" || exit 1
done <"$NETORCH_JOB/shares"

# A root of our own instead of a chroot: user namespaces are refused to a process in a chroot.
mkdir -p run/old-root && pivot_root . run/old-root && cd / && umount -l /run/old-root && rmdir /run/old-root || exit 1

echo netorch-lab >/proc/sys/kernel/hostname
for family in ipv4 ipv6; do  # one neighbour table for all namespaces: a scan in one must not starve the others
    echo 32768 >/proc/sys/net/$family/neigh/default/gc_thresh2
    echo 131072 >/proc/sys/net/$family/neigh/default/gc_thresh3
done
echo 4096 >/proc/sys/fs/inotify/max_user_instances  # every store that is watched takes one; 128 agents are a small lab
ulimit -n 524288  # 4,096 otherwise, for everybody: a store, a watch and some sockets for each of many agents and tests
ip link set lo up

sh "$NETORCH_JOB/job" </dev/null >"$NETORCH_JOB/out" 2>"$NETORCH_JOB/err"
echo $? >"$NETORCH_JOB/status.new" && mv "$NETORCH_JOB/status.new" "$NETORCH_JOB/status" || exit 1
exec sleep infinity
