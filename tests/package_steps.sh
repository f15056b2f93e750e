#!/bin/sh
# package_steps.sh FOLDER PACKAGE: install, try and purge a package in a copy of this machine's
# files that is thrown away. Every step leaves what it says in a file of FOLDER.
# Needs a mount namespace of its own.
set -eu
cd "$1"
mount -t tmpfs tmpfs root
mkdir root/upper root/work root/all
mount -t overlay overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work root/all
for place in proc sys dev; do mount --rbind /$place root/all/$place; done
# No copy: what the package sets there it would set here.
mount --bind root/all/proc/sys root/all/proc/sys
mount -o remount,bind,ro root/all/proc/sys
mount -t tmpfs tmpfs root/all/run
mount -t tmpfs tmpfs root/all/tmp
cp "$2" root/all/tmp/package.deb

# Of a daemon that this machine may have had.
rm -rf root/all/var/lib/ptraced root/all/var/log/ptraced

files() {
    (cd root/all && find etc usr lib/systemd run var/lib/ptraced var/log/ptraced 2>/dev/null | sort)
}

step() {
    name=$1
    shift
    chroot root/all bash -euc "cd /; $*" >"$name" 2>"$name.err"
}

files >before
step install DEBIAN_FRONTEND=noninteractive dpkg -i /tmp/package.deb
files >installed
step version 'ptraced --version; ptrace-client --version'
step check ptraced --check
step manual 'for page in ptraced ptraced.toml ptrace-client; do man -P cat $page; done'
step completion '
    . /usr/share/bash-completion/completions/ptrace-client
    COMP_WORDS=(ptrace-client stat) COMP_CWORD=1
    _ptrace_client_completion ptrace-client
    echo "${COMPREPLY[@]}"'
step users '
    id ptraced
    getent group ptrace-admin
    stat -c "%a %U:%G %n" \
        /run/ptraced /var/lib/ptraced /var/log/ptraced /etc/ptraced/ptraced.toml'
step traced '
    caps=-all,+bpf,+perfmon,+dac_read_search
    setpriv --reuid ptraced --regid ptraced --groups ptrace --no-new-privs \
        --inh-caps $caps --ambient-caps $caps --bounding-set $caps ptraced &
    trap "kill $!" EXIT
    until [ -S /run/ptraced/ptraced.sock ]; do kill -0 $!; done
    ptrace-client trace -e sched:sched_switch -N 5
    trap - EXIT
    kill $!
    wait $!'
step purge dpkg -P ptraced
files >after
