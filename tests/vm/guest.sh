# Process 1 in the machine's final root: the mounts and settings of an ordinary host, then the
# command of /run/vm/command with its output on the ports "stdout" and "stderr", then its status.
busybox=/run/vm/busybox
$busybox mkdir -p /dev/pts /dev/shm
$busybox mount -t devpts -o mode=600,ptmxmode=666 devpts /dev/pts
$busybox mount -t tmpfs -o mode=1777 shm /dev/shm
$busybox mount -t tracefs tracefs /sys/kernel/tracing
$busybox mount -t debugfs debugfs /sys/kernel/debug
$busybox mount -t bpf bpf /sys/fs/bpf
$busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
$busybox ln -sf /proc/self/fd /dev/fd
$busybox ln -sf /proc/self/fd/0 /dev/stdin
$busybox ln -sf /proc/self/fd/1 /dev/stdout
$busybox ln -sf /proc/self/fd/2 /dev/stderr
# Debian's 3 keeps perf events from all but root: systemd/ptraced.sysctl
echo 2 >/proc/sys/kernel/perf_event_paranoid
$busybox ip link set lo up
$busybox hostname vm

# Each port stands at /run/vm/ports/NAME, whatever device it became.
$busybox mkdir /run/vm/ports
for port in /sys/class/virtio-ports/*; do
    $busybox ln -s "/dev/${port##*/}" "/run/vm/ports/$($busybox cat "$port/name")"
done

# A port takes one writer, so the command gets FIFOs.
cd /run/vm || exit
$busybox mkfifo stdout stderr
$busybox cat <stdout >ports/stdout &
first=$!
$busybox cat <stderr >ports/stderr &
second=$!
$busybox env -i $busybox setsid $busybox sh command </dev/null >stdout 2>stderr
status=$?

# What the command left behind would keep the FIFOs open. Kernel threads have no executable.
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    case $pid in 1 | "$first" | "$second") continue ;; esac
    [ -z "$($busybox readlink "$process/exe")" ] || $busybox kill -9 "$pid"
done
wait "$first" "$second"
echo "$status" >ports/status
$busybox reboot -f
