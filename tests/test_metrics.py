"""Measuring: extractors, path lengths, classifiers, the record; against torch-fidelity and closed forms."""

import hashlib
import importlib.util
import json
import math
import os
import pickle
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_MAPS, tiny_config, tiny_discriminator, tiny_generator, write_store
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from stylegan import cli, directions, downloads, share, weights
from stylegan.classifiers.model import AttributeClassifiers, load_classifiers, save_classifiers
from stylegan.classifiers.train import ClassifierConfig, train_classifiers
from stylegan.data.prepare import PrepareConfig, prepare, prepare_portraits
from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.device import set_precision
from stylegan.errors import InputError, InputWarning
from stylegan.images import from_uint8
from stylegan.metrics import distances, extractors, stream, subject
from stylegan.metrics.evaluate import check, evaluate, measure
from stylegan.metrics.extractors import InceptionV3, load_distance, load_extractor
from stylegan.metrics.metric import METRICS, EvaluateConfig, Evaluation, Need
from stylegan.metrics.path_length import mean_without_outliers, path_length, prepare_images
from stylegan.metrics.record import is_best, named_values, read_record
from stylegan.networks.generator import Growth
from stylegan.networks.layers import FeatureMaps
from stylegan.training.loop import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network_file(tmp_path_factory) -> str:
    """A file of the MobileNetV2's kind: one convolution, then the mean."""
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    torch.manual_seed(0)
    operations = [
        [0, "CONV_2D", 16, ["in"], "a", [0.0, 6.0]],
        [1, "CONV_2D", 1, ["a"], "b", [-100.0, 100.0]],
        [2, "AVERAGE_POOL_2D", 1, ["b"], "out", [-100.0, 100.0]],
    ]
    tensors = {"w0": torch.randn(8, 3, 3, 3), "b0": torch.randn(8), "w1": torch.randn(5, 8, 1, 1), "b1": torch.randn(5)}
    save_file(tensors, path, {"ops": json.dumps(operations)})
    return f"mobilenet-v2={path}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, weights.Model(tiny_generator(), weights.Provenance(images_seen=77)))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))


def run(*arguments) -> int:
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


# --- extractors


@pytest.fixture(scope="module")
def inception():
    """Inception-v3 with random weights, and the file of them that torch-fidelity reads."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    torch.manual_seed(0)
    blank = fidelity.FeatureExtractorInceptionV3.__new__(fidelity.FeatureExtractorInceptionV3)
    original = torch.load
    fidelity.torch.load = lambda *args, **kwargs: {}
    blank_load = fidelity.FeatureExtractorInceptionV3.load_state_dict
    fidelity.FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:
        blank.__init__("blank", ["2048"], feature_extractor_weights_path="none")
    finally:
        fidelity.torch.load = original
        fidelity.FeatureExtractorInceptionV3.load_state_dict = blank_load
    with torch.no_grad():
        for module in blank.modules():  # statistics as after a training, so that signals neither die nor explode
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    return {name: tensor.clone() for name, tensor in blank.state_dict().items()}


def test_inception_is_that_of_torch_fidelity(inception, tmp_path):
    """The same figures from the same pictures, by their program and by ours."""
    torch_fidelity = pytest.importorskip("torch_fidelity")
    rng = np.random.RandomState(0)
    for name, base in (("a", 90), ("b", 140)):
        (tmp_path / name).mkdir()
        for i in range(24):
            pixels = rng.normal(base, 40, (3, 40, 3)).repeat(12, axis=0)[:32]
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / name / f"{i:02d}.png")
    torch.save(inception, tmp_path / "inception.pth")
    save_file(inception, tmp_path / "inception.safetensors")
    theirs = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "a"),
        input2=str(tmp_path / "b"),
        cuda=False,
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subset_size=24,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(tmp_path / "inception.pth"),
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    config = EvaluateConfig(
        ("fid50k", "kid50k", "is50k", "pr50k"), extractor=f"inception={tmp_path / 'inception.safetensors'}"
    )
    images = subject.open_images(tmp_path / "a")
    evaluation = Evaluation(config, CPU, images=images, data=tmp_path / "b", progress=False)
    lines = measure(evaluation, tmp_path / "metrics.jsonl", {})
    ours = {name: value for line in lines for name, value in line["values"].items()}
    for name, key in (
        ("fid", "frechet_inception_distance"),
        ("kid", "kernel_inception_distance_mean"),
        ("is", "inception_score_mean"),
        ("is_std", "inception_score_std"),
        ("precision", "precision"),
        ("recall", "recall"),
    ):
        assert ours[name] == pytest.approx(theirs[key], rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("mode", ["16 bits", "RGBA", "turned"])
def test_images_are_read_as_prepare_reads_them(tmp_path, mode):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (16, 16, 4)).astype(np.uint8)
    exif = Image.Exif()
    if mode == "turned":
        exif[0x0112] = 6
    image = Image.fromarray(pixels if mode == "RGBA" else pixels[:, :, :3])
    if mode == "16 bits":
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    image.save(folder / "a.png", exif=exif)
    prepare(folder, tmp_path / "store", PrepareConfig(resolution=16), progress=False)
    ours = subject.open_images(folder).batch(np.array([0]))
    assert torch.equal(ours, subject.open_images(tmp_path / "store").batch(np.array([0])))
    if mode == "16 bits":
        np.testing.assert_array_equal(ours[0, 0], pixels[:, :, 0])


def test_inception_gives_features_and_logits(inception):
    network = InceptionV3(inception, "x")
    features, logits = network(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)


def test_mobilenet_is_that_of_the_tool(tmp_path):
    """The bundled network, and one in a file, see what image_distance.py sees; the kernel distance is its own too."""
    from conftest import SHARED

    file = SHARED / "data/mobilenet-v2/mobilenet_v2_features.safetensors"
    if not file.exists():
        pytest.skip(f"the network's file is not at {file}")
    specification = importlib.util.spec_from_file_location("tool", SHARED / "tools/image_distance.py")
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    images = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    theirs = tool.Features()(torch.stack([tool.tensor(Image.fromarray(image), 32) for image in images]))
    for text in ("mobilenet-v2", f"mobilenet-v2={file}"):
        ours, logits = load_extractor(text)(torch.from_numpy(images).permute(0, 3, 1, 2))
        assert logits is None and torch.allclose(ours, theirs, atol=1e-4)
    a, b = torch.rand(2, 30, 7).double()
    assert distances.kid(a, b, subset_size=500, seed=0)[0] == pytest.approx(tool.kernel(a, b), rel=1e-9)


def test_the_bundled_network_tells_sizes_and_colors_apart():
    """It needs neither the network nor files from elsewhere, and its license is beside it."""
    network = load_extractor("mobilenet-v2")
    assert (network.name, network.feature_count) == ("mobilenet-v2", 1280)
    assert "Apache License" in (extractors.MOBILENET.parent / "LICENSE").read_text()
    assert extractors.MOBILENET.stat().st_size < 5e6
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[1, 0] = 255
    black, red = network(images)[0]
    assert black.isfinite().all() and (black - red).norm() > 0.1 * black.norm()


def test_auto_is_inception_where_it_has_been_fetched(tmp_path, monkeypatch):
    with pytest.warns(InputWarning, match="stylegan fetch inception"):
        assert load_extractor("auto").name == "mobilenet-v2"
    fetched = tmp_path / "cache" / downloads.DOWNLOADS["inception"][0].name
    fetched.parent.mkdir()
    fetched.write_bytes(b"damaged")  # is not passed over in silence
    with pytest.raises(InputError, match="missing or damaged"):
        load_extractor("auto")


def test_scores_without_inception_are_named_after_the_network_that_looked(store, model, capsys):
    config = EvaluateConfig(("fid50k", "pr50k"), count=6)
    with pytest.warns(InputWarning, match="the bundled MobileNetV2"):
        scores = evaluate(str(model), store, config=config, device="cpu", progress=False)
    assert set(scores) == {"fid_mobilenet-v2", "precision_mobilenet-v2", "recall_mobilenet-v2"}
    usual = {"metric": "fid50k", "extractor": "inception-v3", "values": {"fid": 1.0}}
    assert named_values(usual) == {"fid": 1.0}
    path = {"metric": "ppl_wend", "distance": "mobilenet-v2 features", "values": {"ppl_wend": 2.0}}
    assert named_values(path) == {"ppl_wend_mobilenet-v2": 2.0}
    assert named_values({"metric": "ls", "classifiers": "x", "values": {"ls_w": 3.0}}) == {"ls_w": 3.0}


def test_lpips_loads_offline_and_is_a_distance():
    pytest.importorskip("torch_fidelity")
    from torchvision.models import vgg16

    torch.manual_seed(0)
    maps = (64, 128, 256, 512, 512)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(maps)}
    before = torch.hub.get_dir()
    distance = extractors.LPIPS(vgg16(weights=None).state_dict(), linear, "x").eval()
    assert torch.hub.get_dir() == before
    a, b = torch.rand(2, 3, 32, 32) * 255, torch.rand(2, 3, 32, 32) * 255
    assert distance(a, a).tolist() == [0, 0]
    assert (distance(a, b) > 0).all() and torch.allclose(distance(a, b), distance(b, a))


@pytest.mark.parametrize("text", ["resnet", "mobilenet", "resnet=x.safetensors", "inception=nowhere.safetensors"])
def test_extractors_that_are_not_there(text):
    with pytest.raises(InputError):
        load_extractor(text)


def test_what_has_not_been_fetched_is_asked_for(tmp_path):
    for load, name in ((load_extractor, "inception"), (load_distance, "lpips")):
        with pytest.raises(InputError, match=f"stylegan fetch {name}"):
            load(name)
    (tmp_path / "x.safetensors").write_text("no weights")
    with pytest.raises(InputError, match=r"x\.safetensors"):
        load_extractor(f"mobilenet-v2={tmp_path / 'x.safetensors'}")


def test_fetch(tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "w.pth").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setitem(
        downloads.DOWNLOADS, "inception", [downloads.Download((tmp_path / "there" / "w.pth").as_uri(), right, "")]
    )
    assert run("fetch", "inception") == 0
    path = tmp_path / "cache" / "w.pth"
    assert capsys.readouterr().out.strip() == str(path) and path.read_bytes() == b"weights"
    (tmp_path / "there" / "w.pth").unlink()
    assert run("fetch", "inception") == 0  # it is there already
    path.write_bytes(b"damaged")
    assert run("fetch", "inception") == 2  # and must be had again, which now fails
    assert "--source" in capsys.readouterr().err
    (tmp_path / "there" / "w.pth").write_bytes(b"another file")
    assert run("fetch", "inception", "--source", tmp_path / "there") == 2
    assert "not the file" in capsys.readouterr().err
    assert path.read_bytes() == b"damaged" and len(list((tmp_path / "cache").iterdir())) == 1
    assert run("fetch", "resnet") == 2


def test_checksums_look_like_checksums():
    for items in downloads.DOWNLOADS.values():
        for item in items:
            assert len(item.sha256) == 64 and item.url.startswith("https://")
            digits = item.name.rsplit(".", 1)[0].rsplit("-", 1)[-1]  # some names end in the hash's beginning
            assert item.sha256.startswith(digits) or not re.fullmatch("[0-9a-f]{6,}", digits)


# --- path length


def square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().sum(dim=(1, 2, 3))


def pairs(count: int, size: int):
    stream_ = torch.Generator().manual_seed(5)
    z1, z2 = torch.randn(2, count, size, dtype=torch.float64, generator=stream_)
    return z1, z2, torch.rand(count, dtype=torch.float64, generator=stream_)


@pytest.mark.parametrize("crop", ["face", "none"])
def test_path_length_of_a_linear_generator(crop):
    """In W: |A (w2 - w1)|^2 of the part that is seen, whatever t and epsilon; in Z a chord of the circle."""
    torch.manual_seed(0)
    matrix = torch.randn(24, 3 * 16 * 16, dtype=torch.float64)

    def synthesis(w):
        return (w @ matrix).view(-1, 3, 16, 16)

    def seen(images):
        images = images[:, :, 6:14, 4:12] if crop == "face" else images
        return (images * 127.5).square().sum(dim=(1, 2, 3))

    z1, z2, t = pairs(10, 24)
    found = path_length(lambda z: z, synthesis, square, z1, z2, t, space="w", crop=crop)
    assert torch.allclose(found, seen(synthesis(z2 - z1)), rtol=1e-6, atol=0)

    unit = torch.nn.functional.normalize
    a, b = unit(z1), unit(z2)
    angle = torch.acos((a * b).sum(dim=1, keepdim=True))

    def on_circle(t):
        return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)

    t = t[:, None]
    expected = seen(synthesis(on_circle(t + 1e-4) - on_circle(t))) / 1e-8 * 24  # z has the length sqrt(24)
    found = path_length(lambda z: z, synthesis, square, z1, z2, t[:, 0], space="z", crop=crop)
    assert torch.allclose(found, expected, rtol=1e-6, atol=0)


def test_path_length_of_a_constant_generator_is_zero():
    z1, z2, t = pairs(4, 8)
    for space in ("z", "w"):
        found = path_length(lambda z: z, lambda w: torch.ones(len(w), 3, 8, 8), square, z1, z2, t, space=space)
        assert found.tolist() == [0, 0, 0, 0]


def test_outliers_are_left_out():
    values = torch.arange(1000.0)[torch.randperm(1000)]
    values[values == 999] = 1e9
    low, high = 9, 990  # the 1st percentile from below and the 99th from above, both included
    assert mean_without_outliers(values) == pytest.approx((low + high) / 2)
    assert mean_without_outliers(torch.tensor([3.0])) == 3


def test_images_for_the_distance():
    images = torch.rand(2, 3, 1024, 1024) * 2 - 1
    seen = prepare_images(images, "face")
    assert seen.shape == (2, 3, 256, 256)
    assert seen[0, 0, 0, 0].item() == pytest.approx(
        (images[0, 0, 384:386, 256:258].mean().item() + 1) * 127.5, rel=1e-5
    )
    assert prepare_images(images[:, :, :64, :64], "none").shape == (2, 3, 64, 64)


# --- evaluations


def figures(config: EvaluateConfig, data: Path, folder: Path, generator=None) -> dict[str, float]:
    evaluation = Evaluation(config, CPU, generator=generator or tiny_generator(), data=data, progress=False)
    lines = measure(evaluation, folder / "metrics.jsonl", {})
    return {name: value for line in lines for name, value in line["values"].items()}


def test_the_batch_does_not_matter(store, network_file, tmp_path):
    names = ("fid50k", "kid50k", "pr50k", "ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend")
    config = EvaluateConfig(names, count=30, extractor=network_file, distance=network_file, crop="none")
    one = figures(config, store, tmp_path / "a")
    other = figures(replace(config, batch=7), store, tmp_path / "b")
    assert set(one) == set(other) and len(one) == 9
    for name in one:  # the distances of path lengths are differences of nearly equal images, in float32
        assert other[name] == pytest.approx(one[name], rel=2e-2 if name.startswith("ppl") else 1e-4, abs=1e-6), name
    assert figures(replace(config, seed=1), store, tmp_path / "c")["fid"] != one["fid"]


def test_two_processes_equal_one(store, model, network_file, tmp_path):
    """torchrun gives the figures of one process, to the bit."""
    options = [
        "--data",
        store,
        "--metrics",
        "fid50k,kid50k,pr50k,ppl_wend",
        "--count",
        "20",
        "--extractor",
        network_file,
    ]
    options += ["--distance", network_file, "--device", "cpu", "--batch", "8"]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun's; another number sums in another order
    try:
        assert run("evaluate", model, *options, "--record", one) == 0
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "stylegan", "evaluate", model, *options, "--record", two]
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "STYLEGAN_CACHE": str(tmp_path / "another")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = [[line["values"] for line in read_record(path)] for path in (one, two)]
    assert values[0] == values[1] and len(values[0]) == 4


def test_a_set_against_itself(store, network_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--data", store, "--extractor", network_file)
    assert run("evaluate", store, *options, "--metrics", "is50k") == 2
    assert "no logits" in capsys.readouterr().err
    assert run("evaluate", store, *options, "--metrics", "all") == 0  # but is50k, for which there are no logits
    lines = read_record(tmp_path / "metrics.jsonl")
    assert [line["metric"] for line in lines] == ["fid50k", "kid50k", "pr50k", "memorization"]
    assert all(line["count"] == line["reals_count"] == 40 for line in lines[:3])  # not 50,000
    values = {name: value for line in lines for name, value in line["values"].items()}
    assert values["fid"] == pytest.approx(0, abs=1e-6) and values["precision"] == values["recall"] == 1


def test_record_and_resume(store, model, network_file, tmp_path, capsys):
    record = tmp_path / "metrics.jsonl"
    options = ("--data", store, "--count", "20", "--extractor", network_file, "--record", record, "--device", "cpu")
    assert run("evaluate", model, "--metrics", "fid50k", *options) == 0
    (line,) = read_record(record)
    told = {"images_seen", "model", "metric", "count", "seed", "truncation", "extractor", "checksum", "resize"}
    assert told | {"model_checksum", "reals", "reals_identity", "values", "seconds"} <= set(line)
    assert line["images_seen"] == 77 and line["count"] == 20
    record.write_text(record.read_text().replace(str(line["values"]["fid"]), "123.5"))
    with record.open("a") as file:
        file.write('{"metric": "cut sho')
    assert run("evaluate", model, "--metrics", "fid50k", *options) == 0
    assert "123.5" in capsys.readouterr().out  # looked up, not measured again
    assert run("evaluate", model, "--metrics", "fid50k", "--seed", "1", *options) == 0
    assert len(read_record(record)) == 2


def test_folders_are_known_by_their_content(network_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.RandomState(0)
    for folder in ("a/out", "b/out", "reals"):
        Path(folder).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(f"{folder}/{i}.png")
    options = ("--data", "reals", "--metrics", "fid50k", "--extractor", network_file)
    assert run("evaluate", "a/out", *options) == 0 and run("evaluate", "b/out", *options) == 0
    values = [line["values"]["fid"] for line in read_record(Path("metrics.jsonl"))]
    assert len(values) == 2 and values[0] != values[1]
    Path("b/out/3.png").write_bytes(b"damaged")
    capsys.readouterr()
    assert run("evaluate", "b/out", *options) == 2
    assert "3.png" in capsys.readouterr().err


def test_the_best_is_of_the_same_kind():
    def line(fid, **changes):
        return {"metric": "fid50k", "values": {"fid": fid}, "checksum": "a", "images_seen": fid} | changes

    record = [line(5.0, checksum="b"), line(float("nan")), line(9.0), line(8.0)]
    assert is_best(line(8.0), record) and not is_best(line(9.0), record)
    higher = [{"metric": "pr50k", "values": {"precision": p}} for p in (0.5, 0.7)]
    assert is_best(higher[1], higher, "higher") and not is_best(higher[0], higher, "higher")


def test_strict_float32_is_for_the_moment(store, network_file, tmp_path):
    set_precision("tf32")
    try:
        figures(EvaluateConfig(("fid50k",), count=8, extractor=network_file), store, tmp_path)
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "tf32"
    finally:
        set_precision("float32")


def test_a_growing_generator_is_measured_at_full_size(store, network_file, tmp_path):
    g = tiny_generator()
    g.synthesis.grown = Growth(4, 0.0)
    assert stream.Sampler(g).draw(np.arange(2)).shape == (2, 3, 16, 16)
    config = EvaluateConfig(("fid50k", "ppl_wend"), count=8, extractor=network_file, distance=network_file, crop="none")
    assert all(math.isfinite(value) for value in figures(config, store, tmp_path, g).values())


def test_features_of_reals_are_kept(store, network_file, tmp_path):
    images, extractor = subject.open_images(store), load_extractor(network_file)
    options = {"batch": 8, "device": CPU, "progress": False}
    made = stream.extract_cached(images, extractor, 20, **options)
    (file,) = (tmp_path / "cache").iterdir()
    assert torch.equal(load_file(file)["features"], made["features"])
    kept = stream.extract_cached(replace(images, batch=None), extractor, 20, **options)  # nothing is drawn
    assert torch.equal(kept["features"], made["features"])
    file.write_bytes(b"damaged")
    assert torch.equal(stream.extract_cached(images, extractor, 20, **options)["features"], made["features"])
    mirrored = stream.extract_cached(subject.open_images(store, mirror=True), extractor, 20, **options)
    assert mirrored["features"].shape == made["features"].shape and len(list((tmp_path / "cache").iterdir())) == 2


def test_mirrored_reals(tmp_path):
    with StoreWriter(tmp_path / "store", 4, 3, made={"source": "test"}) as writer:
        for i in range(2):
            writer.add(pyramid(np.arange(48 * i, 48 * i + 48, dtype=np.uint8).reshape(4, 4, 3)), f"{i}")
    store = open_store(tmp_path / "store")
    plain, mirrored = subject.images_of_store(store), subject.images_of_store(store, mirror=True)
    a, b = plain.batch(np.arange(40)), mirrored.batch(np.arange(40))
    same = [torch.equal(x, y) for x, y in zip(a, b, strict=True)]
    flipped = [torch.equal(x.flip(2), y) for x, y in zip(a, b, strict=True)]
    assert all(s != f for s, f in zip(same, flipped, strict=True)) and 5 < sum(flipped) < 35


def test_crossed_latents_of_the_sampler():
    g, numbers = tiny_generator(), np.arange(20)
    one, three = stream.Sampler(g).w(numbers), stream.Sampler(g, latents=3).w(numbers)
    assert torch.equal(three[:, 0], one[:, 0])
    assert ((three[:, 1:] != three[:, :-1]).any(dim=2).sum(dim=1) == 2).all()
    with pytest.raises(InputError, match="cannot be mixed"):
        stream.Sampler(g, latents=7).w(numbers)


def test_latents_and_labels_reach_the_figures(network_file, tmp_path):
    data = write_store(tmp_path / "store", labels=3)
    config = EvaluateConfig(("fid50k",), count=30, extractor=network_file)
    for g in (tiny_generator(), tiny_generator(label_count=3)):
        settings = [config, replace(config, mix=3)]
        settings += [replace(config, labels="none")] if g.config.label_count else []
        found = [figures(each, data, tmp_path / f"{i}-{g.config.label_count}", g) for i, each in enumerate(settings)]
        assert len({values["fid"] for values in found}) == len(settings)


def test_labels_are_drawn_as_the_store_has_them(tmp_path):
    data = open_store(write_store(tmp_path / "store", labels=3))
    sampler = stream.Sampler(tiny_generator(label_count=3), labels=data.labels)
    labels = sampler.label(np.arange(3000))
    assert np.allclose(np.bincount(labels) / 3000, np.bincount(data.labels) / data.count, atol=0.05)
    assert stream.Sampler(tiny_generator(label_count=3)).label(np.arange(3)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics", "fod"), "no metric fod"),
        (("--metrics", "fid50k", "--count", "1"), "count"),
        (("--metrics", "fid50k"), "name a store"),
        (("--metrics", "ls"), "attribute classifiers"),
        (("--metrics", "ls", "--classifiers", "nowhere"), "no classifiers nowhere"),
        (("--metrics", "ppl_wend", "--directions", "d.safetensors"), "add it to --metrics"),
        (("--metrics", "ls", "--directions", "nowhere/d.safetensors"), "no folder nowhere"),
        (("--metrics", "ppl_wend,fid50k", "--distance", "lpips"), "stylegan fetch lpips"),
    ],
)
def test_evaluate_refuses(model, network_file, tmp_path, capsys, options, message):
    arguments = ("--extractor", network_file, "--record", tmp_path / "metrics.jsonl", "--device", "cpu", *options)
    assert run("evaluate", model, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "metrics.jsonl").exists()


def test_mirroring_is_that_of_the_run(store, model, network_file, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "m.safetensors").write_bytes(model.read_bytes())
    options = ("--data", store, "--metrics", "fid50k", "--count", "20", "--extractor", network_file, "--device", "cpu")
    for mirror in (True, False):
        (folder / "run.json").write_text(json.dumps({"mirror": mirror}))
        assert run("evaluate", folder / "m.safetensors", *options) == 0
    assert [line["mirror"] for line in read_record(folder / "metrics.jsonl")] == [True, False]
    (folder / "run.json").write_text("{")
    capsys.readouterr()
    assert run("evaluate", folder / "m.safetensors", *options) == 2
    assert "--mirror" in capsys.readouterr().err
    assert run("evaluate", folder / "m.safetensors", *options, "--mirror", "False") == 0


def test_what_a_traditional_generator_has_no_w_for(store, network_file, tmp_path):
    options = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}
    g = tiny_generator(**options, mapping_layers=0)
    config = EvaluateConfig(("ppl_wfull",), count=8, distance=network_file, extractor=network_file)
    with pytest.raises(InputError, match="ppl_zfull"):
        figures(config, store, tmp_path, g)
    assert figures(replace(config, metrics=("ppl_zfull",)), store, tmp_path, g)["ppl_zfull"] > 0
    evaluation = Evaluation(replace(config, metrics=("all",)), CPU, generator=g, data=store)
    evaluation.classifiers = Brightness()
    assert "ppl_wfull" not in check(evaluation) and "ppl_zend" in check(evaluation)


# --- attribute classifiers


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "portraits"
    prepare_portraits(path, count=300, resolution=16, workers=1, progress=False)
    return path


def test_classifiers_learn_and_round_trip(portraits, tmp_path, capsys):
    file = tmp_path / "c.safetensors"
    config = ClassifierConfig(feature_maps=FeatureMaps(base=128, maximum=16), kimg=3, learning_rate=0.003, device="cpu")
    accuracies = train_classifiers(portraits, file, config, progress=False)
    assert accuracies["dark_background"] > 0.85 and len(accuracies) == 20
    classifiers = load_classifiers(file)
    assert classifiers.names == list(open_store(portraits).attribute_names) and len(classifiers.checksum) == 64
    images = torch.randn(3, 3, 16, 16)
    assert classifiers(images).shape == (3, 20)
    larger = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(classifiers(larger), classifiers(images), atol=1e-5)
    with pytest.raises(InputError, match="16 x 16 or more"):
        classifiers.check(tiny_generator(8).config)
    with pytest.raises(InputError, match="no folder"):
        train_classifiers(portraits, tmp_path / "nowhere" / "c.safetensors", config, progress=False)
    with pytest.raises(InputError, match="cannot be written"):  # said before the training
        train_classifiers(portraits, tmp_path, config, progress=False)


def test_one_network_for_each_attribute(tmp_path):
    """As in the paper: each learns what it would learn alone, and all work as one file's classifiers do."""
    with StoreWriter(tmp_path / "store", 8, 3, made={"source": "test"}, attribute_names=("bright", "left")) as writer:
        for i in range(60):
            bright, left = i % 2, i // 2 % 2
            image = np.full((8, 8, 3), 60 + 120 * bright, dtype=np.uint8)
            image[:, (slice(0, 4) if left else slice(4, 8))] += 40
            writer.add(pyramid(image), f"{i}", attributes=np.array([bright, left], dtype=bool))
    maps = FeatureMaps(base=64, maximum=8)
    config = ClassifierConfig(separate=True, feature_maps=maps, kimg=2, learning_rate=0.01, device="cpu")
    accuracies = train_classifiers(tmp_path / "store", tmp_path / "c.safetensors", config, progress=False)
    assert list(accuracies) == ["bright", "left"] and min(accuracies.values()) == 1
    classifiers = load_classifiers(tmp_path / "c.safetensors")
    assert [network.config.label_count for network in classifiers.networks] == [0, 0]
    store = open_store(tmp_path / "store")
    shown = from_uint8(torch.tensor(store.images(8)).permute(0, 3, 1, 2))
    assert torch.equal(classifiers(shown) > 0, torch.tensor(store.attributes))
    a, b = (dict(network.named_parameters())["blocks.8.conv0.weight"] for network in classifiers.networks)
    assert not torch.equal(a, b)


def test_separability_of_a_generator(portraits, tmp_path, capsys):
    """The whole way on the command line; of random networks, so that only its form is judged."""
    model, file = tmp_path / "m.safetensors", tmp_path / "c.safetensors"
    weights.save(model, weights.Model(tiny_generator()))
    options = ["--kimg", "0.08", "--feature-maps.base", "64", "--feature-maps.maximum", "8", "--device", "cpu"]
    assert run("classifiers", portraits, file, *options) == 0
    assert "dark_background" in capsys.readouterr().out
    options = ("--metrics", "ls", "--count", "200", "--classifiers", file, "--device", "cpu")
    assert run("evaluate", model, *options, "--directions", tmp_path / "d.safetensors") == 0
    (line,) = read_record(tmp_path / "metrics.jsonl")
    assert set(line["values"]) == {"ls_w", "ls_z"}
    found = directions.load(tmp_path / "d.safetensors", tiny_generator())
    assert found.model == model.name and found.names and set(found.names) <= set(load_classifiers(file).names)
    assert run("evaluate", model, *options, "--directions", tmp_path / "e.safetensors") == 0  # known, but wanted again
    assert torch.equal(directions.load(tmp_path / "e.safetensors").vectors, found.vectors)


class Brightness(torch.nn.Module):
    """A classifier that looks at how light an image is."""

    names, name, checksum, resolution = ["light"], "brightness", "x", 16
    channels = 3

    def check(self, generator):
        pass

    def forward(self, images):
        return images.mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("svm", ["converged", "official"])
def test_separability_finds_the_space_that_is_linear(store, tmp_path, svm):
    """The image's brightness is linear in w, and w a bent function of z: W is separable, Z is not."""
    g = tiny_generator()

    class Bent(torch.nn.Module):
        def forward(self, z, labels=None):
            return torch.stack([z[:, 0] * z[:, 1], *z.T[1:]], dim=1)[:, None].expand(-1, 6, -1)

    g.mapping = Bent()
    g.synthesis.forward = lambda w, noise: w[:, 0, 0, None, None, None].expand(-1, 3, 16, 16)
    config = EvaluateConfig(("ls",), count=2000, svm=svm)
    evaluation = Evaluation(config, CPU, generator=g, data=store, progress=False)
    evaluation.classifiers = Brightness()
    values = measure(evaluation, tmp_path / "metrics.jsonl", {})[0]["values"]
    assert values["ls_w"] == pytest.approx(1, abs=0.01) and values["ls_z"] > 1.8
    normal = evaluation.separability["w"].normals[0]
    assert normal[0] > 0.98


@pytest.mark.parametrize("metric", ["ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend"])
@pytest.mark.parametrize("noise", ["random", "const"])
def test_path_lengths_of_an_evaluation(store, tmp_path, metric, noise):
    """A linear generator under a quadratic distance: the closed form on the same latents, outliers left out."""
    g = tiny_generator().double()
    torch.manual_seed(1)
    bend, matrix = torch.randn(8, 8, dtype=torch.float64), torch.randn(8, 3 * 16 * 16, dtype=torch.float64)
    g.mapping.forward = lambda z, labels=None: (z.double() @ bend)[:, None].expand(-1, 6, -1)
    planes = []

    def synthesis(w, noise):
        planes.append(noise)
        return (w[:, 0] @ matrix).view(-1, 3, 16, 16)

    g.synthesis.forward = synthesis
    config = EvaluateConfig((metric,), count=200, batch=64, crop="none", noise=noise)
    evaluation = Evaluation(config, CPU, generator=g, data=store, progress=False)
    evaluation.distance = square
    square.name, square.checksum = "square", "x"
    found = measure(evaluation, tmp_path / "metrics.jsonl", {})[0]["values"][metric]

    numbers = np.arange(200)
    z1, z2 = (evaluation.sampler.z(numbers, f"{which} z").double() for which in ("first", "second"))
    t = evaluation.sampler.uniform(numbers, "t").double()[:, None] if metric.endswith("full") else torch.zeros(200, 1)
    if metric.startswith("ppl_w"):
        change = (z2 - z1) * 1e-4
    else:
        unit = torch.nn.functional.normalize
        a, b = unit(z1), unit(z2)
        angle = torch.acos((a * b).sum(dim=1, keepdim=True))
        ends = [(torch.sin((1 - s) * angle) * a + torch.sin(s * angle) * b) / torch.sin(angle) for s in (t, t + 1e-4)]
        change = (ends[1] - ends[0]) * 8**0.5
    distances = (change @ bend @ matrix * 127.5).square().sum(dim=1) / 1e-8
    # the samples are float32, in which t + epsilon is off by up to 6e-4 of epsilon
    assert found == pytest.approx(mean_without_outliers(distances), rel=1e-3)
    for given in planes:
        if noise == "const":
            assert given == "const"
        else:  # both ends of a pair have the same planes, each pair its own
            first, second = given[3].chunk(2)
            assert torch.equal(first, second) and not torch.equal(first[0], first[1])


def test_classifier_files_that_are_none(tmp_path, store):
    (tmp_path / "x.safetensors").write_text("nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors")
    for name in ("x.safetensors", "y.safetensors"):
        with pytest.raises(InputError, match=name):
            load_classifiers(tmp_path / name)
    with pytest.raises(InputError, match="no attributes"):
        train_classifiers(store, tmp_path / "c.safetensors", progress=False)


def test_official_classifiers(tmp_path, monkeypatch):
    """A folder of pickles of one network each, named and ordered by their files."""
    module = types.ModuleType("dnnlib.tflib.network")
    module.Network = type("Network", (), {"__module__": "dnnlib.tflib.network"})
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "dnnlib.tflib.network", module)
    ours = [tiny_discriminator(16, group_size=1, use_blur=use_blur) for use_blur in (True, False)]
    names = {"conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv", "dense0": "Dense0", "dense1": "Dense1"}
    for number, (d, attribute) in enumerate(zip(ours, ("male", "5-o-clock-shadow"), strict=True)):
        variables = [("lod", np.float32(0))]
        for name, tensor in d.state_dict().items():
            _, r, layer, leaf = name.split(".")
            scope = f"FromRGB_lod{5 - int(r).bit_length()}" if layer == "from_rgb" else f"{r}x{r}/{names[layer]}"
            array = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor
            variables.append((f"{scope}/{leaf}", array.numpy()))
        network = module.Network()
        blur = [1, 2, 1] if d.config.use_blur else None
        options = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 8, "mbstd_group_size": 0}
        network.__dict__ |= {
            "version": 3,
            "build_func_name": "D_basic",
            "static_kwargs": options | {"blur_filter": blur},
            "variables": variables,
        }
        with (tmp_path / f"celebahq-classifier-{number:02d}-{attribute}.pkl").open("wb") as file:
            pickle.dump(network, file, protocol=4)
    classifiers = load_classifiers(tmp_path)
    assert classifiers.names == ["male", "5-o-clock-shadow"]
    images = torch.randn(2, 3, 16, 16)
    expected = torch.stack([d(images) for d in ours], dim=1)
    assert torch.allclose(classifiers(images), expected, atol=1e-5)
    save_classifiers(tmp_path / "all.safetensors", classifiers)
    assert torch.equal(load_classifiers(tmp_path / "all.safetensors")(images), classifiers(images))


# --- in training


def test_training_measures_and_keeps_the_best(store, network_file, tmp_path):
    measured = EvaluateConfig(("fid50k", "ppl_wend"), count=20, extractor=network_file, distance=network_file)
    config = tiny_config(store, evaluation=measured, evaluation_ticks=2)
    train(config, tmp_path / "run", progress=False)
    lines = read_record(tmp_path / "run" / "metrics.jsonl")
    fids = [(line["values"]["fid"], line["images_seen"]) for line in lines if line["metric"] == "fid50k"]
    assert len(fids) >= 3 and fids[-1][1] == 400 and all(math.isfinite(fid) for fid, _ in fids)
    best = weights.load_model(tmp_path / "run" / "best.safetensors")
    assert best.provenance.images_seen == min(fids)[1]
    plain = train(tiny_config(store), tmp_path / "plain", progress=False)  # measuring changes nothing
    assert (tmp_path / "run" / plain.model.name).read_bytes() == plain.model.read_bytes()
    with pytest.raises(InputError, match="stylegan fetch inception"):  # said before the training begins
        train(tiny_config(store, evaluation=EvaluateConfig(("fid50k",), extractor="inception")), tmp_path / "none")


def test_the_table_of_metrics():
    assert (
        METRICS["ls"].count == 200_000 and METRICS["ppl_wfull"].count == 100_000 and METRICS["fid50k"].count == 50_000
    )
    assert all(metric.needs and all(isinstance(need, Need) for need in metric.needs) for metric in METRICS.values())


def test_classifiers_of_several_networks_keep_their_order():
    networks = [tiny_discriminator(16, group_size=1), tiny_discriminator(16, group_size=1, label_count=2)]
    classifiers = AttributeClassifiers(["a", "b", "c"], networks)
    images = torch.randn(2, 3, 16, 16)
    assert torch.allclose(classifiers(images)[:, 1:], networks[1].outputs(images)) and TINY_MAPS.maximum == 8


# --- one call


def test_evaluate_is_one_call(store, model, network_file, tmp_path):
    """A model, a generator, a folder, a store, arrays: numbers come back, the same for the same images."""
    config = EvaluateConfig(count=20, extractor=network_file)
    options = {"config": config, "device": "cpu", "progress": False}
    of_model = evaluate(str(model), store, ["fid50k", "pr50k"], **options)
    assert set(of_model) == {f"{name}_mobilenet-v2" for name in ("fid", "precision", "recall")}
    generator, fid = weights.load(model), "fid_mobilenet-v2"
    assert evaluate(generator, store, "fid50k", **options)[fid] == of_model[fid]
    drawn = stream.images_of_generator(stream.Sampler(generator)).batch(np.arange(20))
    assert evaluate(drawn, store, **options)[fid] == pytest.approx(of_model[fid], rel=1e-6)
    channels_last = drawn.permute(0, 2, 3, 1).numpy()
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, image in enumerate(channels_last):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    reals = open_store(store).images()[:20]
    record = tmp_path / "metrics.jsonl"
    expected = evaluate(channels_last, reals, **options)[fid]
    assert evaluate(folder, reals, record=record, **options)[fid] == pytest.approx(expected, rel=1e-6)
    assert [line["images"] for line in read_record(record)] == ["folder"]
    assert not (Path.cwd() / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 16, 16, 3, dtype=torch.uint8), "N, C, H, W"),
        (np.zeros((16, 16, 3), np.uint8), "N, H, W, C"),
        (torch.rand(4, 3, 16, 16), r"floats in about \[-1, 1\]"),
        (torch.rand(4, 3, 16, 16) * 255, r"floats in about \[-1, 1\]"),
        (torch.full((4, 3, 16, 16), float("nan")), r"floats in about \[-1, 1\]"),
        (torch.zeros(4, 3, 16, 16, dtype=torch.int64), "int64"),
    ],
)
def test_arrays_that_are_no_images(images, message):
    with pytest.raises(InputError, match=message):
        subject.images_of_array(images)


def test_no_metric_is_told_by_its_name(store, network_file, monkeypatch):
    """Under another name a metric checks, measures and records what it did."""
    for name in ("fid50k", "ppl_wend", "is50k", "ls"):
        monkeypatch.setitem(METRICS, f"other_{name}", METRICS[name])
    traditional = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}

    def evaluation(metric: str, generator) -> Evaluation:
        config = EvaluateConfig((metric,), count=8, extractor=network_file, distance=network_file, crop="none")
        return Evaluation(config, CPU, generator=generator, data=store, progress=False)

    with pytest.raises(InputError, match="no W"):
        check(evaluation("other_ppl_wend", tiny_generator(mapping_layers=0, **traditional)))
    with pytest.raises(InputError, match="no logits"):
        check(evaluation("other_is50k", tiny_generator()))
    lines = [measure(evaluation(name, tiny_generator()), None, {})[0] for name in ("fid50k", "other_fid50k")]
    for line in lines:
        del line["metric"], line["seconds"]
    assert lines[0] == lines[1]
    judged = evaluation("other_ls", tiny_generator())
    judged.classifiers, judged.wants_hyperplanes = Brightness(), True
    assert check(judged) == ["other_ls"]


# --- what is compared with what


def test_reals_are_taken_at_the_size_of_what_is_measured(network_file, tmp_path):
    data = write_store(tmp_path / "store", resolution=32)
    config = EvaluateConfig(("fid50k",), count=40, extractor=network_file)
    half = open_store(data).images(16)
    for what in ({"generator": tiny_generator(16)}, {"images": subject.images_of_array(half)}):
        evaluation = Evaluation(config, CPU, **what, data=data, progress=False)
        assert evaluation.reals.size == (16, 16)
        assert torch.equal(evaluation.reals.batch(np.array([3]))[0].permute(1, 2, 0), torch.tensor(half[3]))
    assert measure(evaluation, None, {})[0]["values"]["fid"] == pytest.approx(0, abs=1e-6)
    full = Evaluation(config, CPU, generator=tiny_generator(32), data=data)
    assert full.reals.identity == open_store(data).content_hash != evaluation.reals.identity


@pytest.mark.parametrize("kind", ["store", "folder"])
def test_two_sizes_are_not_compared_without_a_word(kind, store, network_file, tmp_path):
    data = store
    if kind == "folder":
        data = tmp_path / "folder"
        data.mkdir()
        for i, image in enumerate(open_store(store).images()[:8]):
            Image.fromarray(image).save(data / f"{i}.png")
    config = EvaluateConfig(("fid50k",), count=8, extractor=network_file)
    with pytest.warns(InputWarning, match="32 x 32 are compared with reals of 16 x 16"):
        check(Evaluation(config, CPU, generator=tiny_generator(32), data=data))


def test_a_model_grown_half_way_is_said_to_be(model, tmp_path):
    grown = weights.load_model(model)
    grown.generator.synthesis.grown = Growth(8, 0.5)
    weights.save(tmp_path / "m.safetensors", grown)
    with pytest.warns(InputWarning, match="grown to 8 x 8 only"):
        subject.open_subject(tmp_path / "m.safetensors")


def test_sheets_of_samples_are_left_out(network_file, tmp_path, capsys):
    """The folder of `stylegan generate` is measured without its grid; an own image called grid.png stays."""
    folder, rng = tmp_path / "drawn", np.random.RandomState(0)
    folder.mkdir()

    def write(name: str, size: int, **text: str) -> None:
        mark = PngInfo()
        for key, value in text.items():
            mark.add_text(key, value)
        Image.fromarray(rng.randint(0, 256, (size, size, 3)).astype(np.uint8)).save(folder / name, pnginfo=mark)

    for i in range(6):
        write(f"seed{i:04d}.png", 16)
    write("grid.png", 16)
    assert subject.open_images(folder).count == 7
    write("grid.png", 48)
    write("other.png", 16, stylegan="sheet")
    write("mine.png", 16, title="sheet")
    with pytest.warns(InputWarning, match=r"2 sheets of samples left out \(grid.png, other.png\)"):
        images = subject.open_images(folder)
    assert images.count == 7 and images.batch(np.arange(7)).shape == (7, 3, 16, 16)
    for file in folder.glob("[sm]*.png"):
        file.unlink()
    write("grid.png", 48, stylegan="sheet")
    with pytest.raises(InputError, match="nothing but sheets"):
        subject.open_images(folder)


def test_the_folder_that_generate_made_is_measured(store, model, network_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("generate", model, "--seeds", "0-7", "--out", "drawn", "--device", "cpu") == 0
    options = ("--data", store, "--metrics", "fid50k", "--extractor", network_file, "--device", "cpu")
    assert run("evaluate", "drawn", *options) == 0
    assert "grid.png" in capsys.readouterr().err
    assert read_record(Path("metrics.jsonl"))[0]["count"] == 8


def test_a_run_without_models_is_no_folder_of_images(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    Image.new("RGB", (16, 16)).save(tmp_path / "fakes-0000000100.png")
    with pytest.raises(InputError, match="a run without a model so far; train it further"):
        subject.open_subject(tmp_path)


# --- by-products


def test_a_cache_that_cannot_be_written_is_done_without(store, network_file, tmp_path, monkeypatch):
    """A file where the cache's folder should be, or no place for one at all."""
    config = EvaluateConfig(("fid50k",), count=8, extractor=network_file)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("STYLEGAN_CACHE", str(place))
        with pytest.warns(InputWarning, match="STYLEGAN_CACHE"):
            assert evaluate(tiny_generator(), store, config=config, progress=False)["fid_mobilenet-v2"] > 0


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("STYLEGAN_CACHE")

    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert downloads.cache_folder().is_absolute()


def test_a_record_that_cannot_be_written_costs_no_scores(store, network_file, tmp_path):
    config = EvaluateConfig(("fid50k",), count=8, extractor=network_file)
    with pytest.warns(InputWarning, match="cannot be written"):
        values = evaluate(tiny_generator(), store, config=config, record=tmp_path, progress=False)
    assert math.isfinite(values["fid_mobilenet-v2"])


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_that_are_no_text_reach_record_and_card(store, network_file, tmp_path):
    """A folder whose name is not UTF-8 is measured, recorded, looked up, and stands in a model's card."""
    data = tmp_path / os.fsdecode(b"caf\xe9")
    data.mkdir()
    for i, image in enumerate(open_store(store).images()[:8]):
        Image.fromarray(image).save(data / os.fsdecode(b"%d-\xff.png" % i))
    generator, record = tiny_generator(), tmp_path / "metrics.jsonl"
    config = EvaluateConfig(("fid50k",), count=8, extractor=network_file)
    for _ in range(2):
        evaluate(generator, data, config=config, record=record, progress=False)
    (line,) = read_record(record)
    line |= {"model_checksum": subject.checksum(generator)}
    folder = tmp_path / "hub"
    folder.mkdir()
    share.write_folder(folder, weights.Model(generator), "user/model", record)
    assert "fid" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("obstacle", ["cache", "metrics.jsonl", "stats.jsonl", "tensorboard", "grid", "best", "metric"])
def test_training_outlives_what_it_can_do_without(obstacle, store, network_file, tmp_path, monkeypatch):
    """What cannot be written beside the model is warned of, and the model is what it is without."""
    measured = EvaluateConfig(("fid50k",), count=20, extractor=network_file)
    config, folder = tiny_config(store, evaluation=measured, evaluation_ticks=2), tmp_path / "run"
    folder.mkdir()
    if obstacle == "cache":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "file"))
    elif obstacle in ("metrics.jsonl", "stats.jsonl"):
        (folder / obstacle).mkdir()
    elif obstacle == "tensorboard":
        pytest.importorskip("tensorboard")
        (folder / "tensorboard").write_text("")
    elif obstacle == "grid":
        (folder / "reals.png").mkdir()
    elif obstacle == "best":
        (folder / "best.safetensors").mkdir()
    else:
        extractor = load_extractor(network_file)
        extractor.forward = lambda images: (torch.full((len(images), 5), float("nan")), None)
        monkeypatch.setattr("stylegan.metrics.metric.load_extractor", lambda name: extractor)
    with pytest.warns(InputWarning):
        outcome = train(config, folder, progress=False)
    assert outcome.images_seen == 400
    plain = train(tiny_config(store), tmp_path / "plain", progress=False)
    assert outcome.model.read_bytes() == plain.model.read_bytes()
