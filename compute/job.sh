#!/bin/bash
# Runs one job and keeps a file that says how it stands; the same on this machine and as a batch script.
#
#   job.sh STATE FOLDER LIMIT_S GRACE_S [LOG]
#
# STATE holds `token`, `command` and `environment` (NUL after each item); nothing of them is text of this
# script. LIMIT_S: seconds until the job is ended, 0 for never. GRACE_S: seconds between TERM and KILL.
# LOG: a file that gets what the job writes, besides where it goes.
# Of several nodes (PET_NODE_RANK, JOB_COMPLETION_INDEX) all but the first write STATE/status.RANK, LOG.RANK.
# STATE/status: token, id, state (running, exited), rc, why (terminated, walltime), restarts, started, ended.
state=$1 folder=$2 limit=$3 grace=$4 log=$5 status=$1/status
rank=${PET_NODE_RANK:-${JOB_COMPLETION_INDEX:-0}}
if [ "$rank" -gt 0 ]; then status=$status.$rank log=${log:+$log.$rank}; fi
now() { # seconds since 1970, with a point in any locale; whole ones before bash 5
  local at=${EPOCHREALTIME:-$(date +%s)}
  echo "${at/,/.}"
}
why='' child='' tee='' timers=() command=() began=$(now)
restarts=${SLURM_RESTART_COUNT:-0}

if ! cd "$folder" || ! read -r token < "$state/token"; then
  echo "opswright: $(hostname) does not see the job's folder $folder ($state)" >&2
  exit 78
fi
[ ! -e "$state/closed" ] || exit 79 # its submitter has given it up
if [ -n "$log" ]; then
  exec > >(trap '' TERM INT; exec tee -a "$log") 2>&1
  tee=$!
fi
if [ -z "$SLURM_JOB_ID" ] && grep -qsx "token=$token" "$status"; then # a scheduler that does not count
  restarts=$(($(sed -n 's/^restarts=//p' "$status") + 1))
fi

write_status() { # STATE [RC ENDED]
  printf '%s\n' "token=$token" "id=${SLURM_JOB_ID:-${OPSWRIGHT_JOB_ID:-$$}}" "pid=$$" "state=$1" "rc=$2" \
    "why=$why" "restarts=$restarts" "started=$began" "ended=$3" > "$status.new" &&
    mv -f "$status.new" "$status"
}
later() { # SECONDS COMMAND: in a process group of its own, so that all of it can be ended
  set -m
  (sleep "$1"; "${@:2}") > /dev/null 2>&1 &
  timers+=($!)
  set +m
}
end_job() { # REASON
  [ -z "$why" ] || return
  why=$1
  kill -TERM -- "-$child" 2> /dev/null
  later "$grace" kill -KILL -- "-$child"
}
trap 'end_job terminated' TERM INT
trap 'end_job walltime' USR1

write_status running || exit 78
while IFS= read -r -d '' part; do command+=("$part"); done < "$state/command"
set -m
(
  trap - TERM INT USR1
  while IFS= read -r -d '' pair; do export "${pair?}"; done < "$state/environment"
  exec "${command[@]}"
) < /dev/null &
child=$!
set +m
[ -z "$why" ] || kill -TERM -- "-$child" 2> /dev/null # asked to end before there was a child
[ "$limit" = 0 ] || later "$limit" kill -USR1 $$

wait "$child"
rc=$?
while kill -0 "$child" 2> /dev/null; do # a signal ended the wait, not the child
  wait "$child"
  rc=$?
done
trap '' TERM INT USR1 # how the command ended is known
for timer in "${timers[@]}"; do kill -KILL -- "-$timer" 2> /dev/null; done
kill -KILL -- "-$child" 2> /dev/null # what it left running in its group
if [ -n "$tee" ]; then # until it has written everything, or something that left the group still writes
  exec > /dev/null 2>&1
  for _ in {1..50}; do kill -0 "$tee" 2> /dev/null && sleep 0.1 || break; done
fi
write_status exited "$rc" "$(now)"
exit "$rc"
