# Runs vmlab under KVM, in a guest with nested virtualisation.
# usage: kvm.sh VMLAB KERNEL
# Prints `== NAME CODE` after the output of each command.
vmlab=$1
on="-k $2 --boot-timeout 600 --handshake-timeout 600"

step() {
    name=$1
    shift
    "$@"
    echo "== $name $?"
}

# Each line is: when it is, here; how long the fork's kernel has run; when it is, there.
look() {
    date +%s
    $vmlab exec $on -m 256 -- sh -c 'cat /proc/uptime; date +%s; cat /sys/devices/system/clocksource/*/current_clocksource'
}

step asked $vmlab run --offline --accel kvm $on =uts.hostname =pid.proc
step auto $vmlab run --offline $on =uts.hostname
step look look
step boot $vmlab run --offline --isolation boot $on =uts.hostname
step thaw $vmlab run --offline --fork-method thaw $on =uts.hostname
step crash $vmlab exec $on -m 256 --dump=/tmp/dumps -- sh -c 'echo c >/proc/sysrq-trigger'
step dump sh -c 'head -c 4 /tmp/dumps/* | od -A n -c'
step again look
