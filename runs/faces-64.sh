#!/usr/bin/env bash
# 64 x 64 faces from the 14,000 photographs of fairface-128.zip (FairFace, CC BY 4.0), on a GPU.
# Repeat the command to go on after an interruption. docs/log.md says what to expect and when.
set -euo pipefail
shared=${STYLEGAN_SHARED:-../shared} store=${1:-out/faces-64} run=${2:-out/run-faces-64}
[ -d "$store" ] || stylegan prepare "$shared/data/fairface-128.zip" "$store" --resolution 64 --classes none
stylegan train "$store" "$run" --preset small --precision tf32 --ema-kimg 10 --model-ticks 2 --keep 0 \
    --grid 12 8 --schedule.batch-size 4:64 --schedule.tick-kimg 4:25 \
    --schedule.stable-kimg 60 --schedule.fade-kimg 40 --schedule.total-kimg 5000 \
    --generator.z-dim 256 --generator.w-dim 256 --generator.mapping-width 256 --generator.mapping-layers 8 \
    --generator.feature-maps.base 4096 --generator.feature-maps.maximum 256 \
    --discriminator.feature-maps.base 4096 --discriminator.feature-maps.maximum 256
