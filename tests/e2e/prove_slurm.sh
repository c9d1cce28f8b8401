#!/bin/bash
# Proves, on a throw-away cluster of two nodes on this machine, that array jobs of "n2a-tools slurm" and nipype's
# SLURM plugin work: an array of six participants of whom one is broken, a node that dies and comes back, the
# time limit, the memory limit, and resubmission. For a plain Debian machine, as root:
#   tests/e2e/prove_slurm.sh [DIR [PROOF...]]      PYTHON: interpreter with n2a_bids installed (python3)
# Ends with 1 where something is not proved, and with 69 where no cluster can be started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(readlink -m "${1:-$(mktemp -d)}")
PYTHON=$(command -v "${PYTHON:-python3}")
export PYTHONPATH=$here/../..${PYTHONPATH:+:$PYTHONPATH} SLURM_CONF=$dir/cluster/slurm.conf OMP_NUM_THREADS=1
app=(--sloppy --strategy mean -d "masks=$dir/masks")

say() { echo "[$SECONDS s] $*"; }
fail() { echo "NOT PROVED: $*" >&2; exit 1; }
no_cluster() { echo "NO CLUSTER: $*" >&2; exit 69; }

start_cluster() {
    [ "$(id -u)" = 0 ] || no_cluster "the daemons of two nodes need root"
    if [ "$(type -P slurmctld slurmd pgrep | wc -l)" -lt 3 ]; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            slurm-wlm procps > /dev/null; } || no_cluster "apt-get could not install slurm-wlm and procps"
    fi
    local host port=${SLURM_PORT:-26817} n
    host=$(hostname -s)
    mkdir -p "$dir"/cluster/{state,log,spool-node1,spool-node2}
    {
        printf '%s\n' ClusterName=proof "SlurmctldHost=$host(127.0.0.1)" "SlurmctldPort=$port" SlurmUser=root \
            SlurmdUser=root AuthType=auth/none CredType=cred/none ProctrackType=proctrack/linuxproc TaskPlugin=task/none \
            JobAcctGatherType=jobacct_gather/linux JobAcctGatherFrequency=1 JobAcctGatherParams=OverMemoryKill \
            AccountingStorageType=accounting_storage/none SelectType=select/cons_tres SwitchType=switch/none \
            MpiDefault=none SelectTypeParameters=CR_Core_Memory SchedulerType=sched/backfill ReturnToService=2 \
            GresTypes=gpu SlurmdTimeout=10 SlurmctldTimeout=30 KillWait=2 InactiveLimit=0 MinJobAge=300 \
            SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0 \
            CommunicationParameters=NoInAddrAny,NoCtldInAddrAny SlurmdParameters=config_overrides \
            "StateSaveLocation=$dir/cluster/state" "SlurmctldPidFile=$dir/cluster/slurmctld.pid" \
            "SlurmctldLogFile=$dir/cluster/log/slurmctld.log" "SlurmdPidFile=$dir/cluster/%n.pid" \
            "SlurmdLogFile=$dir/cluster/log/%n.log" "SlurmdSpoolDir=$dir/cluster/spool-%n"
        for n in 1 2; do
            echo "NodeName=node$n NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + n)) CPUs=2 RealMemory=4000 Gres=gpu:2"
        done
        echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP"
    } > "$SLURM_CONF"
    printf 'CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n' > "$dir/cluster/cgroup.conf"
    # GPUs in name only: Slurm hands them out, nobody computes on them.
    echo "Name=gpu File=/dev/zero,/dev/full" > "$dir/cluster/gres.conf"
    { slurmctld -c && slurmd -N node1 && slurmd -N node2; } || no_cluster "a daemon ended; see $dir/cluster/log"
    for _ in $(seq 120); do
        [ "$(sinfo -h -N -o %T 2> /dev/null | grep -c '^idle$')" = 2 ] && return
        sleep 0.5
    done
    tail -n 5 "$dir"/cluster/log/*.log >&2 || true
    no_cluster "two idle nodes were not there within a minute; see $dir/cluster/log"
}

descendants() { local child; for child in $(ps -o pid= --ppid "$1"); do descendants "$child"; done; echo "$1"; }

kill_node() {  # what a power cut does: daemon, job steps and jobs vanish at once
    local script victims
    victims=$(cat "$dir/cluster/$1.pid" 2> /dev/null || true)
    for script in $(pgrep -f "$dir/cluster/spool-$1/job[0-9]+/slurm_script"); do
        victims="$victims $(ps -o ppid= -p "$script") $(descendants "$script")"
    done
    kill -9 $victims 2> /dev/null || true
    rm -f "$dir/cluster/$1.pid"
}

stop_cluster() {  # and whatever of its jobs is left, also when the proof was cut short
    local ids node controller
    [ -d "$dir/cluster" ] || return 0
    ids=$(squeue -h -o %A 2> /dev/null | sort -u) && [ -n "$ids" ] && scancel $ids
    for _ in $(seq 20); do queue_is_empty && break; sleep 0.5; done
    controller=$(cat "$dir/cluster/slurmctld.pid" 2> /dev/null) && kill "$controller" 2> /dev/null
    for node in node1 node2; do kill_node "$node"; done
    for _ in $(seq 20); do kill -0 "$controller" 2> /dev/null || break; sleep 0.5; done
    return 0
}

wait_until() {  # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        [ "$SECONDS" -lt "$end" ] || { squeue; scontrol -o show nodes; fail "not within $1 s: ${*:2}"; }
        sleep 1
    done
}

queue_is_empty() { [ -z "$(squeue -h 2> /dev/null)" ]; }
wait_for_queue() { wait_until "$1" queue_is_empty; }  # SECONDS
node2_works() { grep -q "T1w: " "$dir"/array/logs/*.log 2> /dev/null && squeue -h -w node2 -t R | grep -q .; }
# Not by sinfo: it shows a node that is down as "completing" or "mixed" while its jobs are cleared away.
node2_is_down() { [[ $(scontrol -o show node node2) == *State=DOWN* ]]; }

write_jobs() {  # NAME OPTIONS...: job directory $dir/NAME, output $dir/out-NAME
    local name=$1; shift
    "$PYTHON" -m n2a_bids.cli.tools slurm "$dir/bids" "$dir/out-$name" --job-dir "$dir/$name" --cpus 1 \
        --command "$PYTHON -m n2a_bids" --arguments="${app[*]}" "$@" > /dev/null
}

outcome() { awk -F '\t' -v id="sub-$2" -v column="$3" '$1 == id { print $column }' "$dir/$1/outcome.tsv"; }

prove_array_and_node_death() {
    local label message
    write_jobs array --mem 1500M --time 01:00:00
    bash "$dir/array/n2a.sh" submit
    wait_until 300 node2_works
    sleep 5
    say "node2 dies with $(squeue -h -w node2 -t R | wc -l) jobs"
    kill_node node2
    wait_until 300 node2_is_down
    say "Slurm has noticed; node2 comes back"
    slurmd -N node2
    wait_for_queue 1800
    cat "$dir/array/outcome.tsv"
    [ "$(outcome array 03 2)" = 1 ] || fail "sub-03 is broken but its exit code is not 1"
    message=$(sed -n '/^sub-03 /,$p' "$(outcome array 03 8)" | tr -s ' \n' ' ')
    echo "$message"
    [[ $message == *sub-03_run-2_T1w.nii.gz:*"truncated or damaged"* ]] || fail "no message names the broken file"
    for label in 01 02 04 05 06; do [ "$(outcome array $label 2)" = 0 ] || fail "sub-$label was not denoised"; done
    awk -F '\t' 'NR > 1 && $7 > 0' "$dir/array/outcome.tsv" | grep -q . || fail "no task was run again"
}

prove_result_undisturbed() {
    local label
    label=$(awk -F '\t' 'NR > 1 && $7 > 0 && $2 == 0 { print substr($1, 5); exit }' "$dir/array/outcome.tsv")
    "$PYTHON" -m n2a_bids "$dir/bids" "$dir/out-plain" participant --participant-label "$label" -w "$dir/work-plain" \
        --nprocs 1 --device cpu "${app[@]}" > /dev/null 2>&1
    "$PYTHON" - "$dir/out-plain/sub-$label" "$dir/out-array/sub-$label" <<'PYTHON'
import sys
from pathlib import Path
import nibabel, numpy
plain, array = map(Path, sys.argv[1:])
names = sorted(path.relative_to(plain) for path in plain.rglob("*.nii.gz"))
assert names and names == sorted(path.relative_to(array) for path in array.rglob("*.nii.gz")), names
for name in names:
    first, second = (nibabel.load(folder / name) for folder in (plain, array))
    assert first.header == second.header and numpy.array_equal(first.get_fdata(), second.get_fdata()), name
print(f"{plain.name}: {len(names)} images equal those of an undisturbed run, voxel by voxel")
PYTHON
}

prove_resubmission() {
    "$PYTHON" "$here/../datasets/small_dataset.py" "$dir/bids" --participants 6
    bash "$dir/array/n2a.sh" failed | tee "$dir/again.txt"
    grep -q "1 to 1 of 1" "$dir/again.txt" || fail "expected the one failed participant to be submitted"
    wait_for_queue 900
    [ "$(awk -F '\t' 'NR > 1 && $2 == 0' "$dir/array/outcome.tsv" | wc -l)" = 6 ] || fail "not all are denoised now"
}

prove_limits() {
    write_jobs memory --mem 250M --participant-label 06
    bash "$dir/memory/n2a.sh" submit > /dev/null
    wait_for_queue 600
    outcome memory 06 3 | grep "memory limit of the job" || fail "the memory limit was not noticed"
    outcome memory 06 5 | grep '^node' || fail "nobody tells on which node"
    # Slurm warns 120 s before the limit, up to 60 s early: between 0 and 60 s after the start.
    write_jobs time --mem 3000M --time 00:03:00 --participant-label 05 \
        --arguments "--strategy recorrupted --recipe thorough -d masks=$dir/masks"  # longer than any limit here
    bash "$dir/time/n2a.sh" submit > /dev/null
    wait_for_queue 600
    outcome time 05 2 | grep -x 75 || fail "the time limit did not end the app with 75"
    write_jobs time --mem 1500M --time 01:00:00 --participant-label 05
    bash "$dir/time/n2a.sh" failed > /dev/null
    wait_for_queue 900
    outcome time 05 2 | grep -qx 0 || fail "the stopped participant did not resume"
}

prove_gpu_jobs() {  # Slurm gives each task a GPU, and the app is told to use it
    printf '#!/bin/bash\nsleep 10\necho "on $SLURMD_NODENAME GPU <$CUDA_VISIBLE_DEVICES> container <%s> %s"\n' \
        '$APPTAINERENV_CUDA_VISIBLE_DEVICES' '$*' > "$dir/pretend_app.sh"
    write_jobs gpu --gpu --mem 500M --command "bash $dir/pretend_app.sh"
    bash "$dir/gpu/n2a.sh" submit > /dev/null
    wait_for_queue 300
    cat "$dir"/gpu/logs/*_?.log
    [ "$(cat "$dir"/gpu/logs/*_?.log | grep -c 'GPU <\([01]\)> container <\1> .*--device cuda')" = 6 ] || fail "a task without its GPU"
    [ "$(grep -ho 'GPU <.>' "$dir"/gpu/logs/*_?.log | sort -u | wc -l)" = 2 ] || fail "one GPU was never used"
    [ "$(awk -F '\t' 'NR > 1 && $2 == 0' "$dir/gpu/outcome.tsv" | wc -l)" = 6 ] || fail "exit codes were not collected"
}

prove_plugin() {
    printf 'plugin: SLURM\nplugin_args:\n  sbatch_args: --mem=1500M --cpus-per-task=1 --time=20\n' > "$dir/plugin.yml"
    env -u LOGNAME "$PYTHON" -m n2a_bids "$dir/bids" "$dir/out-plugin" participant --participant-label 02 \
        -w "$dir/work-plugin" --device cpu --nipype-plugin-file "$dir/plugin.yml" "${app[@]}"
    [ -n "$(find "$dir/out-plugin" -name '*_desc-denoised_T1w.nii.gz')" ] || fail "the plugin left no result"
    sed -i 's/SLURM/SLURMGraph/' "$dir/plugin.yml"
    "$PYTHON" -m n2a_bids "$dir/bids" "$dir/out-plugin" participant --nipype-plugin-file "$dir/plugin.yml" && fail "SLURMGraph accepted"
    return 0
}

mkdir -p "$dir"
trap stop_cluster EXIT
"$PYTHON" "$here/../datasets/small_dataset.py" "$dir/bids" --participants 6 --broken 03 --masks-dir "$dir/masks"
start_cluster
[ $# -ge 2 ] || set -- "$dir" prove_array_and_node_death prove_result_undisturbed prove_resubmission prove_limits \
    prove_gpu_jobs prove_plugin
for proof in "${@:2}"; do
    say "$proof"
    $proof
done
say "proved, in $dir"
