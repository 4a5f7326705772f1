#!/usr/bin/env bash
# A real Slurm of one node for tests: munged, slurmctld and slurmd as root, without systemd,
# cgroups or an accounting database. It writes nothing outside DIR.
#
#   one_node_slurm.sh start  DIR   bring up what is not up; 0 = node usable
#   one_node_slurm.sh stop   DIR   cancel jobs, end daemons and left-over jobs
#   one_node_slurm.sh status DIR   one line a daemon; 0 = up, 3 = not (all) up
#
# After start:  . DIR/env.sh      (exports SLURM_CONF; nothing else is needed)
#
# Settings by environment, read when DIR/slurm.conf is first written:
#   SLURM_T_CPUS=8  SLURM_T_MEM_MB=16000  SLURM_T_GPUS=4   pretended hardware
#   SLURM_T_MINJOBAGE=300  SLURM_T_KILLWAIT=5  SLURM_T_SLURMDTIMEOUT=15
#   SLURM_T_CRED_EXPIRE=5  (a requeued job is held back this many seconds + 1)
#   SLURM_T_EXTRA=$'Key=Value\n...'  lines put at the end of slurm.conf
# Read at every start:
#   SLURM_T_INSTALL=1      apt-get install the packages if they are missing (default 0)
#   SLURM_T_WAIT=30        seconds to wait for the node
#
# A Slurm already on the machine is left alone: nothing below /etc, /run or
# /var/lib is written, the ports are picked free, munged has its own key and
# socket, and only processes whose pid is recorded in DIR *and* whose
# environment names DIR/slurm.conf are ever signalled.
set -euo pipefail
umask 022

die() { echo "one_node_slurm: $*" >&2; exit 1; }
[ $# -eq 2 ] || { sed -n '2,24s/^# \{0,1\}//p' "$0"; exit 2; }
VERB=$1
[ "$VERB" != start ] || mkdir -p "$2" || die "cannot make $2"
[ -d "$2" ] || { echo "not started"; [ "$VERB" = stop ] && exit 0; exit 3; }
DIR=$(cd "$2" && pwd -P)
case $DIR in *[!A-Za-z0-9_./+-]*) die "DIR may hold only A-Za-z0-9_./+- : $DIR";; esac
CONF=$DIR/slurm.conf
SOCK=$DIR/munge/munge.sock
export SLURM_CONF=$CONF
PATH=$PATH:/usr/sbin:/sbin

# ---------------------------------------------------------------- processes
ours() {                       # ours PID: alive, not a zombie, and started for DIR
  [ -n "${1:-}" ] || return 1
  case "$(sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null)" in Z*|X*|'') return 1;; esac
  grep -qzxF "SLURM_CONF=$CONF" "/proc/$1/environ" 2>/dev/null
}
pid_of() { cat "$DIR/run/$1.pid" 2>/dev/null || true; }
up() { ours "$(pid_of "$1")"; }
end() {                        # end NAME SECONDS: TERM, then KILL, and wait
  local p n; p=$(pid_of "$1")
  if ours "$p"; then
    kill "$p" 2>/dev/null || true
    for ((n = 0; n < $2 * 10; n++)); do ours "$p" || break; sleep 0.1; done
    if ours "$p"; then kill -9 "$p" 2>/dev/null || true; sleep 0.2; fi
  fi
  rm -f "$DIR/run/$1.pid"
}
left_over() {                  # slurmstepd and job processes of this DIR
  local d p
  for d in /proc/[0-9]*; do
    p=${d#/proc/}
    [ "$p" != $$ ] && [ "$p" != "$PPID" ] || continue
    ours "$p" || continue
    if [ "$(cat "$d/comm" 2>/dev/null)" = slurmstepd ] ||
       grep -qzx 'SLURMD_NODENAME=onenode' "$d/environ" 2>/dev/null; then
      echo "$p"
    fi
  done
}

# ---------------------------------------------------------------- packages
have() {
  local b
  for b in munged mungekey slurmctld slurmd sbatch scontrol; do
    command -v $b >/dev/null || return 1
  done
}
install_packages() {
  have && return
  [ "${SLURM_T_INSTALL:-0}" = 1 ] || die "Slurm or MUNGE is missing (slurmctld slurmd slurm-client munge)"
  local pol=/usr/sbin/policy-rc.d made=
  if [ ! -e $pol ]; then       # keep Debian from starting its own daemons
    printf '#!/bin/sh\nexit 101\n' > $pol; chmod 755 $pol; made=1
  fi
  local rc=0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get \
      -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
      slurmctld slurmd slurm-client munge; } > "$DIR/apt.log" 2>&1 || rc=$?
  [ -z "$made" ] || rm -f $pol
  [ $rc = 0 ] || { tail -n 5 "$DIR/apt.log" >&2; die "apt-get failed ($rc)"; }
}

# ---------------------------------------------------------------- configuration
# Nobody has them, nor is given them with a connection: a daemon that died binds its own port again.
free_ports() {
  python3 - <<'E'
import random, socket
found = set()
while len(found) < 2:
    port = random.randrange(12_000, 20_000)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    found.add(port)
print(*found)
E
}
configure() {
  mkdir -p "$DIR"/{munge,run,log,state,spool,dev}
  [ -s "$DIR/munge/munge.key" ] || {
    head -c 128 /dev/urandom > "$DIR/munge/munge.key"; chmod 600 "$DIR/munge/munge.key"; }
  [ -s "$CONF" ] && return
  local cport dport cpus mem gpus host name g
  read -r cport dport < <(free_ports)
  cpus=${SLURM_T_CPUS:-$(nproc)}
  mem=${SLURM_T_MEM_MB:-$(awk '/^MemTotal/{print int($2/1024*0.9)}' /proc/meminfo)}
  gpus=${SLURM_T_GPUS:-0}
  host=$(hostname -s 2>/dev/null || hostname)
  name=one$(printf %s "$DIR" | cksum | cut -d' ' -f1)
  g=
  : > "$DIR/gres.conf"
  if [ "$gpus" -gt 0 ]; then
    for ((i = 0; i < gpus; i++)); do
      # a node that acts as /dev/null; without mknod jobs get a count, no index
      [ -e "$DIR/dev/gpu$i" ] || mknod -m 666 "$DIR/dev/gpu$i" c 1 3 2>/dev/null ||
        : > "$DIR/dev/gpu$i"
      echo "Name=gpu Type=fake File=$DIR/dev/gpu$i" >> "$DIR/gres.conf"
    done
    g="Gres=gpu:fake:$gpus"
  fi
  # slurmd 22.05 starts a cgroup plugin even when nothing uses cgroups: autodetect
  # fails where no cgroup tree (or only v2) is mounted, cgroup/v1 then does nothing.
  # "disabled" is for 23.11 and later (not tried here).
  case "$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -n 1)" in
    1?.*|20.*|21.*|22.*|23.02) echo 'CgroupPlugin=cgroup/v1';;
    *) echo 'CgroupPlugin=disabled';;
  esac > "$DIR/cgroup.conf"
  {
    cat <<E
ClusterName=$name
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$cport
SlurmdPort=$dport
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$SOCK,cred_expire=${SLURM_T_CRED_EXPIRE:-5}
CredType=cred/munge
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
# no cgroups, no accounting, no MPI, no mail
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/jobcomp.log
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
PlugStackConfig=$DIR/plugstack.conf
# scheduling
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((mem / cpus / 2))
EnforcePartLimits=ALL
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
# times
MinJobAge=${SLURM_T_MINJOBAGE:-300}
KillWait=${SLURM_T_KILLWAIT:-5}
SlurmctldTimeout=15
SlurmdTimeout=${SLURM_T_SLURMDTIMEOUT:-15}
MessageTimeout=10
InactiveLimit=0
Waittime=0
# one node; config_overrides lets it pretend more hardware than the machine has
SlurmdParameters=config_overrides
E
    [ "$gpus" -gt 0 ] && echo "GresTypes=gpu"
    cat <<E
NodeName=onenode NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$mem $g State=UNKNOWN
PartitionName=main Nodes=onenode Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=low Nodes=onenode MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=lowcancel Nodes=onenode MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
E
    [ -z "${SLURM_T_EXTRA:-}" ] || printf '%s\n' "$SLURM_T_EXTRA"
  } > "$CONF.new"
  : > "$DIR/plugstack.conf"
  printf 'export SLURM_CONF=%s\n' "$CONF" > "$DIR/env.sh"
  mv "$CONF.new" "$CONF"
}

# ---------------------------------------------------------------- verbs
node_state() { timeout 5 sinfo -h -n onenode -p main -o %T 2>/dev/null | head -1 || true; }

start() {
  [ "$(id -u)" = 0 ] || die "must run as root"
  exec 9> "$DIR/lock"; flock -w 120 9 || die "another start or stop is under way"
  install_packages
  configure
  if ! up munged; then
    rm -f "$SOCK" "$SOCK.lock"
    munged --socket="$SOCK" --key-file="$DIR/munge/munge.key" --num-threads=2 \
      --pid-file="$DIR/run/munged.pid" --log-file="$DIR/munge/munged.log" \
      --seed-file="$DIR/munge/munged.seed" 9>&- ||
      { tail -n 3 "$DIR/munge/munged.log" >&2; die "munged did not start"; }
  fi
  if ! up slurmctld; then
    rm -f "$DIR/run/slurmctld.pid"
    slurmctld 9>&- >> "$DIR/log/slurmctld.out" 2>&1 ||
      { tail -n 5 "$DIR/log/slurmctld.out" "$DIR/log/slurmctld.log" >&2; die "slurmctld did not start"; }
  fi
  if ! up slurmd; then
    rm -f "$DIR/run/slurmd.pid"
    slurmd -N onenode 9>&- >> "$DIR/log/slurmd.out" 2>&1 ||
      { tail -n 5 "$DIR/log/slurmd.out" "$DIR/log/slurmd.log" >&2; die "slurmd did not start"; }
  fi
  local n s= resumed=
  for ((n = 0; n < ${SLURM_T_WAIT:-30} * 10; n++)); do
    s=$(node_state)
    case $s in
      idle|mixed|allocated|completing) echo "up: node $s"; return 0;;
      down*|drained*) [ -n "$resumed" ] || [ $n -lt 20 ] || {
            resumed=1; scontrol update nodename=onenode state=resume 2>/dev/null || true; };;
    esac
    sleep 0.1
  done
  tail -n 5 "$DIR/log/slurmctld.log" "$DIR/log/slurmd.log" >&2
  die "node is '${s:-unknown}' after ${SLURM_T_WAIT:-30} s"
}

stop() {
  exec 9> "$DIR/lock"; flock -w 120 9 || die "another start or stop is under way"
  local n p
  if up slurmctld; then
    timeout 10 scancel --state=PENDING 2>/dev/null || true
    timeout 10 scancel --state=SUSPENDED 2>/dev/null || true
    timeout 10 scancel 2>/dev/null -u root --full || true
    timeout 10 scancel 2>/dev/null --state=RUNNING --full || true
    for ((n = 0; n < 100; n++)); do
      [ -n "$(timeout 5 squeue -h -o %i 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  end slurmd 5
  for p in $(left_over); do kill -9 "$p" 2>/dev/null || true; done
  end slurmctld 10
  end munged 5
  echo "stopped"
}

status() {
  local d rc=0
  for d in munged slurmctld slurmd; do
    if up $d; then echo "$d up pid $(pid_of $d)"; else echo "$d down"; rc=3; fi
  done
  if [ $rc = 0 ]; then
    s=$(node_state); echo "node ${s:-unknown}"
    case $s in idle|mixed|allocated|completing) ;; *) rc=3;; esac
  fi
  return $rc
}

case $VERB in
  start) start;; stop) stop;; status) status;;
  *) die "start, stop or status, not $VERB";;
esac
