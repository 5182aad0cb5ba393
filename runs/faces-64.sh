#!/usr/bin/env bash
# 64 x 64 faces from the 14,000 photographs of fairface-128.zip (FairFace, CC BY 4.0), thin networks on one CPU core.
# Repeat the command to go on after an interruption. docs/log.md says what to expect and when.
set -euo pipefail
export OMP_NUM_THREADS=1
shared=${STYLEGAN_SHARED:-../shared} store=${1:-out/faces-64} run=${2:-out/run-faces-64}
[ -d "$store" ] || stylegan prepare "$shared/data/fairface-128.zip" "$store" --resolution 64 --classes none
stylegan train "$store" "$run" --preset growing --device cpu --keep 0 --grid 12 6 \
    --schedule.batch-size 4:16 --schedule.tick-kimg 4:8 \
    --schedule.stable-kimg 24 --schedule.fade-kimg 12 --schedule.total-kimg 400 \
    --generator.feature-maps.base 512 --generator.feature-maps.maximum 64 \
    --discriminator.feature-maps.base 512 --discriminator.feature-maps.maximum 64 \
    --generator.z-dim 64 --generator.w-dim 64 --generator.mapping-width 64 --generator.mapping-layers 4 \
    --loss.r1-gamma 2 --loss.penalty-interval 4 --noise-lr-multiplier 0.02
