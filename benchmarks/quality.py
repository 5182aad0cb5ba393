#!/usr/bin/env python3
"""How good the pictures are after 1, 2, 4, 8 ... minutes of training: configurations side by side, as curves.

    benchmarks/quality.py STORE OUT [--configurations small growing] [--try "gamma-2=plain --loss.r1-gamma 2"]
                          [--minutes 15 | --kimg 40 --jobs 2] [--seeds 0 1] [--port PATH] [--against PATH] [--faces]

STORE: one with held-out images (stylegan prepare --hold-out). Each configuration is trained on it by `stylegan train`,
one after the other, in a process of its own, for the same time by the run's own clock, which stands still while
anything is saved. Afterwards the moving average's samples (psi 1) are compared with the held-out images: kernel
distance (times 1000) in MobileNetV2's features, precision, recall, and with --faces the share of 500 samples in which
`prepare --fit face` finds a face. "reals" in the table is the same of as many training images: the floor.

With --kimg configurations are compared after the same number of images instead of the same time, which other work on
the machine does not disturb; --jobs trainings then run side by side, with one thread each.

Repeat the command to go on after an interruption, with more minutes or more seeds. OUT holds the runs; what was
measured is added to --results, and drawn into a picture beside it.

--port PATH adds genforce's StyleGAN, a plain port, with its own losses and rates (a checkout, as for port.py);
--against PATH adds the configurations as another checkout of this project trains them, under NAME@FOLDER.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parents[1]
THIN = (
    "--generator.feature-maps.base 1024 --generator.feature-maps.maximum 128 "
    "--discriminator.feature-maps.base 1024 --discriminator.feature-maps.maximum 128"
)
CONFIGURATIONS = {  # name: options of `stylegan train`
    "small": "--preset small",
    "growing": "--preset growing",
    "demo": "--preset demo",
    # nothing grows; the average's half-life is 5 % of the images seen
    "plain": f"--preset growing {THIN} --schedule.initial-resolution {{resolution}} --schedule.batch-size 4:16 "
    "--loss.r1-gamma 0.5 --loss.penalty-interval 8 --ema-kimg 500 --ema-rampup 0.05 --noise-lr-multiplier 1",
}
TICK_KIMG = 0.5  # models are saved so often: a moment is met to within the time that these images take
FACES = 500  # images in which faces are looked for


@dataclass(frozen=True)
class Entry:
    """One curve: a configuration, its seed, and the code that trains it."""

    name: str
    options: str
    seed: int
    source: Path = HERE
    port: Path | None = None

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.seed}"


@dataclass
class Curve:
    """What was measured of one training."""

    configuration: str
    seed: int
    options: str
    points: list[dict[str, Any]] = field(default_factory=list)


# --- training


@dataclass(frozen=True)
class Length:
    """How long the trainings are."""

    unit: Literal["seconds", "images_seen"]
    total: float

    def moments(self) -> list[float]:
        """When to measure: at 1, 2, 4, 8 ... minutes, or after 4, 8, 16 ... thousand images, and at the end."""
        first = 60.0 if self.unit == "seconds" else 4000.0
        return [moment for moment in (first * 2**n for n in range(20)) if moment < self.total] + [self.total]

    def reached(self, folder: Path) -> bool:
        """Whether a run has come so far."""
        return any(line[self.unit] >= self.total for line in reports(folder))


def reports(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's stats.jsonl."""
    try:
        lines = (folder / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # the run is writing it
            break
    return found


def models_at(folder: Path, length: Length) -> Iterator[tuple[float, dict[str, Any], Path]]:
    """Of each moment the report and the model that come first after it; the last ones where a run ended."""
    models = {int(path.stem.partition("-")[2]): path for path in folder.glob("model-*")}
    lines = [line for line in reports(folder) if line["images_seen"] in models]
    for moment in length.moments():
        for line in ([line for line in lines if line[length.unit] >= moment] or lines[-1:])[:1]:
            yield moment, line, models[line["images_seen"]]


def train(entry: Entry, store: Path, out: Path, length: Length, threads: int | None = None) -> None:
    """Train for so long, or until the schedule ends; models that no moment needs are removed."""
    folder = out / entry.folder
    if (folder / "done").exists() or length.reached(folder):
        return
    environment = os.environ | {"PYTHONPATH": str(entry.source / "src")}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with subprocess.Popen(_command(entry, store, folder), env=environment) as process:
        try:
            while process.poll() is None:
                time.sleep(1)
                if length.reached(folder):
                    process.terminate()  # it saves and stops; background jobs of a shell ignore SIGINT
                    process.wait()
                _remove_others(folder, length)
        except BaseException:
            process.terminate()
            raise
    if process.returncode not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):  # the last: it was ending already
        raise SystemExit(f"{entry.folder} has failed, see above")
    if process.returncode == 0:
        (folder / "done").touch()
    _remove_others(folder, length)


def _command(entry: Entry, store: Path, folder: Path) -> list[str]:
    if entry.port is not None:
        return [sys.executable, __file__, str(store), str(folder), "--train-port", str(entry.port), str(entry.seed)]
    resolution = json.loads((store / "dataset.json").read_text(encoding="utf-8"))["resolution"]
    usual = f"--seed {entry.seed} --schedule.tick-kimg 4:{TICK_KIMG} --model-ticks 1 --keep 0 --grid 8 4"
    options = shlex.split(f"{usual} {entry.options.format(resolution=resolution)}")
    return [sys.executable, "-m", "stylegan", "train", str(store), str(folder), *options]


def _remove_others(folder: Path, length: Length) -> None:
    """Remove models and states but those of the moments and the newest of each."""
    kept = {path for _, _, path in models_at(folder, length)}
    for pattern in ("model-*", "state-*"):
        for path in sorted(folder.glob(pattern))[:-2]:
            if path not in kept:
                path.unlink()


def train_port(path: Path, store: Path, folder: Path, seed: int) -> None:
    """genforce's StyleGAN: logistic losses, R1 with weight 10 on every step, rate 0.001, average of 10,000 images.

    Writes what a run of ours does: stats.jsonl, and models, which hold everything. Goes on until it is interrupted.
    """
    import copy

    import numpy as np
    import torch
    from port import ROWS, of_port, optimizers, step_of

    from stylegan.data.loader import Loader, to_reals
    from stylegan.data.store import open_store

    batch, *widths = ROWS["thin"]
    torch.manual_seed(seed)
    networks, fakes, scores_and_gradients = of_port(path, *widths)
    adams, average = optimizers(networks), copy.deepcopy(networks[0]).requires_grad_(False)
    parts = {"networks": networks, "average": average, "g_adam": adams[0], "d_adam": adams[1]}
    images_seen, seconds, loader = 0, 0.0, Loader(open_store(store), seed=seed, mirror=True)
    if before := reports(folder):
        images_seen, seconds = before[-1]["images_seen"], before[-1]["seconds"]
        for name, state in torch.load(folder / f"model-{images_seen:010d}.pt", weights_only=True).items():
            parts[name].load_state_dict(state)
        torch.manual_seed(seed + images_seen)
    folder.mkdir(parents=True, exist_ok=True)
    step = step_of(networks, adams, fakes, scores_and_gradients, batch)
    while True:
        start = time.perf_counter()
        while time.perf_counter() < start + 10:
            images, _ = loader.batch(np.arange(images_seen, images_seen + batch), loader.store.resolution)
            step(to_reals(images))
            with torch.no_grad():
                for own, of_g in zip(average.state_dict().values(), networks[0].state_dict().values(), strict=True):
                    own.lerp_(of_g, 1 - 0.5 ** (batch / 10_000))
            images_seen += batch
        seconds += time.perf_counter() - start
        torch.save({name: part.state_dict() for name, part in parts.items()}, folder / "part")
        (folder / "part").rename(folder / f"model-{images_seen:010d}.pt")
        with (folder / "stats.jsonl").open("a") as file:
            file.write(json.dumps({"images_seen": images_seen, "seconds": seconds}) + "\n")


# --- measuring


class Judge:
    """Looks at samples, and compares them with a store's held-out images."""

    def __init__(self, store: Path, count: int, *, faces: bool) -> None:
        from stylegan.metrics.extractors import load_extractor
        from stylegan.metrics.subject import open_images

        self.count, self.faces, self.extractor = count, faces, load_extractor("mobilenet-v2")
        self.held_out = open_images(store, "held-out")
        self.reals = self._features(self.held_out)
        self.floor = self.scores(open_images(store, "training"))
        if faces:
            self.floor["faces"] = self._share_of_faces(self.held_out)

    def scores(self, images) -> dict[str, float]:
        """The scores of so many images (`Images`)."""
        from stylegan.metrics.distances import kid, precision_recall

        features = self._features(images)
        precision, recall = precision_recall(features, self.reals)
        distance = kid(self.reals, features, subset_size=500, seed=0)[0]
        scores = {"kmd_x1000": round(1000 * distance, 3), "precision": precision, "recall": recall}
        return scores | ({"faces": self._share_of_faces(images)} if self.faces else {})

    def _features(self, images):
        import torch

        from stylegan.metrics.stream import extract

        count = self.count if images.count is None else min(self.count, images.count)
        found = extract(images, self.extractor, count, batch=50, device=torch.device("cpu"), progress=False)
        return found["features"]

    def _share_of_faces(self, images) -> float:
        import numpy as np

        from stylegan.data.align import find_faces

        count = FACES if images.count is None else min(FACES, images.count)
        pixels = [images.batch(part).permute(0, 2, 3, 1).numpy() for part in np.array_split(np.arange(count), 10)]
        return sum(bool(find_faces(image)) for image in np.concatenate(pixels)) / count


def images_of(model: Path, port: Path | None):
    """What a model file of a run draws, at full resolution, without end (`Images`)."""
    import torch

    from stylegan import weights
    from stylegan.images import to_uint8
    from stylegan.metrics.stream import Images, Sampler, images_of_generator
    from stylegan.randomness import draw

    if port is None:
        return images_of_generator(Sampler(weights.load(model)))
    from port import RESOLUTION, ROWS, of_port

    (generator, _), _, _ = of_port(port, *ROWS["thin"][1:])
    generator.load_state_dict(torch.load(model, weights_only=True)["average"])
    generator.eval()

    @torch.no_grad()
    def batch(numbers):
        z = draw((512,), 0, 0, "z of metrics", torch.from_numpy(numbers))
        return to_uint8(generator(z, lod=0, randomize_noise=True)["image"])

    return Images("port", "", None, batch, (RESOLUTION, RESOLUTION))


def measure(entry: Entry, out: Path, length: Length, judge: Judge, known: Curve | None) -> Curve:
    """The scores of a run at the moments; those in `known` are not measured again."""
    import numpy as np

    from stylegan.images import grid, save_image

    curve, folder = Curve(entry.name, entry.seed, entry.options), out / entry.folder
    old = {(point["images_seen"], point["seconds"]): point for point in known.points} if known else {}
    for moment, line, model in models_at(folder, length):
        when = (line["images_seen"], round(line["seconds"], 1))
        point = old.get(when)
        if point is None or point["count"] != judge.count or (judge.faces and "faces" not in point):
            images = images_of(model, entry.port)
            point = {"images_seen": when[0], "seconds": when[1], "count": judge.count} | judge.scores(images)
            sheet = grid(images.batch(np.arange(32)), 8)
            save_image(sheet, folder / f"samples-{line['images_seen']:010d}.png", sheet=True)
            print(f"{entry.folder}: {json.dumps(point)}", flush=True)
            old[when] = point
        curve.points.append(point | {"moment": moment})
    return curve


# --- results


def read_results(path: Path) -> list[Curve]:
    """The curves of a results file; [] where there is none."""
    return [Curve(**curve) for curve in json.loads(path.read_text())["curves"]] if path.exists() else []


def write_results(path: Path, about: dict[str, Any], curves: Sequence[Curve]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = about | {"curves": [asdict(curve) for curve in curves]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def by_configuration(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """The curves of each configuration, one a seed, in order of the last distance."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.points:
            found.setdefault(curve.configuration, []).append(curve)
    last = {name: statistics.mean(c.points[-1]["kmd_x1000"] for c in own) for name, own in found.items()}
    return dict(sorted(found.items(), key=lambda item: last[item[0]]))


def table(curves: Sequence[Curve], floor: dict[str, float], unit: str = "seconds") -> str:
    """Markdown: the distance at each moment (mean of the seeds, and their range), and the rest at the last."""
    configurations = by_configuration(curves)
    places = sorted({point["moment"] for curve in curves for point in curve.points})
    names = [f"{place / 60:g} min" if unit == "seconds" else f"{place / 1000:g} kimg" for place in places]
    header = ["configuration", "seeds", *names]
    rows = [header + ["images", "precision", "recall", "faces"], ["---"] * (len(header) + 4)]
    for name, own in configurations.items():
        cells = [name, str(len(own))]
        for moment in places:
            values = [point["kmd_x1000"] for curve in own for point in curve.points if point["moment"] == moment]
            spread = f" ({min(values):.0f} to {max(values):.0f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.0f}{spread}" if values else "")
        ends = [curve.points[-1] for curve in own]
        cells.append(f"{statistics.mean(end['images_seen'] for end in ends):,.0f}")
        for key in ("precision", "recall", "faces"):
            values = [end[key] for end in ends if key in end]
            cells.append(f"{statistics.mean(values):.2f}" if values else "")
        rows.append(cells)
    shares = [f"{floor[key]:.2f}" if key in floor else "" for key in ("precision", "recall", "faces")]
    rows.append(["reals", "", *[""] * (len(places) - 1), f"{floor['kmd_x1000']:.2f}", "", *shares])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def picture(path: Path, curves: Sequence[Curve], unit: str = "seconds") -> None:
    """The distance over the seconds, or images, both logarithmic: the seeds' mean as a line, their range as a band."""
    from matplotlib.figure import Figure

    figure = Figure((8, 5), layout="constrained")
    axes = figure.subplots()
    for name, own in by_configuration(curves).items():
        count = min(len(curve.points) for curve in own)
        places = [statistics.mean(curve.points[i][unit] for curve in own) for i in range(count)]
        values = [[curve.points[i]["kmd_x1000"] for curve in own] for i in range(count)]
        (line,) = axes.plot(places, [statistics.mean(each) for each in values], marker=".", label=name)
        lowest, highest = ([end(each) for each in values] for end in (min, max))
        axes.fill_between(places, lowest, highest, alpha=0.2, color=line.get_color())
    axes.set(xscale="log", yscale="log", ylabel="kernel distance x 1000")
    axes.set_xlabel("seconds of training" if unit == "seconds" else "images seen")
    axes.legend()
    figure.savefig(path, dpi=120)


def entries(options: argparse.Namespace) -> list[Entry]:
    """All curves that are asked for: seed by seed, so that an interrupted comparison is fair as far as it came."""
    named = {name: CONFIGURATIONS[name] for name in options.configurations}
    for text in getattr(options, "try"):
        name, _, rest = text.partition("=")
        base, _, more = rest.partition(" ")
        named[name] = f"{CONFIGURATIONS.get(base, f'--preset {base}')} {more}"
    found = []
    for seed in options.seeds:
        found += [Entry(name, text, seed) for name, text in named.items()]
        if options.against:
            source = options.against.resolve()
            found += [Entry(f"{name}@{source.name}", text, seed, source) for name, text in named.items()]
        if options.port:
            found.append(Entry("genforce", "its own", seed, port=options.port.resolve()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--configurations", nargs="*", choices=CONFIGURATIONS, default=["small", "growing"])
    parser.add_argument("--try", action="append", default=[], metavar="NAME=BASE OPTIONS", help="one more")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--kimg", type=float, help="instead of minutes: thousands of images that each training sees")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time, with one thread each; --kimg")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--count", type=int, default=2000, help="samples that are measured")
    parser.add_argument("--faces", action="store_true", help="look for faces (stylegan fetch faces, stylegan[align])")
    parser.add_argument("--port", type=Path, help="a checkout of genforce")
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--results", type=Path, default=HERE / "benchmarks" / "results" / "quality.json")
    parser.add_argument("--train-port", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train_port:
        path, seed = options.train_port
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: it ends after a step
        try:
            train_port(Path(path), options.store, options.out, int(seed))
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGTERM)
    sys.path.insert(0, str(HERE / "src"))
    import torch

    from stylegan import bench
    from stylegan.data import align
    from stylegan.data.store import open_store
    from stylegan.device import pick_device
    from stylegan.errors import InputError

    wanted = entries(options)
    try:
        store = open_store(options.store)
        if options.faces:
            align.check()
    except InputError as error:
        parser.error(str(error))
    if store.held_out_count < 4:
        parser.error(f"{options.store} holds no images out; prepare it with --hold-out")
    length = Length("seconds", 60 * options.minutes)
    if options.kimg:
        length = Length("images_seen", 1000 * options.kimg)
    elif options.jobs > 1:
        parser.error("--jobs disturbs the time that trainings take; compare after the same images, with --kimg")
    one_thread = 1 if options.jobs > 1 else None
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda entry: train(entry, options.store, options.out, length, one_thread), wanted))
    judge = Judge(options.store, options.count, faces=options.faces)
    curves = {(curve.configuration, curve.seed): curve for curve in read_results(options.results)}
    about = {
        "data": f"{store.made.get('source')}, {store.resolution} x {store.resolution}, {store.count} images",
        "held_out": store.held_out_count,
        "machine": f"{bench.name_of(pick_device('auto'))}, torch {torch.__version__}",
        "reals": judge.floor,
    }
    for entry in wanted:
        key = (entry.name, entry.seed)
        curves[key] = measure(entry, options.out, length, judge, curves.get(key))
        write_results(options.results, about, list(curves.values()))
    print(table(list(curves.values()), judge.floor, length.unit))
    picture(options.results.with_suffix(".png"), list(curves.values()), length.unit)


if __name__ == "__main__":
    main()
