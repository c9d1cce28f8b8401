#!/bin/bash
# Denoises one participant per array task. Written by "n2a-tools slurm"; read it before you submit it.
#   bash @SCRIPT@ submit    all participants
#   bash @SCRIPT@ status    table of exit codes, written to outcome.tsv as well
#   bash @SCRIPT@ failed    submit those again that failed, were stopped or were killed
@DIRECTIVES@
set -u
export LC_ALL=C
job_dir=@JOB_DIR@
participants=$job_dir/participants.txt
# nipype's SLURM plugin dies without it, and batch systems do not always set it.
export LOGNAME=${LOGNAME:-$(id -un 2>/dev/null || echo n2a)}
# "--cleanenv" would hide which GPU Slurm gave, and every task would take the first.
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    export APPTAINERENV_CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES
    export SINGULARITYENV_CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES
fi

denoise() {  # LABEL: the only place where the app is started; "exec", so that signals reach it
    exec @COMMAND@
}

meaning() {  # EXIT_CODE
    case $1 in
        0) echo "done" ;;
        1) echo "failed: the log names the step and the remedy" ;;
        2) echo "wrong option: see the log" ;;
        70) echo "no image matches the selection: see the log" ;;
        75 | 143) echo "stopped by the time limit: resumes where it was" ;;
        126 | 127 | 255) echo "the app could not be started: is the image there?" ;;
        137) echo "killed, most likely for memory: ask for more with --mem" ;;
        *) echo "ended with exit code $1: see the log" ;;
    esac
}

record() {  # LABEL EXIT_CODE SECONDS: whole or not at all, even if two runs of a task overlap
    local file=$job_dir/status/sub-$1.tsv
    printf 'sub-%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$(meaning "$2")" "$3" "${SLURMD_NODENAME:-$(hostname)}" \
        "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" "${SLURM_RESTART_COUNT:-0}" > "$file.$$.tmp" && mv -f "$file.$$.tmp" "$file"
}

run_task() {
    local label code child begin=$SECONDS
    label=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$N2A_LIST")
    [ -n "$label" ] || { echo "no participant in line $((SLURM_ARRAY_TASK_ID + 1)) of $N2A_LIST" >&2; exit 2; }
    rm -f "$job_dir/status/sub-$label.tsv"
    echo "$(date '+%F %T') sub-$label on ${SLURMD_NODENAME:-$(hostname)}, restart ${SLURM_RESTART_COUNT:-0}"
    # The time limit: Slurm signals this shell @GRACE_S@ s ahead; the app keeps what is done and ends with 75.
    trap 'kill -TERM "$child" 2>/dev/null' TERM INT
    denoise "$label" &
    child=$!
    wait "$child"; code=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
    record "$label" "$code" $((SECONDS - begin))
    exit "$code"
}

submit() {  # LIST: in arrays no longer than the cluster allows; a last small job collects the exit codes
    local list=$1 total most first=0 last ids=
    total=$(grep -c . "$list")
    [ "$total" -gt 0 ] || { echo "nobody to submit"; return 0; }
    most=$(scontrol show config 2>/dev/null | sed -n 's/^MaxArraySize *= *//p')
    most=${most:-1001}
    while [ "$first" -lt "$total" ]; do
        last=$((first + most < total ? first + most : total))
        sed -n "$((first + 1)),${last}p" "$list" > "$list.$first"
        id=$(sbatch --parsable --export=ALL,N2A_LIST="$list.$first" --array="0-$((last - first - 1))@MAX_PARALLEL@" \
            "$job_dir/n2a.sh") || exit 1
        id=${id%%;*}; ids=$ids:$id
        sed "s/\$/\t$id/" "$list.$first" | awk -F '\t' '{print $1 "\t" $2 "_" NR - 1}' >> "$job_dir/submitted.tsv"
        echo "job $id: participants $((first + 1)) to $last of $total"
        first=$last
    done
    sbatch --parsable --export=ALL,N2A_COLLECT=1 --dependency="afterany$ids" --array=0 --job-name=n2a-collect \
        --output="$job_dir/logs/collect.log" --mem=200M --cpus-per-task=1 --time=00:30:00 @COLLECT_OPTIONS@ \
        "$job_dir/n2a.sh" > /dev/null
}

status() {  # the table of everybody, from the last submission of each; by files, for there may be 100,000
    local scratch
    scratch=$(mktemp -d "$job_dir/.status.XXXXXX")
    find "$job_dir/status" -name 'sub-*.tsv' -exec cat {} + > "$scratch/rows"
    squeue --noheader --array --format='%i %T' > "$scratch/queue" 2>/dev/null
    awk -F '\t' -v OFS='\t' -v logs="$job_dir/logs" '
        function killed(id, task, log_file,    line, word, node, restarts, why) {  # what its log still tells
            node = restarts = "n/a"
            while ((getline line < log_file) > 0) {
                if (index(line, " " id " on ") && split(line, word, " ") == 7) {
                    node = word[5]; sub(/,$/, "", node); restarts = word[7]; why = ""
                } else if (line ~ /xceeded.*memory limit|oom.kill|OOM Killed/)
                    why = ": memory limit of the job, ask for more with --mem"
                else if (line ~ /DUE TO NODE FAIL/) why = ": the node failed, submit again by \"failed\""
            }
            close(log_file)
            if (why == "") why = " without an exit code: memory limit or dead node, see the log"
            print id, "n/a", "killed" why, "n/a", node, task, restarts, log_file
        }
        BEGIN { print "participant_id", "exit_code", "meaning", "seconds", "node", "job", "restarts", "log" }
        kind == "row" { row[$1] = $0; next }
        kind == "queue" { split($0, field, " "); state[field[1]] = tolower(field[2]); next }
        kind == "job" { job["sub-" $1] = $2; next }
        {
            id = "sub-" $1; task = job[id]; log_file = logs "/" task ".log"
            split(row[id], done, "\t")
            if (task == "") print id, "n/a", "not submitted", "n/a", "n/a", "n/a", "n/a", "n/a"
            else if (task in state && state[task] != "completing")
                print id, "n/a", state[task], "n/a", "n/a", task, "n/a", log_file
            else if (done[6] != task)
                killed(id, task, log_file)
            else print row[id], log_file
        }' kind=row "$scratch/rows" kind=queue "$scratch/queue" kind=job "$job_dir/submitted.tsv" \
        kind=list "$participants" > "$scratch/outcome.tsv" && mv -f "$scratch/outcome.tsv" "$job_dir/outcome.tsv"
    local code=$?
    rm -rf "$scratch"
    return "$code"
}

mkdir -p "$job_dir/logs" "$job_dir/status"
touch "$job_dir/submitted.tsv"
if [ -n "${N2A_COLLECT:-}" ]; then status; exit; fi
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then run_task; fi
case ${1:-} in
    submit) submit "$participants" ;;
    status) status && cat "$job_dir/outcome.tsv" ;;
    failed)
        status
        again=$job_dir/again_$(date +%Y%m%dT%H%M%S).txt
        # 70, no image to look at, would only come again; tasks in the queue are left alone.
        awk -F '\t' 'NR > 1 && ($2 ~ /^[0-9]+$/ && $2 != 0 && $2 != 70 || $3 ~ /^killed/) { print substr($1, 5) }' \
            "$job_dir/outcome.tsv" > "$again"
        submit "$again" ;;
    *) echo "usage: bash $0 submit|status|failed" >&2; exit 2 ;;
esac
