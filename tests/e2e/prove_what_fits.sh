#!/bin/bash
# Runs, after the tests, the proofs of clusters and containers that fit: those whose prerequisites this machine has,
# in the time that is left. What cannot run here is named and left out; a proof that runs and fails ends this with 1.
#   tests/e2e/prove_what_fits.sh SECONDS      PYTHON: interpreter with n2a_bids installed (python3)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=${1:?how many seconds the proofs may take}
base=$(sed -n 's/^ARG BASE_IMAGE=//p' "$here/../../Dockerfile")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch" || true' EXIT
unavailable=69  # what a proof ends with where a prerequisite is missing

left() { echo $((seconds - SECONDS)); }
left_out() { echo "LEFT OUT: $*"; }

run_proof() {  # NAME SCRIPT PROOF...: within the time that is left
    local name=$1 script=$2 code=0
    echo "PROOF: $name, within $(left) s"
    timeout --kill-after=30 "$(left)" "$here/$script" "$scratch/$name" "${@:3}" || code=$?
    case $code in
        0) echo "PROVED: $name: ${*:3}" ;;
        124 | 137) left_out "the rest of $name: the time was over, nothing had failed until then" ;;
        "$unavailable") left_out "$name: this machine cannot run it, see above" ;;
        *) echo "FAILED: $name (exit code $code)" >&2; return 1 ;;
    esac
}

prove_slurm() {
    # Seconds that each takes on two busy cores, with a reserve; the first includes the start of the cluster.
    local wanted=() proof cost sum=0
    if [ "$(id -u)" != 0 ]; then left_out "slurm: needs root"; return; fi
    if ! command -v slurmctld apt-get > /dev/null; then left_out "slurm: not installed, and no apt-get"; return; fi
    while read -r proof cost; do
        sum=$((sum + cost))
        if [ "$sum" -gt "$(left)" ]; then left_out "slurm: $proof and what follows it, for want of time"; break; fi
        wanted+=("$proof")
    done <<< "$slurm_costs"
    [ ${#wanted[@]} = 0 ] || run_proof slurm prove_slurm.sh "${wanted[@]}"
}
slurm_costs="prove_array_and_node_death 240
prove_result_undisturbed 40
prove_resubmission 45
prove_gpu_jobs 40
prove_plugin 90
prove_limits 130"

engine_works() {  # can it start a container that reaches the package index?
    local engine
    for engine in docker podman; do
        timeout 60 "$engine" info > /dev/null 2>&1 || continue
        timeout 180 "$engine" run --rm "$base" python3 -m pip download --quiet --no-deps --dest /tmp iniconfig \
            > "$scratch/engine.log" 2>&1 && return
        left_out "containers: $engine starts no $base that reaches the package index: $(tail -n 1 "$scratch/engine.log")"
        return 1
    done
    left_out "containers: neither docker nor podman works here"
    return 1
}

prove_containers() {
    local proofs=(prove_image_is_small prove_image_runs prove_tools_run prove_exit_codes)
    if [ "$(id -u)" != 0 ]; then left_out "containers: needs root"; return; fi
    if [ "$(left)" -lt 420 ]; then left_out "containers: for want of time"; return; fi
    [ -n "${BUILD:-}" ] || engine_works || return 0
    if command -v "${APPTAINER:-apptainer}" > /dev/null; then
        proofs+=(prove_sif)
    else
        left_out "containers: prove_sif: no apptainer here"
    fi
    run_proof containers prove_containers.sh "${proofs[@]}"
}

status=0
prove_slurm || status=1
prove_containers || status=1
exit "$status"
