#!/usr/bin/env bash
# Figure 9: KID and path lengths over the training of configs B and F, here on 32 x 32 portraits with thin networks, on two
# cores (three quarters of an hour). Repeat the command to go on after an interruption. docs/gallery.md shows it.
set -euo pipefail
export OMP_NUM_THREADS=1
store=${1:-out/portraits-32} out=${2:-out/figure-9}
options=(
    --resolution 32 --device cpu --keep 2 --model-ticks 1 --ema-kimg 3 --ema-rampup 0.05
    --schedule.total-kimg 120 --schedule.stable-kimg 16 --schedule.fade-kimg 10 --schedule.batch-size 4:16
    --schedule.learning-rate 4:0.002 --schedule.tick-kimg 4:4
    --generator.feature-maps.base 512 --generator.feature-maps.maximum 64 --generator.z-dim 64 --generator.w-dim 64
    --discriminator.feature-maps.base 512 --discriminator.feature-maps.maximum 64
    --evaluation-ticks 2 --evaluation.count 500 --evaluation.batch 50 --evaluation.crop none
    --evaluation.extractor mobilenet-v2 --evaluation.distance mobilenet-v2
)
[ -d "$store" ] || stylegan prepare portraits "$store" --resolution 32
mkdir -p "$out"
stylegan train "$store" "$out/config-b" --preset config-b "${options[@]}" --evaluation.metrics kid50k ppl_zfull &
stylegan train "$store" "$out/config-f" --preset config-f "${options[@]}" --evaluation.metrics kid50k ppl_zfull ppl_wfull \
    --generator.mapping-width 64 --loss.r1-gamma 2 --loss.penalty-at current --noise-lr-multiplier 0.02
wait
stylegan figure training "$out/config-f" "$out/config-b" --out "$out/figure-9.png"
