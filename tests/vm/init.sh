#!/bin/busybox sh
# The machine's first program, from the initramfs: makes the root that everything else sees.
# The host's / comes over 9p, read-only, with a file system in memory on top of it.
export PATH=/bin
die() {
    echo "init: $1"
    reboot -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module" || die "$module does not load"
done </modules/order

mkdir -p /host /memory /newroot
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose root /host ||
    die "no root"
mount -t tmpfs -o mode=755,size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /newroot ||
    die "no writable root"
cd /newroot && mkdir -p proc sys dev run tmp

# Kernel headers are thousands of small files, which are slow to open over 9p.
mkdir /headers
until [ -b /dev/vda ]; do usleep 10000; done
mount -t squashfs -o ro /dev/vda /headers || die "no kernel headers"
for directory in /headers/*; do
    mount -o bind "$directory" "/newroot/usr/src/${directory##*/}" || die "no $directory"
done

for directory in proc sys dev; do
    mount -o move "/$directory" "/newroot/$directory"
done
mount -t tmpfs -o mode=755 run /newroot/run
mkdir /newroot/run/vm
cp /bin/busybox /vm/* /newroot/run/vm/
exec switch_root /newroot /run/vm/busybox sh /run/vm/guest.sh
