#!/usr/bin/env bash
# 64 x 64 faces from 12,000 of the 14,000 photographs of fairface-128.zip (FairFace, CC BY 4.0) on one GPU; the other
# 2,000 are held out. Repeat the command to go on after an interruption. docs/log.md says what to expect and when.
set -euo pipefail
shared=${STYLEGAN_SHARED:-../shared} store=${1:-out/faces-64-held-out} run=${2:-out/run-faces-64-gpu}
[ -d "$store" ] || stylegan prepare "$shared/data/fairface-128.zip" "$store" --resolution 64 --classes none --hold-out 2000
stylegan train "$store" "$run" --preset config-f --resolution 64 --precision tf32 --keep 2 --model-ticks 1 --grid 12 6 \
    --schedule.batch-size 4:64 --schedule.learning-rate 4:0.002 --schedule.tick-kimg 4:20 \
    --schedule.stable-kimg 25 --schedule.fade-kimg 25 --schedule.total-kimg 1500 \
    --generator.feature-maps.base 8192 --generator.feature-maps.maximum 256 \
    --discriminator.feature-maps.base 8192 --discriminator.feature-maps.maximum 256 \
    --generator.z-dim 256 --generator.w-dim 256 --generator.mapping-width 256 \
    --loss.r1-gamma 3 --loss.penalty-at current --ema-kimg 10 --ema-rampup 0.05 --noise-lr-multiplier 0.02 \
    --evaluation.metrics kid50k ppl_zfull ppl_wfull --evaluation-ticks 2 --evaluation.count 2000 \
    --evaluation.extractor mobilenet-v2 --evaluation.distance mobilenet-v2 --evaluation.crop none --evaluation.batch 100
