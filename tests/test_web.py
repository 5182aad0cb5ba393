"""A model as a web page: the folder, and the page in a headless Chromium, which draws what torch draws."""

import hashlib
import json
import lzma
import re
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from test_cli import refused

from stylegan import directions, finders, marks, recipe, weights
from stylegan.interop import onnx
from stylegan.recipe import Recipe
from stylegan.web import site
from stylegan.weights import Model, Provenance

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TITLE = "</title><script>alert(1)</script> & co"
PATIENCE = 180  # seconds; a busy machine takes long to compile the runtime
RUNTIME = {  # of onnxruntime-web 1.30.0, as published, SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort.jspi.bundle.min.mjs": "07ec090355e11b342c95436db54da2d0c2bd5b1d319745bfd3337e6bdcf170ac",
    "wasm.wasm.xz": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "jspi.wasm.xz": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
}


def generator_with_classes():
    """16 x 16, shown as 16 x 12, with three classes, growing no more."""
    return tiny_generator(16, label_count=3, aspect=(4, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library)
    place = tmp_path_factory.mktemp("web")
    model = Model(
        generator_with_classes(), Provenance(licence="CC0-1.0", images_seen=1234), label_names=("a", "<i>", "c")
    )
    weights.save(place / "tiny.safetensors", model)
    directions.save(place / "two.safetensors", finders.by_sefa(generator_with_classes(), 2))
    written = site.write_site(place / "site", place / "tiny.safetensors", place / "two.safetensors", title=TITLE)
    assert written.half and 0 < written.difference < 0.25
    assert written.bytes == sum(path.stat().st_size for path in (place / "site").rglob("*") if path.is_file())
    return place / "site"


# --- the folder


def test_the_folder_is_whole(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    ours = {"index.html", "page.css", "page.js", "network.js", "numbers.js", "saved.js", "styles.js", "poster.png"}
    runtime = {"wasm.js", "wasm.wasm.gz", "jspi.js", "jspi.wasm.gz", "LICENSE", "ThirdPartyNotices.txt"}
    model = {"model.json", "mapping.onnx", "synthesis.onnx", "numbers.bin", "noise.bin"}
    assert names == ours | {f"runtime/{name}" for name in runtime} | {f"model/{name}" for name in model}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "<script>" not in page and "@TITLE@" not in page
    for name in ours - {"poster.png", "saved.js"}:
        assert not re.search(r"https?://", (folder / name).read_text(encoding="utf-8")), name
    for target in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (folder / target).exists(), target
    description = json.loads((folder / "model/model.json").read_text(encoding="utf-8"))
    assert description["title"] == TITLE and description["label_names"] == ["a", "<i>", "c"]
    assert description["ranges"] == {"coarse": [0, 2], "middle": [2, 4], "fine": [4, 6]}
    assert description["shown"] == [2, 0, 12, 16] and description["noise"] == [4, 4, 8, 8, 16, 16]
    assert description["sizes"]["runtime/wasm.wasm.gz"] == (folder / "runtime/wasm.wasm.gz").stat().st_size
    assert marks.read(folder / "poster.png")["seed"] == 0


def test_the_runtime_is_what_was_published():
    for name, checksum in RUNTIME.items():
        content = (site.HERE / "runtime" / name).read_bytes()
        content = lzma.decompress(content) if name.endswith(".xz") else content
        assert hashlib.sha256(content).hexdigest() == checksum, name


def test_what_cannot_be_mixed_or_truncated():
    traditional = {"use_styles": False, "const_input": False, "use_instance_norm": False, "mapping_layers": 0}
    described = site.describe(Model(tiny_generator(8, use_noise=False, **traditional)), "old")
    assert described["psi"] is None and described["ranges"] == {} and described["noise"] == []
    assert site.describe(Model(tiny_generator(8)), "small")["ranges"] == {}


def test_refusals_leave_no_folder(tmp_path, capsys, monkeypatch):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("")
    directions.save(tmp_path / "other.safetensors", finders.by_sefa(tiny_generator(), 2))
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "site"
    assert "exists" in refused(capsys, "export", "portraits-32", full, "--web")
    assert "no model" in refused(capsys, "export", tmp_path / "nothing", out, "--web")
    wrong = ("--directions", tmp_path / "other.safetensors")
    assert "w of 8 numbers" in refused(capsys, "export", "portraits-32", out, "--web", *wrong)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "stylegan[onnx]" in refused(capsys, "export", "portraits-32", out, "--web")
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_that_do_not_fit_half_precision(tmp_path, monkeypatch):
    """They are stored as they are."""
    halves = []

    def export(path, generator, *, part, cutoff, half):
        halves.append((part, half))
        path.write_bytes(b"")

    monkeypatch.setattr(onnx, "export", export)
    monkeypatch.setattr(site, "_difference", lambda folder, generator, seeds: 2.0 if halves[-1][1] else 0.01)
    assert site._write_networks(tmp_path, tiny_generator(4)) == (False, 0.01)
    assert halves == [("mapping", True), ("synthesis", True), ("mapping", False), ("synthesis", False)]


# --- the page


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no browser for the page; install Debian's chromium")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=BROWSER, args=HEADLESS)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def address(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextmanager
def visitor(chromium, address: str, width: int, height: int, scheme: str):
    """A visitor's page. What it asks for elsewhere, and every error, is an error of the test."""
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, faults = context.new_page(), []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: faults.append(request.url) if not request.url.startswith((address, "blob:", "data:")) else None,
    )
    yield page
    assert faults == []
    context.close()


PIXELS = """() => {
  const c = document.getElementById("picture");
  return [c.height, c.width, ...c.getContext("2d").getImageData(0, 0, c.width, c.height).data];
}"""


def wait_for(page, truth: torch.Tensor) -> None:
    """Wait until the page shows an image uint8 [3, H, W], to less than a level on average."""
    end, error = time.monotonic() + PATIENCE, np.inf
    while time.monotonic() < end:
        height, width, *values = page.evaluate(PIXELS)
        if (height, width) == truth.shape[1:]:
            shown = np.array(values, np.float64).reshape(height, width, 4)
            error = abs(shown[:, :, :3] - truth.permute(1, 2, 0).numpy()).mean()
            if error < 1:
                assert (shown[:, :, 3] == 255).all()
                return
        page.wait_for_timeout(50)
    pytest.fail(f"the picture is another: {error:.1f} levels off")


def wait_until(page, condition: str) -> None:
    """Wait for a condition in JavaScript. Playwright's own waiting needs eval, which the page's policy forbids."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def wait_for_words(page, words: str) -> None:
    wait_until(page, f"document.getElementById('what').textContent === {json.dumps(words)}")


def drawn(seed: int, **options) -> torch.Tensor:
    return recipe.draw(generator_with_classes(), Recipe((seed,), **{"label": 0, **options}))[0]


def slide(page, element: str, value: float) -> None:
    """Move a slider, as a hand does."""
    page.eval_on_selector(
        element,
        "(slider, value) => { slider.value = value; for (const kind of ['input', 'change'])"
        " slider.dispatchEvent(new Event(kind, { bubbles: true })) }",
        value,
    )


def test_the_numbers_are_those_of_numpy(chromium, address):
    with visitor(chromium, address, 1280, 800, "light") as page:
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"{address}numbers.js")  # no network is loaded here
        for seed in (0, 5, 2**32 - 1, [7, 0], [2**32 - 1, 17]):
            numbers = page.evaluate(
                "async seed => { const { RandomState } = await import('./numbers.js');"
                " const state = new RandomState(seed); return Array.from({ length: 1500 }, () => state.normal()) }",
                seed,
            )
            np.testing.assert_allclose(numbers, np.random.RandomState(seed).randn(1500), rtol=1e-12)
        halves = np.array([0, -0.0, 1, -2.5, 65504, 6e-8, 0.1, 1e-5], np.float16)
        floats = page.evaluate(
            "async bits => { const { floatsOfHalves } = await import('./numbers.js');"
            " return [...floatsOfHalves(Uint16Array.from(bits))] }",
            halves.view(np.uint16).tolist(),
        )
        assert floats == halves.astype(np.float64).tolist()


@pytest.mark.parametrize("width, height, scheme", [(1280, 800, "light"), (390, 844, "dark")])
def test_the_page_draws_what_torch_draws(chromium, address, folder, tmp_path, width, height, scheme):
    generator = generator_with_classes()
    with visitor(chromium, address, width, height, scheme) as page:
        page.goto(address)
        wait_for(page, drawn(0))
        wait_for_words(page, "Seed 0")
        assert page.title() == TITLE
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#strip button").nth(5).click()
        wait_for(page, drawn(5))
        slide(page, "#psi", 0.4)
        wait_for(page, drawn(5, psi=0.4))
        page.locator("#class").select_option(label="<i>")
        wait_for(page, drawn(5, psi=0.4, label=1))
        page.get_by_role("radio", name="Fixed").check()
        wait_for(page, drawn(5, psi=0.4, label=1, noise="const"))

        page.get_by_role("radio", name="Fine").check()  # styles of another seed
        page.locator("#strip button").nth(2).click()
        w = recipe.resolve(Recipe((5, 2), psi=0.4, label=1), generator).w
        mixed = torch.cat([w[:1, :4], w[1:, 4:]], dim=1)
        wait_for(page, recipe.draw(generator, Recipe(latents=mixed, noise="const"))[0])
        slide(page, "#direction0", 2)
        found = directions.load(folder.parent / "two.safetensors", generator)
        moved = mixed + 2 * found.step(found.names[0])
        truth = recipe.draw(generator, Recipe(latents=moved, noise="const"))[0]
        wait_for(page, truth)
        wait_for_words(page, "Mixed, changed")

        with page.expect_download() as download:  # the file says how it was made
            page.locator("#save").click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        again = recipe.draw_again(generator, marks.read(file), file)
        assert file.name == "mixed-changed.png" and (again.float() - truth.float()).abs().mean() < 1
        with Image.open(file) as picture:
            assert picture.text["Software"] == marks.PROGRAM and marks.GENERATED in picture.text[marks.XMP_KEY]
            saved = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        assert (saved.float() - truth.float()).abs().mean() < 1

        wait_until(page, "location.hash.includes('change-')")  # and so does the address
        kept = page.evaluate("location.hash")
        page.goto("about:blank")
        page.goto(address + kept)
        wait_for(page, truth)


def test_keys_and_the_walk(chromium, address, tmp_path):
    with visitor(chromium, address, 1280, 800, "light") as page:
        page.goto(f"{address}#seed=7&psi=1")
        wait_for(page, drawn(7, psi=1))
        page.locator("#save").focus()
        with page.expect_download() as download:
            page.keyboard.press("s")
        download.value.save_as(tmp_path / "seed.png")
        made = marks.read(tmp_path / "seed.png")
        assert made["seed"] == 7 and made["psi"] == 1 and made["class"] == 0
        assert download.value.suggested_filename == "seed0007.png"
        again = recipe.draw_again(generator_with_classes(), made)
        wait_for(page, again)

        page.keyboard.press("w")
        before = int(page.evaluate("document.documentElement.dataset.pictures"))
        wait_until(page, f"document.documentElement.dataset.pictures > {before + 5}")
        wait_for_words(page, "Walking")
        page.evaluate(
            "() => { const read = Response.prototype.arrayBuffer; Response.prototype.arrayBuffer = async function () {"
            " await new Promise(resolve => setTimeout(resolve, 300)); return read.call(this) } }"
        )
        with page.expect_download() as download:  # it is the picture of that moment, though packing takes a while
            page.keyboard.press("s")
        download.value.save_as(tmp_path / "walk.png")
        again = recipe.draw_again(generator_with_classes(), marks.read(tmp_path / "walk.png"))
        with Image.open(tmp_path / "walk.png") as picture:
            saved = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        assert (saved.float() - again.float()).abs().mean() < 1
        page.keyboard.press("w")
        wait_for_words(page, "In between")
        page.locator("#strip button").first.focus()
        page.keyboard.press("ArrowRight")
        wait_for(page, drawn(1, psi=1))
        assert page.evaluate("document.activeElement.dataset.seed") == "1"
        page.locator("#seed").fill("4294967295")
        page.keyboard.press("Enter")
        wait_for(page, drawn(2**32 - 1, psi=1))


def test_another_address_and_keys_while_it_loads(chromium, address):
    with visitor(chromium, address, 1280, 800, "light") as page:
        loading = []
        page.context.route("**/numbers.bin", lambda route: route.continue_() if loading else loading.append(route))
        page.goto(f"{address}#seed=7")
        while not loading:
            page.wait_for_timeout(20)
        for key in "rws":
            page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert "cannot be drawn" not in page.locator("#how").inner_text()
        loading[0].continue_()
        wait_for(page, drawn(7))
        page.evaluate("location.hash = '#seed=7&class=1'")
        wait_for(page, drawn(7, label=1))
        thumbnail = PIXELS.replace('document.getElementById("picture")', 'document.querySelector("#strip canvas")')
        truth, end = drawn(0, label=1).permute(1, 2, 0).numpy().astype(float), time.monotonic() + PATIENCE
        while True:  # the seeds below are of that class too
            height, width, *values = page.evaluate(thumbnail)
            if abs(np.reshape(values, (height, width, 4))[:, :, :3] - truth).mean() < 1:
                break
            assert time.monotonic() < end
            page.wait_for_timeout(50)


def test_a_damaged_folder_says_so(chromium, folder, tmp_path):
    broken = tmp_path / "site"
    shutil.copytree(folder, broken)
    (broken / "model/synthesis.onnx").write_bytes(b"no network")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=broken))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = chromium.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    wait_until(page, "document.getElementById('how').textContent.includes('cannot be drawn')")
    page.close()
    server.shutdown()
    server.server_close()
