#!/usr/bin/env bash
# What the path-length regularizer does to the path length that metrics measure (ppl_wfull), and to quality: portraits,
# with and without it, three seeds each, after the same images seen.
#
#     runs/path-length.sh OUT
#
# RESOLUTION (32), KIMG (48), WEIGHT (1 / (log2 R - 1) is Karras et al.'s: 0.25 at 32 x 32), SEEDS ("0 1 2"), IMAGES
# (4400) and HELD_OUT (400) of the store, METRICS (ppl_wfull,kid50k) of COUNT (2000) samples, EXTRA (further options of
# `stylegan train`). Repeat the command to go on.
set -euo pipefail
out=${1:?OUT} resolution=${RESOLUTION:-32}
read -ra extra <<<"${EXTRA:-}"
store=$out/store-$resolution
mkdir -p "$out"
[ -d "$store" ] || stylegan prepare portraits "$store" --count "${IMAGES:-4400}" --hold-out "${HELD_OUT:-400}" \
    --resolution "$resolution"
for seed in ${SEEDS:-0 1 2}; do
    for weight in 0 "${WEIGHT:-0.25}"; do
        run=$out/run-$resolution-$weight-$seed
        stylegan train "$store" "$run" --preset demo --kimg "${KIMG:-48}" --seed "$seed" --path-length.weight "$weight" \
            "${extra[@]}"
        stylegan evaluate "$run" --data "$store" --metrics "${METRICS:-ppl_wfull,kid50k}" --count "${COUNT:-2000}" \
            --distance mobilenet-v2 --extractor mobilenet-v2 --crop none --reals training --batch 100
    done
done
