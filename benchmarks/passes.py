#!/usr/bin/env python3
"""Seconds of a pass over a number of images at each resolution of a growing training, for some widths of the networks.

    benchmarks/passes.py [--resolution 256] [--count 100] [--maps 1024/128 2048/128] [--precision auto] [--seconds 4]
                         [--batch 8] [--cpu-time] [--device auto]

The preset is `small`, with its penalty in every eighth step. --cpu-time counts the process's own time instead of the
clock's, for a CPU that other programs keep busy; give OMP_NUM_THREADS=1 then.
"""

import argparse
import time
from dataclasses import replace

from stylegan import bench, planning, presets
from stylegan.allocator import keep_freed_memory
from stylegan.device import pick_device, pick_precision
from stylegan.networks.layers import FeatureMaps
from stylegan.resolutions import resolutions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--maps", nargs="+", default=["1024/128", "2048/128"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    device, clock = pick_device(options.device), time.process_time if options.cpu_time else time.perf_counter
    precision = pick_precision(options.precision, device)
    keep_freed_memory()
    print(f"{options.count} images, batch {options.batch}, {bench.name_of(device)}, {precision}")
    small = presets.small(presets.Shape(options.resolution))
    schedule = replace(small.schedule, batch_size={4: options.batch})
    for maps in options.maps:
        base, maximum = map(int, maps.split("/"))
        widths = FeatureMaps(base=base, maximum=maximum)
        config = replace(
            small,
            generator=replace(small.generator, feature_maps=widths),
            discriminator=replace(small.discriminator, feature_maps=widths),
            schedule=schedule,
            precision=precision,
            device=options.device,
        )
        for resolution in resolutions(options.resolution, min(schedule.initial_resolution, options.resolution)):
            now = planning.whole(schedule, options.resolution, resolution)
            each = planning.seconds_of_iteration(config, now, options.seconds, clock) / options.batch
            place = f"{resolution} x {resolution}, {widths(resolution)} maps"
            print(f"{maps:<10} {place:<20} {options.count * each:8.2f} s a pass", flush=True)


if __name__ == "__main__":
    main()
