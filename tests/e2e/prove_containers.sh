#!/bin/bash
# Proves that the Dockerfile and singularity.def build, and that the images run where they must: as another user, on
# a read-only root, without network, capabilities, HOME or writable /tmp. For a plain Debian machine, as root:
#   tests/e2e/prove_containers.sh [DIR [PROOF...]]
# Docker is used where there is one, else podman with buildah. The commands can be replaced, for sites with their own:
#   BUILD="docker build -t n2a" RUN="docker run --rm" APPTAINER=apptainer SIF_OPTIONS="--build-arg BOOT=..."
# NO_NETWORK="" where RUN cuts the network off already. NO_BUILD=1 takes the image "n2a" that is there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=$(readlink -m "${1:-$(mktemp -d)}")
PYTHON=${PYTHON:-python3}

engine=podman
if docker info > /dev/null 2>&1; then engine=docker; fi
if [ -z "${BUILD:-}" ] && ! command -v $engine > /dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends podman buildah crun netavark fuse-overlayfs uidmap > /dev/null
fi
BUILD=${BUILD:-$engine build -t n2a}
RUN=${RUN:-$engine run --rm}
APPTAINER=${APPTAINER:-apptainer}

say() { echo "[$SECONDS s] $*"; }
fail() { echo "NOT PROVED: $*" >&2; exit 1; }

# What a hospital's cluster grants, and no more.
strict=(${NO_NETWORK---network none} --read-only --user 1000:1000 --cap-drop all --env HOME=)

check_results() {  # OUTPUT_DIR
    [ -n "$(find "$1" -name 'sub-01_desc-denoised_T1w.nii.gz')" ] || fail "no denoised image in $1"
    [ -n "$(find "$1" -name 'sub-01.html')" ] || fail "no report in $1"
}

prove_image_is_small() {
    local bytes
    bytes=$($engine image inspect n2a --format '{{.Size}}') || fail "$engine has no image of the name n2a"
    say "image: $((bytes / 1000000)) MB"
    [ "$bytes" -lt 2500000000 ] || fail "the image is larger than 2.5 GB"
}

prove_image_runs() {
    mkdir -p "$dir/out" "$dir/work"
    chown 1000:1000 "$dir/out" "$dir/work"
    $RUN "${strict[@]}" -v "$dir/bids:/data:ro" -v "$dir/out:/out" -v "$dir/work:/work" n2a \
        /data /out participant --participant-label 01 -w /work --sloppy --strategy mean --device cpu
    check_results "$dir/out"
    [ -z "$(find "$dir/out" "$dir/work" ! -uid 1000)" ] || fail "files of another user in the output"
    $RUN "${strict[@]}" -v "$dir/bids:/data:ro" -v "$dir/out:/out" -v "$dir/work:/work" n2a /data /out group -w /work
}

prove_tools_run() {
    $RUN "${strict[@]}" --tmpfs /tmp --entrypoint n2a-tools n2a doctor
    # One gigabyte is too little, which doctor says and ends with 1.
    { $RUN "${strict[@]}" --tmpfs /tmp --entrypoint n2a-tools --memory 1g n2a doctor --quick || true; } \
        | grep '1.0 GB allowed' || say "this engine sets no memory limit"
}

prove_exit_codes() {
    local code=0
    $RUN "${strict[@]}" -v "$dir/bids:/data:ro" -v "$dir/out:/out" n2a /data /out participant -w /proc/nowhere || code=$?
    [ "$code" = 2 ] || fail "a work directory that cannot be written ended with $code, not 2"
}

prove_sif() {
    (cd "$root" && $APPTAINER build --force ${SIF_OPTIONS:-} "$dir/n2a.sif" singularity.def)
    say "sif: $(($(stat -c %s "$dir/n2a.sif") / 1000000)) MB"
    $APPTAINER test "$dir/n2a.sif"
    mkdir -p "$dir/sif-out" "$dir/sif-work"
    $APPTAINER run --containall --cleanenv --no-home -B "$dir/bids:/data:ro" -B "$dir/sif-out:/out" -B "$dir/sif-work:/work" \
        "$dir/n2a.sif" /data /out participant --participant-label 01 -w /work --sloppy --strategy mean --device cpu
    check_results "$dir/sif-out"
    $APPTAINER run --containall --cleanenv --app tools "$dir/n2a.sif" doctor --quick
}

mkdir -p "$dir"
say "in $dir"
[ -n "${NO_BUILD:-}" ] || $BUILD "$root"
PYTHONPATH=$root "$PYTHON" "$here/../datasets/small_dataset.py" "$dir/bids" --participants 1
chmod -R a+rX "$dir"
[ $# -ge 2 ] || set -- "$dir" prove_image_is_small prove_image_runs prove_tools_run prove_exit_codes prove_sif
for proof in "${@:2}"; do
    say "$proof"
    $proof
done
say "proved, in $dir"
