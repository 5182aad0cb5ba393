#!/usr/bin/env bash
# A hundred and a thousand photographs: what augmentation and a start from another model are worth, after the same images
# seen. Judged against 2,000 photographs that were not trained on: KID and memorization, in docs/reproduction.md.
#
#     runs/few.sh photographs/ OUT
#
# RESOLUTION (32), KIMG ("20 60": lengths at which all are measured, in thousands of images; 200 and 600 passes over a
# hundred, 22 minutes of a core), SEEDS ("0 1 2"; of 1,000 images the first alone), FROM (a model with its discriminator
# that has not seen the photographs: portraits), COUNT (samples of a measurement: 2000), EXTRA (further options of
# `stylegan train`). Repeat the command to go on, with longer lengths too.
set -euo pipefail
source=${1:?SOURCE} out=${2:?OUT}
from=${FROM:-portraits} seeds=${SEEDS:-0 1 2}
read -ra extra <<<"${EXTRA:-}"
mkdir -p "$out"

run() { # IMAGES SEED NAME OPTIONS...
    local store=$out/store-$1 folder=$out/$1-$3-$2 seed=$2
    shift 3
    for kimg in ${KIMG:-20 60}; do
        stylegan train "$store" "$folder" --preset small --kimg "$kimg" --seed "$seed" "$@" "${extra[@]}"
        newest=$(ls "$folder"/model-*.safetensors | tail -n 1)
        grep -qs "$(basename "$newest")" "$folder/metrics.jsonl" || stylegan evaluate "$newest" --data "$store" \
            --metrics kid50k,memorization --count "${COUNT:-2000}" --extractor mobilenet-v2 --batch 100
    done
}

for images in 100 1000; do
    # those held out are the last by name, whatever the limit
    [ -d "$out/store-$images" ] || stylegan prepare "$source" "$out/store-$images" --resolution "${RESOLUTION:-32}" \
        --classes none --hold-out 2000 --limit "$images"
    for seed in $seeds; do
        [ "$images" = 100 ] || [ "$seed" = "${seeds%% *}" ] || continue
        run "$images" "$seed" plain
        run "$images" "$seed" ada --augment.kind ada
        run "$images" "$seed" transfer --start-from "$from"
        [ "$images" = 100 ] || continue
        run "$images" "$seed" diff --augment.kind diff
        run "$images" "$seed" transfer-ada-freeze --start-from "$from" --augment.kind ada --freeze-d 2
    done
done
python "$(dirname "$0")/lowest.py" "$out"/100*-*
