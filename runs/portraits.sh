#!/usr/bin/env bash
# The bundled model `portraits`: 64 x 64, 10,000 procedural portraits, of which no photograph is part; 2,000 more are held
# out. Two CPU cores, as many hours as one has. Repeat the command to go on after an interruption.
#
#     runs/portraits.sh [STORE] [RUN]                 # from nothing
#     runs/portraits.sh STORE RUN portraits           # from the bundled model, which has kept its discriminator
#     FILE=portraits.safetensors runs/portraits.sh    # and write the newest model as it is bundled, and its directions
#
# docs/models.md says what to expect and when.
set -euo pipefail
store=${1:-out/portraits-64} run=${2:-out/run-portraits} from=${3:-} file=${FILE:-}
[ -d "$store" ] || stylegan prepare portraits "$store" --count 12000 --resolution 64 --hold-out 2000
stylegan train "$store" "$run" --preset small --kimg 2000 --lr 0.003 --no-mirror --grid 8 4 ${from:+--start-from "$from"}
if [ -n "$file" ]; then
    stylegan export "$run" "$file" --half --without-raw --license Apache-2.0
    stylegan directions find "$file" "${file%.safetensors}-directions.safetensors" --classifiers portraits-32
fi
