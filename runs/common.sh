# What the tables share; sourced by table1.sh to table4.sh, which are called as
#
#     runs/table1.sh small STORE OUT     # thin networks: hours on two cores, minutes on one GPU
#     runs/table1.sh full STORE OUT      # as the paper ran it: a week on eight GPUs for each network
#
# Every network is a run in OUT; repeat the command to go on after an interruption. JOBS runs are trained at a time
# (1), small ones at RESOLUTION (32) for KIMG thousand images (200); full ones on GPUS GPUs each (8).
#
# Full runs are measured by FID (`stylegan fetch inception` and `stylegan fetch lpips` first), small ones by KID at
# COUNT samples (2000) in the features of the bundled MobileNetV2 (or another extractor: FEATURES).
# EXTRA holds further options of `stylegan train`, for all networks.
set -euo pipefail
scale=${1:-} store=${2:-} out=${3:-}
if [[ ! $scale =~ ^(small|full)$ || -z $store || -z $out ]]; then
    echo "usage: $0 small|full STORE OUT" >&2
    exit 2
fi
mkdir -p "$out"
stylegan=(stylegan)
if [ "$scale" = full ]; then
    options=(--gpus "${GPUS:-8}" --keep 0 --evaluation.metrics fid50k)
    measures=()
    [ "${GPUS:-8}" = 1 ] || stylegan=(torchrun --nproc-per-node "${GPUS:-8}" -m stylegan)
else
    features=${FEATURES:-mobilenet-v2}
    measures=(--count "${COUNT:-2000}" --extractor "$features" --distance "$features" --crop none)
    options=(
        --evaluation.metrics kid50k --evaluation.count "${COUNT:-2000}" --evaluation.extractor "$features"
        --evaluation-ticks 1
        --resolution "${RESOLUTION:-32}" --schedule.total-kimg "${KIMG:-200}"
        --schedule.stable-kimg 30 --schedule.fade-kimg 30 --schedule.batch-size "${BATCH:-4:32}"
        --schedule.learning-rate 4:0.002 --schedule.tick-kimg "4:${TICK:-20}"
        --generator.feature-maps.base 1024 --generator.feature-maps.maximum 128
        --discriminator.feature-maps.base 1024 --discriminator.feature-maps.maximum 128
        --generator.z-dim 128 --generator.w-dim 128 --generator.mapping-width 128
        --loss.r1-gamma 3 --loss.penalty-at current --ema-kimg 5 --ema-rampup 0.05 --noise-lr-multiplier 0.02
        --precision tf32 --grid 12 6 --model-ticks 1 --keep 0
    )
fi

read -ra extra <<<"${EXTRA:-}"
options+=("${extra[@]}")

# train PRESET [SEED]: the run PRESET-SEED
train() {
    local run=$out/$1-${2:-0}
    local command=("${stylegan[@]}" train "$store" "$run" --preset "$1" --seed "${2:-0}" "${options[@]}")
    if [ "${JOBS:-1}" = 1 ]; then
        "${command[@]}"
    else
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
        "${command[@]}" >"$run.log" 2>&1 &
    fi
}

# measure RUN METRICS [OPTIONS]: more figures of a run's last model
measure() {
    "${stylegan[@]}" evaluate "$out/$1" --data "$store" --metrics "$2" "${measures[@]}" "${@:3}"
}

# table RUN...: the lowest and the last figure of each
table() {
    wait
    (cd "$out" && python "$here/lowest.py" "$@")
}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
