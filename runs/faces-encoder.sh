#!/usr/bin/env bash
# The encoder of the bundled `faces`, which `stylegan project faces PHOTOGRAPH --start encoder=faces` begins with: trained on
# the photographs that `faces` was trained on; the last 2,000 by name are held out. Half an hour of one CPU core. Repeat the
# command to go on after an interruption.
#
#     runs/faces-encoder.sh fairface-128.zip OUT
#
# OUT/faces-encoder.safetensors is then measured on a hundred of those held out.
set -euo pipefail
source=${1:?SOURCE} out=${2:?OUT}
[ -d "$out/store" ] || stylegan prepare "$source" "$out/store" --resolution 64 --classes none --hold-out 2000
stylegan encoder faces "$out/store" "$out/faces-encoder.safetensors" --kimg 44
python "$(dirname "$0")/../benchmarks/photographs.py" faces "$out/store" --encoder "$out/faces-encoder.safetensors"
