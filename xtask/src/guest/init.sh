#!/bin/sh
# First process of the test guest: no disk, no distribution, ready within seconds under emulation.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/virtio-ports
mount -t devpts devpts /dev/pts
while read -r module; do insmod "/lib/modules/$module.ko" 2>/dev/null; done < /lib/modules/order
hostname tiny
ifconfig lo 127.0.0.1 up

# The power button arrives as an input event, a moment after its module is loaded.
(sleep 1; acpid -d -l /var/log/acpid.log > /var/log/acpid.out 2>&1) &

for port in /sys/class/virtio-ports/*; do
    [ -f "$port/name" ] && ln -sf "/dev/${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
agent=/dev/virtio-ports/org.qemu.guest_agent.0
if [ -e "$agent" ]; then
    qemu-ga -m virtio-serial -p "$agent" -t /run > /var/log/qemu-ga.log 2>&1 &
    echo GUEST-AGENT > /dev/console
fi
for nic in /sys/class/net/*; do
    nic=${nic##*/}
    [ "$nic" = lo ] && continue
    ifconfig "$nic" up
    udhcpc -b -T 1 -t 30 -i "$nic" -s /etc/udhcpc.sh > /dev/null 2>&1 &
done
echo "GUEST-READY disks=$(ls /sys/block | tr '\n' ',')" > /dev/console
while :; do setsid cttyhack sh; done
