#!/usr/bin/env bash
# A hundred images at 256 x 256 in an evening on two CPU cores: thin networks that begin with the bundled model at 64 x 64
# and grow, with augmentation. At the end: the seconds of a pass over the hundred images at each resolution, pictures.
#
#     runs/hundred-256.sh photographs/ OUT
#
# Smaller images are enlarged (those of 128 x 128 are then soft at 256, and the network learns that). HOURS (2), COUNT
# (100), HOLD_OUT (20 more, by which augmentation is steered), EXTRA (further options of `stylegan train`). Repeat the
# command to go on.
set -euo pipefail
source=${1:?SOURCE} out=${2:?OUT}
read -ra extra <<<"${EXTRA:-}"
mkdir -p "$out"
[ -d "$out/store" ] || stylegan prepare "$source" "$out/store" --resolution 256 --allow-upscale --classes none \
    --limit "${COUNT:-100}" --hold-out "${HOLD_OUT:-20}"
stylegan train "$out/store" "$out/run" --hours "${HOURS:-2}" "${extra[@]}"
stylegan generate "$out/run" --seeds 0-15 --psi 0.7 --columns 4 --out "$out/pictures"
python "$(dirname "$0")/passes.py" "$out/run"
