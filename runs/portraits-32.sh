#!/usr/bin/env bash
# The bundled portraits-32: procedural portraits, on one CPU core. Repeat the command to go on after an interruption.
# docs/log.md says what to expect and when.
set -euo pipefail
export OMP_NUM_THREADS=1
store=${1:-out/portraits-32} run=${2:-out/run-portraits-32}
[ -d "$store" ] || stylegan prepare portraits "$store" --count 10000 --resolution 32
stylegan train "$store" "$run" --preset growing --no-mirror --ema-kimg 5 --noise-lr-multiplier 0.01 \
    --generator.z-dim 64 --generator.w-dim 64 --generator.mapping-width 64 \
    --generator.feature-maps.base 512 --generator.feature-maps.maximum 64 \
    --discriminator.feature-maps.base 512 --discriminator.feature-maps.maximum 64 \
    --loss.r1-gamma 2 --loss.penalty-interval 4 --schedule.batch-size 4:8 --schedule.tick-kimg 4:10 \
    --schedule.stable-kimg 10 --schedule.fade-kimg 6 --schedule.total-kimg 300
