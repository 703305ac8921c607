#!/usr/bin/env bash
# cluster-up.sh [FOLDER]: a real Slurm on this one Debian machine, for the tests. Root only.
#
# Partitions `cpu` (nodes c1 and c2), `gpu` (g1, with two pretended GPUs) and `spare` (c1 and c2; its
# jobs go back into the queue when one of `cpu` wants their place), without systemd and cgroups. Nodes
# claim more than the host has, so that jobs can ask for what the rules declare. Everything lies in
# FOLDER (else BABELSCOPE_SLURM, else /tmp/babelscope-slurm), apart from Debian's packages and the link
# /etc/slurm/slurm.conf, where jobs look for the configuration. What runs already is left alone.
set -euo pipefail
folder=$(realpath -m "${1:-${BABELSCOPE_SLURM:-/tmp/babelscope-slurm}}")
link=/etc/slurm/slurm.conf
port=26817 # the nodes have those that follow
nodes=(c1 c2 g1)
fail() { echo "cluster-up.sh: $*" >&2; exit 1; }

# alive NAME: the daemon of this pid file runs, and is one of this folder's
alive() {
    local pid
    pid=$(cat "$folder/$1.pid" 2>/dev/null) && grep -qaF "$folder" "/proc/$pid/cmdline" 2>/dev/null
}
# within SECONDS COMMAND: whether the command succeeds in this time
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
answers() { sinfo --noheader >/dev/null 2>&1; }
ready() { [ "$(sinfo -h -N -o '%N %t' | sort -u | grep -cE ' (idle|mix|alloc|comp)$')" = ${#nodes[@]} ]; }

[ "$(id -u)" = 0 ] || fail "only root can start Slurm's daemons"
if ! command -v slurmctld slurmd munged squeue >/dev/null; then
    policy=/usr/sbin/policy-rc.d # keeps the packages from starting daemons of their own
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends munge slurmctld slurmd slurm-client; } >&2 || fail "apt-get failed"
fi
if [ -e $link ] && [ "$(readlink -f $link)" != "$folder/slurm.conf" ]; then
    fail "$link belongs to another cluster"
fi

if ! alive slurmctld; then
    mkdir -p "$folder"/{state,gpus}
    [ -s "$folder/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    cat >"$folder/slurm.conf" <<END
ClusterName=babelscope
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/state/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
# Credentials live as long as a requeued job must wait, two minutes by default.
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
GresTypes=gpu
# What can never run is refused at once instead of waiting for ever.
EnforcePartLimits=ALL
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=batch_sched_delay=0,bf_interval=2
ReturnToService=2
SlurmdTimeout=30
KillWait=5
# Memory limits without cgroups: what exceeds its own is killed when it is next looked at.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=UsePss,OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/completed.txt
# How long jobs that have ended can still be asked about: longer than all the tests.
MinJobAge=36000
MailProg=/bin/true
END
    for i in "${!nodes[@]}"; do
        case ${nodes[i]} in g*) gpus="Gres=gpu:h200:2" ;; *) gpus="" ;; esac
        echo "NodeName=${nodes[i]} NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 1 + i))" \
            "CPUs=16 RealMemory=64000 $gpus" >>"$folder/slurm.conf"
    done
    cat >>"$folder/slurm.conf" <<END
PartitionName=cpu Nodes=c1,c2 Default=YES MaxTime=2-00:00:00 PriorityTier=2 PreemptMode=OFF
PartitionName=spare Nodes=c1,c2 MaxTime=2-00:00:00 PriorityTier=1
PartitionName=gpu Nodes=g1 MaxTime=2-00:00:00 PriorityTier=2 PreemptMode=OFF
END
    for i in 0 1; do # devices, else CUDA_VISIBLE_DEVICES is not set
        ln -sfn /dev/null "$folder/gpus/$i"
        echo "NodeName=g1 Name=gpu Type=h200 File=$folder/gpus/$i"
    done >"$folder/gres.conf"
fi
mkdir -p /etc/slurm
ln -sfn "$folder/slurm.conf" $link

alive munged || munged --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
alive slurmctld || slurmctld -f "$folder/slurm.conf"
within 30 answers || fail "slurmctld does not answer: $(tail -n 1 "$folder/slurmctld.log")"
for node in "${nodes[@]}"; do
    mkdir -p "$folder/state/$node"
    alive "$node" || slurmd -N "$node" -f "$folder/slurm.conf"
done
within 60 ready || fail "not every node came up, see $folder/*.log: $(sinfo -h -N -o '%N %t' | xargs)"
sinfo -N -o '%N %P %c CPUs %m MB %G'
