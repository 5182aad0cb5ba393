"""The whole way in some minutes: faces of the bundled model at once, then portraits, training, samples, style mixing.

`stylegan demo` is the function `demo`.
"""

from dataclasses import replace
from pathlib import Path

import torch

from stylegan import bench, figures, planning, presets, recipe, run_files, sampling, weights
from stylegan.data.prepare import prepare_portraits
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.images import contact_sheet, enlarge, save_image
from stylegan.training import run_folder
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import Outcome, train

MINUTES = 6.0  # of training, so that all is there in eight
LEAST, MOST = 16.0, 60.0  # kimg: what shows faces, and what takes a GPU no minute
SAMPLES = recipe.Recipe(range(32), psi=0.8)
FACES = recipe.Recipe(range(32), psi=0.7)


def demo(folder: Path, count: int = 4000, minutes: float = MINUTES) -> Outcome:
    """Draw faces, make portraits, train a small StyleGAN on them and draw pictures, all in a folder.

    Returns the outcome of the training.

    count: number of portraits. minutes: how long to train at the speed of this machine, but at least 16,000 and at
    most 60,000 images; a training that has begun keeps its length. What an interrupted call has done is not done again.
    Raises InputError where minutes is not above 0, or the folder holds another number of portraits.
    """
    if not minutes > 0:
        raise InputError(f"minutes is {minutes:g}; give a number above 0")
    store, run, faces = folder / "portraits-32", folder / "run", folder / "faces.png"
    if not faces.exists():
        _draw_faces(faces)
    if not store.exists():
        print(f"drawing {count} portraits")
        prepare_portraits(store, count=count, resolution=32)
    if open_store(store).count != count:
        raise InputError(f"{store} holds another number of portraits; remove {folder} or choose another folder")
    config = run_folder.read_run(run) if (run / "run.json").exists() else _fitted(store, minutes)
    outcome = train(config, run)
    if outcome.stopped_by is not None:
        return outcome

    generator = weights.load(outcome.model)
    top, left = generator.truncate(sampling.w_of_seeds(generator, range(9)), 0.7).split([5, 4])
    mixed = sampling.mixing_table(generator, top, left, [range(4)] * 4)
    reals = torch.tensor(open_store(store).images()[:32]).permute(0, 3, 1, 2)
    pictures = {
        "reals.png": contact_sheet(reals, columns=8),
        "samples.png": contact_sheet(recipe.draw(generator, SAMPLES), [f"seed {seed}" for seed in range(32)], 8),
        "style-mixing.png": enlarge(mixed, 3),
        "progress.png": figures.progress(run_files.own(run, "fakes"), config.grid[1]),
    }
    for name, picture in pictures.items():
        save_image(picture, folder / name, sheet=True)
    return outcome


def _fitted(store: Path, minutes: float) -> TrainingConfig:
    """The preset, as long as the minutes allow here."""
    print("measuring the speed of this machine ...", flush=True)
    plan = planning.plan(str(store), presets.Choice("demo"), planning.Machine(), minutes / 60)
    kimg = min(max(plan.config.schedule.total_kimg, LEAST), MOST)
    config = replace(plan.config, schedule=replace(plan.config.schedule, total_kimg=kimg))
    print(f"{kimg:g} kimg take about {bench.duration(plan.seconds(config)[1])} here", flush=True)
    return config


def _draw_faces(path: Path) -> None:
    """Samples of the model that comes with the program, there before anything is trained."""
    generator = weights.load("faces")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(contact_sheet(recipe.draw(generator, FACES), columns=8), path, sheet=True)
    print(f"{path}: what the bundled model draws; now a smaller one is trained from nothing", flush=True)
