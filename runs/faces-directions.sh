#!/usr/bin/env bash
# The directions of the bundled `faces`: classifiers of what FairFace says of its photographs (age group, gender), and the
# planes in W that separate what they see. Half an hour on one CPU core, with the judge below.
#
#     runs/faces-directions.sh fairface-128.zip OUT
#
# OUT/judge.safetensors, of other photographs and another seed, then tells what each direction changes.
set -euo pipefail
source=${1:?SOURCE} out=${2:?OUT}
mkdir -p "$out"
# each half of the photographs with attributes that can be told from a small picture; the last 2,000 stay out
python - "$source" "$out" <<'PY'
import csv
import io
import sys
import zipfile
from pathlib import Path

source, out = sys.argv[1], Path(sys.argv[2])
with zipfile.ZipFile(source) as photographs:
    rows = list(csv.DictReader(io.TextIOWrapper(photographs.open("attributes.csv"), "utf-8")))[:-2000]
    for half in (0, 1):
        with zipfile.ZipFile(out / f"half-{half}.zip", "w") as file:
            lines = ["file,child,older,masculine"]
            for row in rows[half::2]:
                age = 70 if "more" in row["age"] else int(row["age"].partition("-")[0])
                lines.append(f"{row['file']},{age < 10:d},{age >= 40:d},{row['gender'] == 'Male':d}")
                file.writestr(row["file"], photographs.read(row["file"]))
            file.writestr("attributes.csv", "\n".join(lines) + "\n")
PY
for half in 0 1; do
    name=$([ "$half" = 0 ] && echo classifiers || echo judge)
    [ -d "$out/store-$half" ] || stylegan prepare "$out/half-$half.zip" "$out/store-$half" --resolution 32
    [ -f "$out/$name.safetensors" ] || stylegan classifiers "$out/store-$half" "$out/$name.safetensors" \
        --feature-maps.base 1024 --feature-maps.maximum 128 --seed "$half" --kimg "${KIMG:-40}"
done
stylegan directions find faces "$out/directions.safetensors" --classifiers "$out/classifiers.safetensors" --count 6000
stylegan directions show faces "$out/directions.safetensors" --seeds 1-6 --strengths -4 -2 0 2 4 --out "$out/directions.png"
python "$(dirname "$0")/../benchmarks/directions.py" "$out/classifiers.safetensors" "$out/judge.safetensors" --model faces
