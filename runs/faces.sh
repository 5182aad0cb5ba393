#!/usr/bin/env bash
# The bundled model `faces`: 64 x 64, 12,000 of the 14,000 photographs of fairface-128.zip (FairFace, CC BY 4.0); the last
# 2,000 are held out. Two CPU cores, as many hours as one has. Repeat the command to go on after an interruption.
#
#     runs/faces.sh [STORE] [RUN]            # from nothing
#     runs/faces.sh STORE RUN faces          # from the bundled model, which has kept its discriminator
#     LR=0.001 runs/faces.sh STORE RUN MODEL # slower, for the last part
#     FILE=faces.safetensors runs/faces.sh   # and write the newest model as it is bundled
#
# docs/models.md says what to expect and when.
set -euo pipefail
shared=${STYLEGAN_SHARED:-../shared} store=${1:-out/faces-64} run=${2:-out/run-faces} from=${3:-} file=${FILE:-}
[ -d "$store" ] || stylegan prepare "$shared/data/fairface-128.zip" "$store" --resolution 64 --classes none --hold-out 2000
stylegan train "$store" "$run" --preset small --kimg 2000 --lr "${LR:-0.003}" --grid 8 4 ${from:+--start-from "$from"}
[ -z "$file" ] || stylegan export "$run" "$file" --half --without-raw --license CC-BY-4.0
