#!/usr/bin/env bash
# The demo through a real Slurm: one controller and one node on this machine. make test-cluster, as root on Debian.
#
# Two submissions, small but for their epochs, run on this machine alone and then as Slurm's jobs by profiles/slurm; one
# job is cancelled while it trains. The workflow must go on from the epoch it had reached, and end with the same bytes.
# Slurm's packages are installed where they are missing, and stay; what this starts and writes goes, also on failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

CONF=/etc/slurm/slurm.conf # elsewhere the steps of a job don't find it
MARK="# asc_kit's tests/cluster/run.sh made this file; it goes when the test ends."
EPOCHS=30                  # a fraction of a second each: time to cancel between the first and the last
KILLED=2                   # of the submissions 1 and 2

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

until_true() { # SECONDS WHAT COMMAND...: wait for a quiet command to succeed
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || fail "$what: not within the time"
    sleep 0.2
  done
}

end_started() { # the workflow, its jobs, then by the cache that it was given whatever there is: daemons, lost processes
  local started
  [ -z "${workflow:-}" ] || pkill -KILL -P "$workflow" # it would start its jobs again
  timeout 20 scancel --user="$(id -un)" && timeout 30 bash -c 'while squeue -h -t R,CG | grep -q .; do sleep 0.5; done'
  export -n ASC_CACHE # or the search finds itself
  while started=$(grep -lsxz "ASC_CACHE=$ASC_CACHE" /proc/[0-9]*/environ | cut -d/ -f3 || true) && [ -n "$started" ]; do
    kill -KILL $started
    sleep 0.5
  done
  wait
} 2> /dev/null

ours() { [ -e "$CONF" ] && [ "$(head -n 1 "$CONF")" = "$MARK" ]; }

end() {
  local status=$?
  trap - EXIT
  set +e
  ours && end_started
  ours && rm "$CONF"
  [ -z "${made_folder:-}" ] || rmdir "${CONF%/*}"
  if [ $status -eq 0 ]; then
    rm -rf "$work"
    step "the daemons are stopped, the configuration is removed"
  else
    printf 'logs and results are in %s\n' "$work" >&2
  fi
  exit $status
}

install_slurm() {
  local tool missing=
  for tool in munged slurmctld slurmd sbatch; do
    command -v $tool > /dev/null || missing=$tool
  done
  [ -n "$missing" ] || return 0
  command -v apt-get > /dev/null || fail "$missing is missing, and this is no Debian: install slurm-wlm and munge"
  step "installing slurmctld, slurmd, slurm-client and munge"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge \
    > "$work/apt.log" 2>&1 || fail "apt-get: $(tail -n 1 "$work/apt.log")"
}

configure() { # no accounting and no cgroups: what a container allows
  local node
  node=$(slurmd -C | grep NodeName=)
  [ -d "${CONF%/*}" ] || { mkdir "${CONF%/*}" && made_folder=yes; }
  cat > "$CONF" << END
$MARK
ClusterName=asc_kit
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$files/munge.socket
StateSaveLocation=$files/state
SlurmdSpoolDir=$files/spool
SlurmctldPidFile=$files/slurmctld.pid
SlurmdPidFile=$files/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
KillWait=5
ReturnToService=2
$node NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=one Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

daemon() { # in a session of its own: an interrupt is for the test, which then ends them
  setsid "$@" > "$files/$1.log" 2>&1 &
}

start_slurm() {
  chmod 755 "$work"
  mkdir -p "$files/state" "$files/spool"
  (umask 077 && head -c 1024 /dev/urandom > "$files/munge.key")
  daemon munged --foreground --force --socket "$files/munge.socket" --key-file "$files/munge.key" \
    --pid-file "$files/munge.pid" --seed-file "$files/munge.seed" --log-file "$files/munge.log"
  until_true 20 "munged" test -S "$files/munge.socket"
  daemon slurmctld -D
  daemon slurmd -D
  until_true 60 "Slurm's node" node_idle
}

node_idle() { sinfo -h -o %T 2> /dev/null | grep -qx idle; }

snake() { # RESULTS ARGUMENT...: the workflow of the two submissions
  local results=$1
  shift
  .venv/bin/snakemake "$@" --configfile "$recipe" --config results_dir="$work/$results" submissions="[1,2]" \
    > "$work/$results.log" 2>&1
}

on_slurm() { snake slurm --workflow-profile profiles/slurm --slurm-init-seconds-before-status-checks 3; }

training() { # the killed submission's job is running and has finished an epoch
  job=$(squeue -h -t R -o '%i %k' | sed -n "s/ rule_train_${KILLED}_seed_0$//p")
  [ -n "$job" ] && compgen -G "$work/slurm/demo-smoke/submission_$KILLED/seed_0/checkpoint/*.pt" > /dev/null
}

compare() {
  local file equal=0
  cd "$work/local/demo-smoke"
  for file in submission_*/seed_0/{model.safetensors,compact.safetensors,predictions.tsv,history.csv} truth.tsv tables/*.csv; do
    cmp "$file" "$work/slurm/demo-smoke/$file" || fail "$file differs from the local run's"
    equal=$((equal + 1))
  done
  cd "$OLDPWD"
  step "equal bytes: $equal files, weights, predictions, histories and tables"
}

[ "$(id -u)" = 0 ] || fail "make test-cluster starts Slurm's daemons: run it as root"
[ ! -e "$CONF" ] || ours || fail "$CONF is another's: this machine has a Slurm already, and the test leaves it alone"
! pgrep 'slurm(ctl)?d$' > /dev/null || fail "a Slurm is running on this machine already"
work=$(mktemp -d -t asc_kit-cluster-XXXXXX)
recipe=$work/demo.yaml
files=$work/daemons # of munge and Slurm: state, logs, the key
export ASC_SMOKE=1 ASC_CACHE=$work/cache
trap end EXIT
trap 'exit 130' INT TERM HUP
sed "/^smoke:/,\$ s/epochs: 2,/epochs: $EPOCHS,/" config/demo.yaml > "$recipe"
grep -q "epochs: $EPOCHS," "$recipe" || fail "config/demo.yaml: its smoke part no longer trains for 2 epochs"

install_slurm
configure
start_slurm
step "Slurm $(slurmd -V | cut -d' ' -f2) runs: $(sinfo -h -o '%D node, %c processors, %m MB')"

snake local --cores 2 || fail "the local run"
step "local run: submissions 1 and 2, $EPOCHS epochs"

on_slurm &
workflow=$!
until_true 300 "submission $KILLED's training under Slurm" training
scontrol show job "$job" > "$work/job.log" || fail "Slurm does not know job $job"
scancel "$job"
step "cancelled job $job, submission $KILLED, on $(sed -n 's/^ *NodeList=//p' "$work/job.log") while it trained"
wait "$workflow" || fail "the workflow did not go on after the cancelled job"
workflow=
step "the workflow went on, and ended"

squeue -h -t all -o '%k %T' | sort > "$work/jobs.log"
for rule in corpus {train,evaluate}_{1,2}_seed_0 tables report; do
  grep -qx "rule_$rule.* COMPLETED" "$work/jobs.log" || fail "rule $rule was no job of Slurm's"
done
grep -qx "rule_train_${KILLED}_seed_0 CANCELLED" "$work/jobs.log" || fail "the training ended before it was cancelled"
step "$(wc -l < "$work/jobs.log") jobs of Slurm's, one of them cancelled"

resumed=$(grep -om 1 "going on after epoch [0-9]* of $EPOCHS" "$work/slurm/demo-smoke/submission_$KILLED/seed_0/05_train.ipynb") ||
  fail "submission $KILLED started afresh"
step "submission $KILLED: $resumed"
compare
on_slurm && grep -q "Nothing to be done" "$work/slurm.log" || fail "the same command again found something to do"
step "the same command again: nothing to be done"
