"""The seconds of a pass over the training images at each resolution of runs: python runs/passes.py RUN ..."""

import sys
from pathlib import Path
from statistics import median

from stylegan.data.store import open_store
from stylegan.run_files import read_stats
from stylegan.training.run_folder import read_run

for run in map(Path, sys.argv[1:]):
    config, speeds = read_run(run), {}
    count, maps = open_store(config.data).count, config.generator.feature_maps
    for line in read_stats(run):
        speeds.setdefault((line["resolution"], line["fade"] > 0), []).append(line["images_per_second"])
    print(f"{run.name}: {count} images, feature maps {maps.base} / {maps.maximum}")
    for (resolution, fading), each in sorted(speeds.items(), key=lambda item: (item[0][0], not item[0][1])):
        stage = f"{resolution} x {resolution}{' fading in' * fading}, {maps(resolution)} maps"
        print(f"  {stage}: {count / median(each):.1f} s a pass")
