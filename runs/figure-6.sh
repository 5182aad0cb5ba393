#!/usr/bin/env bash
# Figure 6, entanglement, made real: portraits of two factors with one combination left out, a generator whose Z has two
# dimensions, and how its Z and W relate to the factors. docs/gallery.md shows it; docs/log.md says how long it takes.
set -euo pipefail
export OMP_NUM_THREADS=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
store=${1:-out/two-factors} run=${2:-out/run-two-factors}
[ -d "$store" ] || python "$here/two-factors.py" "$store"
stylegan train "$store" "$run" --preset growing --no-mirror --mixing-probability 0 --ema-kimg 3 --noise-lr-multiplier 0.01 \
    --generator.z-dim 2 --generator.no-normalize-z --generator.w-dim 32 \
    --generator.mapping-layers 4 --generator.mapping-width 64 --generator.mapping-lr-multiplier 0.05 \
    --generator.feature-maps.base 512 --generator.feature-maps.maximum 32 \
    --discriminator.feature-maps.base 512 --discriminator.feature-maps.maximum 32 \
    --schedule.stable-kimg 30 --schedule.fade-kimg 8 --schedule.total-kimg 106 \
    --schedule.batch-size 4:32,16:16,32:8 --schedule.tick-kimg 4:5 --loss.r1-gamma 1 --loss.penalty-interval 4
stylegan figure entanglement "$run" --data "$store" --attributes facing_left dark_background --out "$run/figure-6.png"
