#!/usr/bin/env bash
# Does bf16 train as well as float32? Two seeds of config f in each; their figures should differ no more between the
# precisions than between the seeds. On a GPU, some ten minutes:
#
#     JOBS=4 RESOLUTION=64 KIMG=240 runs/precision.sh small STORE OUT
source "$(dirname "$0")/common.sh"
root=$out
for precision in float32 bf16; do
    out=$root/$precision
    mkdir -p "$out"
    options+=(--precision "$precision")
    for seed in 0 1; do train config-f "$seed"; done
done
out=$root
table {float32,bf16}/config-f-{0,1}
