#!/usr/bin/env bash
# cluster-down.sh [FOLDER]: end the cluster that cluster-up.sh started with this folder, and its jobs.
# Its logs stay in the folder.
set -euo pipefail
folder=$(realpath -m "${1:-${BABELSCOPE_SLURM:-/tmp/babelscope-slurm}}")
link=/etc/slurm/slurm.conf

# stop NAME: end the daemon of this pid file if it is one of this folder's; after 10 s, kill it
stop() {
    local file=$folder/$1.pid pid
    pid=$(cat "$file" 2>/dev/null) || return 0
    ours() { grep -qaF "$folder" "/proc/$pid/cmdline" 2>/dev/null; }
    if ours; then
        kill "$pid"
        for _ in {1..100}; do
            ours || break
            sleep 0.1
        done
        ! ours || kill -KILL "$pid"
    fi
    rm -f "$file"
}

if [ "$(readlink -f $link)" = "$folder/slurm.conf" ]; then
    if timeout 5 sinfo >/dev/null 2>&1; then
        # Jobs outlive the daemons of their nodes, so they go first.
        squeue --noheader --format %A | sort -u | xargs --no-run-if-empty scancel || true
        for _ in {1..200}; do
            [ -n "$(squeue --noheader)" ] || break
            sleep 0.1
        done
    fi
    rm -f $link
fi
# What has lost its parent is no longer followed to its end; the cluster's mark is in its environment.
grep -lzs "^SLURM_CONF=$folder/" /proc/[0-9]*/environ | grep -o '[0-9]*' | xargs --no-run-if-empty kill -KILL || true
for name in c1 c2 g1 slurmctld munged; do stop $name; done
