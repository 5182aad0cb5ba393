#!/usr/bin/env bash
# The bundled model: 32 x 32 procedural portraits, an hour on one CPU core. Repeat the command to go on after an
# interruption. docs/log.md says what to expect and when.
set -euo pipefail
store=${1:-out/portraits-32} run=${2:-out/run-portraits-32}
[ -d "$store" ] || stylegan prepare portraits "$store" --count 10000 --resolution 32
stylegan train "$store" "$run" --preset demo --ema-kimg 5 --schedule.total-kimg 300 --schedule.tick-kimg 4:10
