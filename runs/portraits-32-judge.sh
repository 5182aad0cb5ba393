#!/usr/bin/env bash
# Classifiers of portraits that share nothing with the bundled ones but their form: other portraits, another seed. They
# judge the editing directions that the bundled ones find (docs/directions.md): all 20 rise. A quarter of an hour on one
# CPU core.
set -euo pipefail
export OMP_NUM_THREADS=1
store=${1:-out/portraits-32-seed1} judge=out/portraits-32-judge.safetensors
[ -d "$store" ] || stylegan prepare portraits "$store" --count 10000 --resolution 32 --seed 1
stylegan classifiers "$store" "$judge" --feature-maps.base 512 --feature-maps.maximum 64 --half --seed 1
python "$(dirname "$0")/../benchmarks/directions.py" portraits-32 "$judge" --out out/side-effects.png
