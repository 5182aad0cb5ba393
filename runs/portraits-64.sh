#!/usr/bin/env bash
# The bundled model: 64 x 64 procedural portraits. Repeat the command to go on after an interruption.
# docs/log.md says what to expect and when.
set -euo pipefail
store=${1:-out/portraits-64} run=${2:-out/run-portraits-64}
[ -d "$store" ] || stylegan prepare portraits "$store" --count 20000 --resolution 64
stylegan train "$store" "$run" --preset small --no-mirror --precision tf32 --ema-kimg 10 --model-ticks 2 --keep 0 \
    --grid 12 8 --loss.r1-gamma 2 --schedule.batch-size 4:64 --schedule.tick-kimg 4:25 \
    --schedule.stable-kimg 60 --schedule.fade-kimg 40 --schedule.total-kimg 5000
