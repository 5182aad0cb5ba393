#!/usr/bin/env bash
# Does bf16 train as well as float32? Three seeds of the same training in each, measured by KID against images that
# were not trained on; the scores should differ no more between the precisions than between the seeds. On two cores with
# fast bfloat16 about an hour at 32 x 32:
#
#     stylegan prepare photographs/ STORE --resolution 32 --hold-out 2000
#     runs/precision.sh STORE OUT
#
# KIMG (40), SEEDS ("0 1 2") and EXTRA (further options of `stylegan train`) change it. Repeat the command to go on.
set -euo pipefail
store=${1:?STORE} out=${2:?OUT}
resolution=$(stylegan info "$store" | awk '$1 == "resolution" {print $2}')
read -ra extra <<<"${EXTRA:-}"
mkdir -p "$out"
for seed in ${SEEDS:-0 1 2}; do
    for precision in float32 bf16; do
        run=$out/$precision-$seed
        stylegan train "$store" "$run" --preset growing --precision "$precision" --seed "$seed" \
            --schedule.initial-resolution "$resolution" --schedule.total-kimg "${KIMG:-40}" --schedule.batch-size "${BATCH:-4:16}" \
            --generator.feature-maps.base 1024 --discriminator.feature-maps.base 1024 \
            --loss.r1-gamma 0.5 --loss.penalty-interval 8 "${extra[@]}"
        stylegan evaluate "$run" --data "$store" --metrics kid50k --count "${COUNT:-2000}" --extractor mobilenet-v2 --batch 100
    done
done
python "$(dirname "$0")/lowest.py" "$out"/{float32,bf16}-*
