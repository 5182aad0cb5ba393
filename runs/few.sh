#!/usr/bin/env bash
# A hundred and a thousand photographs: what augmentation and a start from another model are worth, after the same images
# seen. Judged against images that were not trained on.
#
#     stylegan prepare photographs/ STORE --resolution 32 --hold-out 2000     # all of them, for measuring
#     runs/few.sh photographs/ STORE OUT
#
# KIMG (60), SEEDS ("0 1 2"; of 1,000 images the first alone), FROM (a model with its discriminator that has not seen the
# photographs; by default the portraits of `stylegan demo`, which is run first), EXTRA (further options of `stylegan
# train`). Repeat the command to go on.
set -euo pipefail
source=${1:?SOURCE} all=${2:?STORE} out=${3:?OUT}
from=${FROM:-$out/demo/run} seeds=${SEEDS:-0 1 2}
resolution=$(stylegan info "$all" | awk '$1 == "resolution" {print $2}')
read -ra extra <<<"${EXTRA:-}"
mkdir -p "$out"
[ -n "${FROM:-}" ] || stylegan demo "$out/demo"

run() { # COUNT SEED NAME OPTIONS...
    local store=$out/store-$1 folder=$out/$1-$3-$2 seed=$2
    shift 3
    stylegan train "$store" "$folder" --preset small --kimg "${KIMG:-60}" --seed "$seed" "$@" "${extra[@]}"
    stylegan evaluate "$folder" --data "$all" --metrics kid50k --count "${COUNT:-2000}" --extractor mobilenet-v2 --batch 100
}

for count in 100 1000; do
    # the photographs held out in STORE are the last by name: they stay out of this one too
    [ -d "$out/store-$count" ] || stylegan prepare "$source" "$out/store-$count" --resolution "$resolution" --classes none \
        --hold-out 2000 --limit "$count"
    for seed in $seeds; do
        [ "$count" = 100 ] || [ "$seed" = "${seeds%% *}" ] || continue
        run "$count" "$seed" plain
        run "$count" "$seed" ada --augment.kind ada
        run "$count" "$seed" transfer --start-from "$from"
        [ "$count" = 100 ] || continue
        run "$count" "$seed" diff --augment.kind diff
        run "$count" "$seed" transfer-ada-freeze --start-from "$from" --augment.kind ada --freeze-d 2
    done
done
python "$(dirname "$0")/lowest.py" "$out"/100*-*
