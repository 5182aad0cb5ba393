"""The explorer's page, driven in a headless Chromium. One server for all, one browser; users apart are contexts."""

import base64
import http.server
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from test_align import dots, find_dots
from test_explorer import BROKEN, explorer_of

from stylegan import directions, marks, sampling, weights
from stylegan.data import align
from stylegan.explorer import drags, picture, uploads
from stylegan.explorer.models import Shelf
from stylegan.explorer.picture import Explorer, Recipe
from stylegan.weights import Model

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Gradio looks for a free port

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
HEADLESS += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP evil.example 127.0.0.1"]


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("gradio")
    if BROWSER is None:
        pytest.skip("no browser for the explorer's page; install Debian's chromium")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=BROWSER, args=HEADLESS)


@pytest.fixture(scope="module")
def shelf(store, tmp_path_factory) -> Shelf:
    """A run that has kept two models and a report."""
    folder = tmp_path_factory.mktemp("runs") / "kittens"
    folder.mkdir()
    generator = tiny_generator()
    for seen in (1000, 12000):
        weights.save(folder / f"model-{seen:010d}.safetensors", Model(generator))
        with torch.no_grad():
            generator.synthesis.blocks["4"].const.add_(0.5)
    (folder / "report.html").write_text("<title>report</title><p id=said>twelve kimg</p>")
    return Shelf([str(folder)], data=store)


@pytest.fixture(scope="module")
def explorer(shelf) -> Explorer:
    return shelf.open()


@pytest.fixture(scope="module")
def served():
    """Serve explorers until the tests are done; gives the function that does it, which returns an address."""
    from stylegan.explorer import page

    running = []

    def serve(explorer: Explorer | Shelf) -> str:
        running.append(page.serve(explorer))
        return running[-1].local_url

    yield serve
    for blocks in running:
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def address(served, shelf) -> str:
    return served(shelf)


class User:
    """A browser of one's own, at an explorer. What it asks of other addresses, and errors of scripts, are faults."""

    def __init__(
        self, chromium, address: str, hash: str = "", width: int = 1280, height: int = 800, gradio=False, **options
    ):
        """gradio: load its scripts too, which the explorer stands in front of and does not need."""
        self.context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        if not gradio:
            own = re.compile(r"/(assets|static|svelte)/.*\.js|theme\.css")
            self.context.route(own, lambda each: each.fulfill(content_type="text/javascript", body=""))
        self.faults: list[str] = []
        self.context.on("request", lambda request: self._note(request.url, address))
        self.address, self.page = address, self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.set_default_timeout(90_000)
        self.open(hash)

    def open(self, hash: str) -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{hash}")
        self.page.wait_for_selector("stylegan-explorer.ready")
        self.page.wait_for_selector("#picture img.now[data-address]")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        assert kind is not None or self.faults == []

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:", "about:")):
            self.faults.append(url)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def slide(self, name: str, value: float) -> None:
        """Move a slider, and let it go."""
        self.page.locator(f"#{name} input[type=range]").fill(str(value))

    def pixels(self, css: str = "#picture img.now") -> np.ndarray:
        """What an image shows, as the browser got it."""
        read = """async (image) => {
          const content = new Uint8Array(await (await fetch(image.src)).arrayBuffer())
          return btoa(Array.from(content, (byte) => String.fromCharCode(byte)).join(""))
        }"""
        for _ in range(200):  # the picture may be given back in the moment in which it is read, or not be there yet
            try:
                content = base64.b64decode(self.page.locator(css).evaluate(read))
                with Image.open(io.BytesIO(content)) as image:
                    return np.asarray(image)
            except Exception:
                self.page.wait_for_timeout(20)
        raise AssertionError(f"{css} shows no picture")

    def becomes(self, said: Callable[[], bool], seconds: float = 90) -> bool:
        """Wait until something is so, for the page does much a moment after it is asked; False where it never is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if said():
                return True
            self.page.wait_for_timeout(40)
        return False

    def shows(self, css: str, expected: np.ndarray, seconds: float = 90) -> bool:
        """Wait until an image is the expected one; what it showed before may stay for a while."""
        return self.becomes(lambda: np.array_equal(self.pixels(css), expected), seconds)

    def sees(self, explorer: Explorer, recipe: Recipe, seconds: float = 90) -> bool:
        """Wait until the picture is that of a recipe; False where it does not come to that."""
        return self.shows("#picture img.now", np.asarray(picture.picture(explorer, recipe)), seconds)

    def caption(self, text: str) -> bool:
        """Wait until the picture's caption has a text in it."""
        return self.becomes(lambda: text in self.page.locator("#caption").inner_text())

    def hash(self) -> str:
        return self.page.evaluate("location.hash.slice(1)")

    def saved(self, button: str) -> Path:
        with self.page.expect_download() as download:
            self.page.locator(button).click()
        return download.value.path()


def test_the_whole_page_asks_nobody_else(chromium, address, explorer):
    with User(chromium, address, gradio=True) as user:
        user.page.wait_for_load_state("networkidle")
        user.slide("psi", 0.2)
        assert user.sees(explorer, Recipe(psi=0.2))


def test_sliders_keys_undo_and_the_address(chromium, address, explorer):
    """After a reload all is as before, and for others too."""
    with User(chromium, address) as user, User(chromium, address) as other:
        press = user.page.keyboard.press
        assert user.sees(explorer, Recipe())
        user.slide("psi", 0.2)
        assert user.sees(explorer, Recipe(psi=0.2))
        user.page.locator("#seed").fill("12")
        press("Enter")
        user.page.locator("#picture").click()
        assert user.sees(explorer, Recipe(seed=12, psi=0.2))
        press("ArrowRight"), press("ArrowUp"), press("["), press("ArrowLeft")
        assert user.sees(explorer, Recipe(seed=22, psi=0.15))
        assert user.caption("16 × 16 · seed 22 · ψ 0.15")
        press("Control+z"), press("Control+z")
        assert user.sees(explorer, Recipe(seed=23, psi=0.2))
        user.page.locator("#redo").click()
        assert user.sees(explorer, Recipe(seed=23, psi=0.15)) and not user.page.locator("#redo").is_disabled()
        user.tab("Edit")
        user.slide("edit-pca1", -2.5)
        edited = Recipe(seed=23, psi=0.15, strengths=(0, -2.5))
        assert user.sees(explorer, edited)
        user.page.reload()
        user.page.wait_for_selector("#picture img.now[data-address]")
        assert user.sees(explorer, edited) and user.page.locator("#edit-pca1").is_visible()
        other.open(user.hash())
        assert other.sees(explorer, edited)
        other.open("seed=-1&psi=high&mix=1&edit.pca0=x&tab=none&model=gone")  # nothing of it can be meant
        assert other.sees(explorer, Recipe())


def test_a_wall_and_favorites(chromium, address, explorer, tmp_path):
    with User(chromium, address, "psi=0.5") as user:
        cell = user.page.locator(".cell[data-seed='5'].drawn")
        cell.click()
        assert user.sees(explorer, Recipe(seed=5, psi=0.5)) and cell.get_attribute("aria-pressed") == "true"
        user.page.locator("#star").click()
        user.page.locator(".favorite img[src]").wait_for()
        user.page.keyboard.press("r")
        user.page.reload()
        user.page.locator(".favorite button").first.click()
        assert user.sees(explorer, Recipe(seed=5, psi=0.5))
        user.tab("Save")
        kept = user.saved("#save-favorites")
        assert "seed=5" in json.loads(kept.read_text())["favorites"][0]["address"]
        shutil.copy(kept, tmp_path / "favorites.json")
        user.page.locator(".favorite").hover()
        user.page.locator(".favorite .remove").click()
        assert user.page.locator(".favorite").count() == 0
        user.page.locator("#open-favorites").set_input_files(tmp_path / "favorites.json")
        user.page.locator(".favorite img[src]").wait_for()
        user.tab("Seeds")
        user.page.locator("#wall-from").fill("1000")
        user.page.keyboard.press("Enter")
        user.page.locator(".cell[data-seed='1003'].drawn").click()
        assert user.sees(explorer, Recipe(seed=1003, psi=0.5))


def test_mixing_noise_and_layers(chromium, address, explorer):
    with User(chromium, address, "tab=mix") as user:
        user.page.locator("#other-seed").fill("7")
        user.page.keyboard.press("Enter")
        user.slide("coarse", 1)
        user.slide("fine", 0.5)
        assert user.sees(explorer, Recipe(other_seed=7, mixed=(1.0, 0, 0.5)))
        b = np.asarray(picture.picture(explorer, Recipe(seed=7)))
        assert user.shows(".pair figure >> nth=1 >> img", b)
        user.tab("Layers")
        user.page.locator("#maps-0 img[src]").wait_for()
        maps = user.pixels("#maps-0 img")
        assert maps.shape == (64, 8 * 64, 3)
        user.slide("style-2", 0.25)
        layers = (1.0, 1.0, 0.25, 0, 0.5, 0.5)
        assert user.sees(explorer, Recipe(other_seed=7, mixed_layers=layers))
        user.slide("noise-5", 2)
        strengths = (1, 1, 1, 1, 1, 2.0)
        assert user.sees(explorer, Recipe(other_seed=7, mixed_layers=layers, noise_strengths=strengths))
        user.page.get_by_role("radio", name="none").click()
        assert user.sees(explorer, Recipe(other_seed=7, mixed_layers=layers, noise="none"))
        user.page.locator("#maps-0").click()
        user.page.locator("dialog .map").nth(8).wait_for()
        user.page.get_by_role("button", name="close").click()
        user.page.locator("#layers-reset").click()
        assert user.sees(explorer, Recipe(other_seed=7, mixed=(1.0, 0, 0.5), noise="none"))


def test_directions_have_strips_and_names(chromium, address, explorer, tmp_path):
    with User(chromium, address, "tab=edit") as user:
        user.page.locator("#strip-pca1 button[style*=blob]").first.wait_for()
        user.page.locator("#strip-pca1 button").last.click()
        assert user.sees(explorer, Recipe(strengths=(0, 3.0)))
        assert user.page.locator("#edit-pca1 input[type=number]").input_value() == "3"
        user.page.locator("#on-coarse").click()
        assert user.sees(explorer, Recipe(strengths=(0, 3.0), edited=("middle", "fine")))
        user.page.get_by_role("button", name="leave pca0 alone").click()
        assert user.sees(explorer, Recipe(strengths=(0, 3.0), edited=("middle", "fine"), held=("pca0",)))
        user.page.get_by_label("name of pca1").fill("turned away")
        user.page.keyboard.press("Enter")
        user.page.reload()
        assert user.page.get_by_label("name of pca1").input_value() == "turned away"
        user.tab("Save")
        shutil.copy(user.saved("#save-directions"), tmp_path / "d.safetensors")
        own = directions.load(tmp_path / "d.safetensors", explorer.generator)
        assert own.names[:3] == ("pca0", "turned_away", "pca2") and torch.equal(
            own.vectors, explorer.directions.vectors
        )
        user.tab("Edit")
        user.page.locator("#no-edits").click()
        assert user.sees(explorer, Recipe())


def pixel(user: User, x: float, y: float, side: int = 16) -> tuple[float, float]:
    """Where the middle of a pixel of the picture is in the window."""
    box = user.page.locator("#picture").bounding_box()
    return box["x"] + (x + 0.5) / side * box["width"], box["y"] + (y + 0.5) / side * box["height"]


def where(user: User, pin: str, side: int = 16) -> tuple[float, float]:
    """The pixel of the picture at which a pin is."""
    box, frame = (user.page.locator(css).bounding_box() for css in (pin, "#picture"))
    middle = [box[a] + box[size] / 2 - frame[a] for a, size in (("x", "width"), ("y", "height"))]
    return tuple(side * at / frame[size] - 0.5 for at, size in zip(middle, ("width", "height"), strict=True))


def test_points_are_dragged(chromium, address, explorer, tmp_path):
    """By clicks, until the point has arrived; the picture is as `dragging` draws it, can be undone and edited."""
    said = {"points": [[6, 8, 8, 8]]}
    *_, last = drags.Drags().follow(explorer, Recipe(seed=3), *drags.read(said, explorer))
    dragged = Recipe(found=last.w, found_noise=sampling.noise_of_seeds([3], explorer.generator))
    with User(chromium, address, "seed=3&tab=drag") as user:
        mouse, start, page = user.page.mouse, user.page.locator("#drag"), user.page
        start.click()
        page.get_by_text("there is nothing to drag yet").wait_for()
        mouse.click(*pixel(user, 6, 8))
        mouse.click(*pixel(user, 8, 8))
        assert where(user, ".handle") == pytest.approx((6, 8), abs=0.1)
        assert where(user, ".target") == pytest.approx((8, 8), abs=0.1)
        with page.expect_response(re.compile("/drag")) as asked:
            start.click()
        assert json.loads(asked.value.request.post_data)["points"] == said["points"]
        page.locator("#dragged", has_text=re.compile("arrived after|Start goes on")).wait_for()
        assert user.sees(explorer, dragged) and last.arrived
        assert page.locator("#dragged").inner_text() == f"arrived after {last.step} steps"
        assert where(user, ".handle") == pytest.approx(tuple(last.points[0].tolist()), abs=0.1)
        assert abs(where(user, ".handle")[0] - 8) < 2  # nearer than it was

        page.keyboard.press("Control+z")
        assert user.sees(explorer, Recipe(seed=3)) and where(user, ".handle") == pytest.approx((6, 8), abs=0.1)
        page.locator("#redo").click()
        assert user.sees(explorer, dragged) and where(user, ".handle")[0] > 7
        page.locator("#drag-video").click()
        page.locator("#drag-film[src]").wait_for()
        shutil.copy(user.saved("a[download='drag.mp4']"), tmp_path / "drag.mp4")
        assert marks.read(tmp_path / "drag.mp4")["drag"] == ["6,8:8,8"]
        page.locator("#drag-reset").click()
        assert user.sees(explorer, Recipe(seed=3)) and where(user, ".handle") == pytest.approx((6, 8), abs=0.1)
        page.keyboard.press("Control+z")
        page.locator("#drag-keep").click()
        assert page.locator(".pin").count() == 0 and user.sees(explorer, dragged)

        user.tab("Edit")
        assert page.locator(".points").count() == 0
        user.slide("edit-pca0", 2)
        assert user.sees(explorer, replace(dragged, strengths=(2.0,)))
        user.tab("Save")
        shutil.copy(user.saved("#save-latents"), tmp_path / "dragged.safetensors")
        space, w = sampling.load_latents(tmp_path / "dragged.safetensors", explorer.generator.config)
        assert space == "w" and torch.equal(w, picture.w_of(explorer, replace(dragged, strengths=(2.0,))))
        page.reload()
        assert user.sees(explorer, replace(dragged, strengths=(2.0,)))


def test_a_drag_is_stopped_masked_and_left(chromium, address, explorer):
    to = "(input, value) => { input.value = value; input.dispatchEvent(new Event('change')) }"
    with User(chromium, address, "seed=3&tab=drag") as user:
        mouse, page, says = user.page.mouse, user.page, user.page.locator("#dragged")
        mouse.move(*pixel(user, 3, 3))
        mouse.down()  # one stroke sets both
        mouse.move(*pixel(user, 9, 4), steps=4)
        mouse.move(*pixel(user, 12, 12), steps=4)
        mouse.up()
        assert where(user, ".target") == pytest.approx((12, 12), abs=0.1)
        page.locator(".target").focus()
        page.keyboard.press("ArrowLeft"), page.keyboard.press("ArrowUp")
        assert where(user, ".target") == pytest.approx((11, 11), abs=0.1)
        page.get_by_role("radio", name="Paint").click()
        user.slide("brush", 2)
        mouse.click(*pixel(user, 8, 8))
        page.locator("#drag-rate input[type=number]").evaluate(to, 0.01)
        page.locator("#drag-steps input[type=number]").evaluate(to, 1000)
        with page.expect_response(re.compile("/drag")) as asked:
            page.locator("#drag").click()
        mask = [[8, 6, 9, 7], [7, 7, 10, 8], [6, 8, 11, 9], [7, 9, 10, 10], [8, 10, 9, 11]]
        body = json.loads(asked.value.request.post_data)
        assert (
            body["mask"] == mask
            and body["rate"] == 0.01
            and body["steps"] == 1000
            and body["points"] == [[3, 3, 11, 11]]
        )
        says.get_by_text("pixels to go").wait_for()
        page.locator("#drag", has_text="Stop").click()
        says.get_by_text("Start goes on").wait_for()
        assert "found=" in user.hash() and not user.sees(explorer, Recipe(seed=3), 0.5)
        page.locator("#drag").click()
        says.get_by_text(re.compile("step .* of 1000")).wait_for()
        user.page.locator("#seed").fill("5")  # another picture ends it
        page.keyboard.press("Enter")
        page.locator("#drag", has_text="Start").wait_for()
        assert user.sees(explorer, Recipe(seed=5)) and "found" not in user.hash()
        page.locator("#drag").click()
        says.get_by_text("pixels to go").wait_for()
        user.tab("Seeds")  # keeps what it has come to
        page.wait_for_function("location.hash.includes('found=')")
        user.tab("Drag")
        page.locator("#drag", has_text="Start").wait_for()
        page.locator("#no-mask").click()
        page.get_by_role("button", name="remove point 1").click()
        assert page.locator(".pin").count() == 0 and page.locator("#no-mask").is_disabled()
        page.get_by_role("radio", name="Points").click()
        page.locator(".points").focus()  # without a pointer
        press = page.keyboard.press
        press("Enter"), press("ArrowRight"), press("ArrowRight"), press("Enter")
        assert where(user, ".target")[0] - where(user, ".handle")[0] == pytest.approx(2, abs=0.1)
        press("Enter"), press("Escape")
        assert page.locator(".pin").count() == 2 and "seed=5" in user.hash()


def test_points_stand_in_the_address(chromium, address):
    """What is set there comes back with a reload, what is typed there is set."""

    def pins() -> list[tuple[float, float]]:
        return [where(user, f".pin[data-key={key}{i}]") for i in range(2) for key in ("handle", "target")]

    with User(chromium, address, "seed=3&tab=drag&points=6,8:8,8.5+1,2:99,3.3+4,4+x,1:2,3") as user:
        assert np.allclose(pins(), [(6, 8), (8, 8.5), (1, 2), (15, 3.5)], atol=0.1)
        assert user.page.locator(".pin").count() == 4 and "points=6%2C8%3A8%2C8.5+1%2C2%3A15%2C3.5" in user.hash()
        user.page.mouse.click(*pixel(user, 12, 12))  # it has no target yet
        user.page.get_by_role("button", name="remove point 2").click()
        user.page.mouse.click(*pixel(user, 12, 10))
        assert "points=6%2C8%3A8%2C8.5+12%2C12%3A12%2C10" in user.hash()
        user.page.locator("[data-key=target1]").press("ArrowUp")
        before = pins()
        assert before[3] == pytest.approx((12, 9), abs=0.1)
        user.tab("Seeds")
        user.page.reload()
        user.page.wait_for_selector("stylegan-explorer.ready")
        user.tab("Drag")
        assert np.allclose(pins(), before, atol=0.1)
        user.page.evaluate("location.hash = 'seed=4&tab=drag&points=1,1:5,1'")
        user.page.locator("#picture img.now[data-address*='seed=4']").wait_for()
        assert where(user, ".target") == pytest.approx((5, 1), abs=0.1) and user.page.locator(".pin").count() == 2
        assert user.page.locator(".points line.over").count() == 1
        user.page.locator("#no-points").click()
        assert "points" not in user.hash()


def test_the_mask_stands_in_the_address(chromium, address):
    """16 x 16: row 2 from column 3 on five pixels, row 3 the same; what is no mask is none."""
    mask = "z.5.b.5.5k"  # 35 pixels, 5 of the mask, 11, 5, 200

    def veil() -> list[int]:
        pixels = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 16, 16).data]"
        return user.page.locator(".points canvas").evaluate(pixels)[3::4]

    with User(chromium, address, f"seed=3&tab=drag&mask={mask}") as user:
        user.page.wait_for_selector("#no-mask:enabled")
        clear = [i for i, alpha in enumerate(veil()) if not alpha]
        assert clear == [16 * row + column for row in (2, 3) for column in range(3, 8)]
        assert f"mask={mask}" in user.hash() and user.page.locator("#no-mask").is_enabled()
        user.page.get_by_role("radio", name="Erase").click()
        user.slide("brush", 1)
        user.page.mouse.click(*pixel(user, 3, 2))
        user.page.wait_for_function(f"!location.hash.includes('{mask}') && location.hash.includes('mask=')")
        before = veil()
        user.page.reload()
        user.page.wait_for_selector("stylegan-explorer.ready")
        user.page.wait_for_selector("#no-mask:enabled")
        assert veil() == before
        user.page.locator("#no-mask").click()
        assert "mask" not in user.hash()
        user.page.evaluate("location.hash = 'seed=3&tab=drag&mask=x.!.999'")
        user.page.wait_for_function("!location.hash.includes('mask')")


def test_too_many_points_are_refused_in_words(chromium, address):
    points = "+".join(["6,8:8,8"] * 20)
    with User(chromium, address, f"seed=3&tab=drag&points={points}") as user:
        user.page.mouse.click(*pixel(user, 12, 3))
        user.page.get_by_text("20 points are dragged at most").wait_for()
        assert user.page.locator(".pin.handle").count() == 20


def test_a_stroke_that_a_key_ends(chromium, address):
    """Another tab, by its key, while a point is being set: the pointer goes on setting points afterwards."""
    with User(chromium, address, "seed=3&tab=drag") as user:
        user.page.mouse.move(*pixel(user, 3, 3))
        user.page.mouse.down()
        user.page.keyboard.press("1")
        user.page.mouse.up()
        user.tab("Drag")
        user.page.mouse.move(*pixel(user, 12, 12))
        assert user.page.locator(".target").count() == 0
        user.page.mouse.click(*pixel(user, 9, 4))
        assert where(user, ".target") == pytest.approx((9, 4), abs=0.1)


def test_another_picture_while_the_last_step_is_shown(chromium, address, explorer):
    """It stays: what was dragged meanwhile is of the picture before."""
    image = io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "PNG")
    line = {"step": 1, "of": 1, "arrived": True, "points": [[8, 8]], "distances": [0], "found": "0" * 24, "way": "way"}
    line["picture"] = f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}"
    body = json.dumps({"drag": "name"}) + "\n" + json.dumps(line) + "\n"
    with User(chromium, address, "seed=3&tab=drag&points=6,8:8,8") as user:
        user.page.route("**/explorer/drag?*", lambda route: route.fulfill(body=body))
        user.page.evaluate("""() => {
          const decode = HTMLImageElement.prototype.decode
          const released = new Promise((resolve) => (window.release = resolve))
          HTMLImageElement.prototype.decode = function () {
            const waits = this.src.startsWith("data:") && ((window.decodes = true), released)
            return Promise.resolve(waits).then(() => decode.call(this))
          }
        }""")
        user.page.locator("#drag").click()
        user.page.wait_for_function("window.decodes")
        user.page.locator("#seed").fill("5")
        user.page.keyboard.press("Enter")
        assert user.sees(explorer, Recipe(seed=5))
        user.page.evaluate("release()")
        user.page.locator("#drag", has_text="Start").wait_for()
        user.page.wait_for_timeout(200)
        assert "found" not in user.hash() and user.sees(explorer, Recipe(seed=5))


def test_points_by_touch(chromium, address):
    with User(chromium, address, "seed=3&tab=drag", width=390, height=844, has_touch=True) as user:
        for x in (4, 9):
            user.page.touchscreen.tap(*pixel(user, x, 6))
        assert where(user, ".handle") == pytest.approx((4, 6), abs=0.3)
        assert where(user, ".target") == pytest.approx((9, 6), abs=0.3)
        user.page.locator("#drag").tap()
        user.page.locator("#dragged", has_text="step").wait_for()
        assert user.page.locator("#drag").bounding_box()["y"] < 790


def test_a_and_b_have_a_divider(chromium, address, explorer):
    with User(chromium, address, "seed=3") as user:
        user.page.keyboard.press("a")
        user.page.keyboard.press("ArrowRight")
        assert user.sees(explorer, Recipe(seed=4))
        a = np.asarray(picture.picture(explorer, Recipe(seed=3)))
        assert user.shows("#picture img.held", a)
        box = user.page.locator("#picture").bounding_box()
        user.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 90)
        user.page.mouse.down()
        user.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 90, steps=4)
        user.page.mouse.up()
        edge = user.page.locator("#picture .edge").bounding_box()
        assert abs(edge["x"] + edge["width"] / 2 - box["x"] - 0.25 * box["width"]) < 4
        user.page.reload()
        user.page.locator("#picture.compares img.held[src]").wait_for()
        assert user.shows("#picture img.held", a) and user.sees(explorer, Recipe(seed=4))
        assert abs(user.page.locator("#picture .edge").bounding_box()["x"] - edge["x"]) < 2


def test_the_walk_has_no_end(chromium, address, explorer):
    with User(chromium, address, "seed=3&tab=walk") as user:
        user.slide("pace", 0.5)
        user.page.locator("#picture").click()
        user.page.keyboard.press(" ")
        user.page.locator("#caption", has_text="along the walk").wait_for()
        along = user.page.locator("#along input[type=number]")
        user.page.wait_for_timeout(300)
        user.page.keyboard.press(" ")
        assert "along=" in user.hash()
        reached = float(along.input_value())
        assert reached > 0
        user.page.reload()
        user.page.locator("#caption", has_text="along the walk").wait_for()
        assert abs(float(along.input_value()) - reached) < 0.01
        user.page.locator("#walk-home").click()
        assert user.sees(explorer, Recipe(seed=3))


def test_a_walk_ends_where_the_server_does(chromium, address):
    with User(chromium, address, "seed=3") as user:
        asked = []
        user.page.keyboard.press(" ")
        user.page.locator("#caption", has_text="along the walk").wait_for()
        user.page.route("**/explorer/picture?*", lambda route: (asked.append(route.request.url), route.abort()))
        user.page.get_by_text("the server does not answer").wait_for()
        user.page.locator("#play[aria-pressed=false]").wait_for()
        user.page.wait_for_timeout(300)
        assert len(asked) < 5


def test_a_wall_is_whole_though_truncation_changes_meanwhile(chromium, address):
    with User(chromium, address, "seed=3&tab=mix") as user:
        held = []
        user.page.route("**/explorer/wall?*", lambda route: held.append(route) if not held else route.continue_())
        user.tab("Seeds")
        while not held:
            user.page.wait_for_timeout(20)
        with user.page.expect_response("**/explorer/wall?*psi=0.3*"):
            user.slide("psi", 0.3)
        held[0].continue_()
        user.page.locator(".panel .cell.drawn >> nth=30").wait_for()
        assert user.page.locator(".panel .cell:not(.drawn)").count() < 13  # the next that are asked for


def test_favorites_of_two_windows(chromium, address):
    with User(chromium, address, "seed=3") as user:
        other = user.context.new_page()
        other.goto(f"{address}#seed=4")
        other.wait_for_selector("#picture img.now[data-address]")
        for page in (user.page, other):
            page.locator("#star").click()
            page.locator("#star[aria-pressed=true]").wait_for()
        other.locator(".favorite").nth(1).wait_for()


def test_another_model_while_a_photograph_is_projected(chromium, address, explorer, tmp_path):
    picture.picture(explorer, Recipe(seed=77)).save(tmp_path / "target.png")
    with User(chromium, address, "model=kittens-12000&seed=3&tab=photo") as user:
        user.page.locator("#upload").set_input_files(tmp_path / "target.png")
        user.slide("steps", 1000)
        user.page.locator("#project").click()
        user.page.locator("#progress", has_text=re.compile("step .* of 1000")).wait_for()
        user.page.locator("#model").select_option("kittens-1000")
        user.page.wait_for_function("location.hash.includes('model=kittens-1000')")
        user.page.locator("#random").click()  # what was found is the other model's
        user.page.locator("#picture img.now[data-address*='model=kittens-1000&']").wait_for()
        user.page.wait_for_timeout(500)
        assert "found" not in user.hash() and not user.page.locator(".message.shown").is_visible()


def test_models_that_cannot_be_had_or_come_late(chromium, served, tmp_path):
    """A sentence that stays, with the model that was there; and of two that are chosen, the last one."""
    for name in ("first", "second", "third"):
        weights.save(tmp_path / f"{name}.safetensors", Model(tiny_generator()))
    (tmp_path / "broken.safetensors").write_bytes(b"no model")
    models = [str(tmp_path / f"{name}.safetensors") for name in ("first", "second", "third", "broken")]
    with User(chromium, served(Shelf(models))) as user:
        chooser, message = user.page.locator("#model"), user.page.locator(".message.shown")
        chooser.select_option("broken")
        message.get_by_text("broken").wait_for()
        user.page.wait_for_timeout(200)
        assert message.is_visible() and chooser.input_value() == "first" and "model=first" in user.hash()
        late = []
        user.page.route("**/explorer/model?model=second", lambda route: late.append(route))
        chooser.select_option("second")
        chooser.select_option("third")
        user.page.locator("#picture img.now[data-address*='model=third']").wait_for()
        late[0].continue_()
        user.page.wait_for_timeout(300)
        assert chooser.input_value() == "third" and "model=third" in user.hash()
        user.open("model=nobody&seed=3")
        message.get_by_text("there is no model nobody here").wait_for()
        user.page.wait_for_timeout(200)
        assert message.is_visible() and "model=first" in user.hash()


def test_what_is_undone_fits_another_model(chromium, address):
    with User(chromium, address) as user:
        query = user.page.evaluate("""async () => {
          const { State } = await import("/explorer/web/state.js")
          const about = (key, classes, layers, directions) =>
            ({ key, classes, layers, directions, psi: 0.7, cutoff: 2 })
          const state = new State(), large = about("large", ["a", "b"], [4, 4, 8, 8, 16, 16], ["hat"])
          state.begin(about("plain", [], [4, 4, 8, 8], ["hat", "age"]), "seed=3")
          state.set({ edit: { age: 2, hat: 1 } })
          state.set({ seed: 5 })
          state.begin(large, "seed=5&class=1")
          state.set({ layers: [1, 0, 0, 0, 0, 1] })
          state.begin(about("small", [], [4, 4], []), "seed=5")
          state.undo()
          state.begin(large, "seed=5&class=1")
          state.undo()
          return state.query
        }""")
        assert query == "model=large&seed=3"


def test_models_history_and_report(chromium, address, shelf):
    with User(chromium, address, "seed=3&psi=0.5&tab=run") as user:
        older = shelf.open("kittens-1000")
        user.page.frame_locator("#report").locator("#said").wait_for()
        user.page.locator(".model[data-model='kittens-1000'] img[src]").wait_for()
        user.page.locator(".model[data-model='kittens-1000']").click()
        assert user.sees(older, Recipe(seed=3, psi=0.5))
        user.page.locator(".model[data-model='kittens-1000'][aria-pressed=true]").wait_for()
        user.page.locator("#model").select_option("portraits-32")
        assert user.sees(shelf.open("portraits-32"), Recipe(seed=3, psi=0.5))
        assert user.caption("32 × 32")


def test_a_large_picture(chromium, address):
    with User(chromium, address) as user:
        user.page.keyboard.press("l")
        dialog = user.page.locator("dialog.large")
        dialog.get_by_text("16 × 16 · ").wait_for()
        dialog.get_by_role("button", name="1 : 1").click()
        assert dialog.locator("img").bounding_box()["width"] == 16
        dialog.get_by_role("button", name="Fit").click()
        assert dialog.locator("img").bounding_box()["width"] > 600
        user.page.keyboard.press("Escape")
        dialog.wait_for(state="detached")


def test_files_and_videos(chromium, address, explorer, tmp_path):
    with User(chromium, address, "psi=0.4&tab=save") as user:
        shutil.copy(user.saved("#save-picture"), tmp_path / "seed0000.png")
        shutil.copy(user.saved("#save-latents"), tmp_path / "seed0000.safetensors")
        with Image.open(tmp_path / "seed0000.png") as saved:
            assert np.array_equal(saved, picture.picture(explorer, Recipe(psi=0.4)))
        made = marks.read(tmp_path / "seed0000.png")
        assert made["seed"] == 0 and made["psi"] == 0.4 and made["model"] == explorer.fingerprint
        user.tab("Photo")  # and back in as a file, with its noise
        user.page.locator("#upload").set_input_files(tmp_path / "seed0000.safetensors")
        user.page.locator("#project").click()
        user.page.get_by_text("the w that was found").wait_for()
        assert user.sees(explorer, Recipe(psi=0.4))
        user.page.keyboard.press("Control+z")
        assert user.sees(explorer, Recipe(psi=0.4)) and "found" not in user.hash()
        user.tab("Walk")
        user.slide("seconds", 1)
        user.page.locator("#walk").click()
        user.page.locator("#film[src]").wait_for()
        shutil.copy(user.saved("a[download='walk.mp4']"), tmp_path / "walk.mp4")
        import imageio_ffmpeg

        assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "walk.mp4"))[0] == 30
        assert marks.read(tmp_path / "walk.mp4")["seeds"] == [1, 2, 3]
        user.tab("Nearest")
        user.page.locator("#compare").click()
        user.page.locator("#near img").nth(7).wait_for()


def test_a_broken_upload_gives_a_sentence(chromium, address, explorer, tmp_path):
    (tmp_path / "broken.png").write_bytes(BROKEN)
    with User(chromium, address, "tab=photo") as user:
        user.page.locator("#project").click()
        user.page.get_by_text("choose a photograph first").wait_for()
        user.page.locator("#upload").set_input_files(tmp_path / "broken.png")
        user.page.locator("#project").click()
        user.page.get_by_text("broken.png cannot be projected: truncated").wait_for()
        assert user.sees(explorer, Recipe())


def test_a_face_is_found_first(chromium, served, explorer, tmp_path, monkeypatch):
    monkeypatch.setattr(align, "find_faces", find_dots)
    monkeypatch.setattr(align, "check", lambda: None)
    dots(200, degrees=40).save(tmp_path / "turned.png")
    middle, face = (uploads.read_photograph(explorer, tmp_path / "turned.png", find) for find in (False, True))
    assert not np.array_equal(middle, face)
    with User(chromium, served(explorer), "tab=photo") as user:
        user.page.locator("#upload").set_input_files(tmp_path / "turned.png")
        user.slide("steps", 20)
        for wanted in (middle, face):
            user.page.locator("#project").click()
            user.page.get_by_text("step 20 of 20").wait_for()
            user.page.locator("#stop[disabled]").wait_for()
            assert user.shows("#photograph", picture.seen(explorer, wanted))
            user.page.get_by_label("Find the face in it").check()


def test_two_users_at_once(chromium, address, explorer, tmp_path):
    """One projects a picture and edits it, the other samples and edits a file of latents, step by step in turn."""
    target = picture.picture(explorer, Recipe(seed=77))
    target.save(tmp_path / "target.png")
    with User(chromium, address, "seed=3&tab=photo") as one, User(chromium, address, "seed=4&psi=0.9") as two:
        assert one.sees(explorer, Recipe(seed=3)) and two.sees(explorer, Recipe(seed=4, psi=0.9))
        one.page.locator("#upload").set_input_files(tmp_path / "target.png")
        one.slide("steps", 20)
        one.page.locator("#project").click()
        two.slide("psi", -0.5)
        assert two.sees(explorer, Recipe(seed=4, psi=-0.5))
        one.page.get_by_text("step 20 of 20").wait_for()
        one.page.locator("#stop[disabled]").wait_for()
        photograph = uploads.read_photograph(explorer, tmp_path / "target.png")
        *_, (_, w, psnr) = uploads.find(explorer, photograph, None, "w+", 20)
        assert one.sees(explorer, Recipe(found=w, noise="const"))
        one.page.locator("#progress", has_text=f"PSNR {psnr:.1f} dB").wait_for()
        own = torch.randn(1, 6, 8)
        sampling.save_latents(tmp_path / "own.safetensors", w=own)
        two.tab("Photo")
        two.page.locator("#upload").set_input_files(tmp_path / "own.safetensors")
        two.page.locator("#project").click()
        assert two.sees(explorer, Recipe(found=own, noise="const"))
        for user, value in ((one, 2.0), (two, -1.0)):
            user.tab("Edit")
            user.slide("edit-pca0", value)
        assert one.sees(explorer, Recipe(found=w, noise="const", strengths=(2.0,)))
        assert two.sees(explorer, Recipe(found=own, noise="const", strengths=(-1.0,)))
        assert one.page.evaluate("Object.keys(localStorage).length") == 1  # its own w, and nothing of the other's


def test_on_a_phone(chromium, address):
    with User(chromium, address, width=390, height=844, has_touch=True) as user:
        tabs = user.page.get_by_role("tab")
        assert tabs.count() == 10
        for i in range(10):
            tabs.nth(i).tap()
            box = tabs.nth(i).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 44 and box["y"] < 844
            assert tabs.nth(i).get_attribute("aria-selected") == "true"
            assert user.page.evaluate("document.documentElement.scrollWidth") <= 390
            panel = user.page.get_by_role("tabpanel")
            assert panel.evaluate("panel => panel.scrollWidth - panel.clientWidth") <= 0, tabs.nth(i).inner_text()
            box = user.page.locator("#picture").bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] < 422  # in the upper half, always


def test_light_and_dark(chromium, address):
    def ground(user: User) -> int:
        return user.page.locator("header").evaluate("e => getComputedStyle(e).backgroundColor.match(/[0-9.]+/g)[0]")

    with User(chromium, address, color_scheme="dark") as user:
        assert float(ground(user)) < 60
        user.page.locator("#look").click()
        assert float(ground(user)) > 200
        user.page.reload()
        user.page.wait_for_selector("stylegan-explorer.ready")
        assert float(ground(user)) > 200


def test_every_control_has_a_name(chromium, address):
    unnamed = """root => [...root.querySelectorAll("button, input, select, img, a, video, iframe")].filter(e =>
      !(e.getAttribute("aria-label") ?? e.getAttribute("alt") ?? e.title ?? "").trim() && !e.textContent.trim()
      && !e.closest("label") && e.tagName !== "VIDEO" && e.tagName !== "IMG" && !e.hidden).map(e => e.outerHTML)"""
    with User(chromium, address) as user:
        root = user.page.evaluate_handle("document.querySelector('stylegan-explorer').shadowRoot")
        for tab in ("Seeds", "Mix", "Edit", "Drag", "Layers", "Walk", "Photo", "Nearest", "Models", "Save"):
            user.tab(tab)
            assert root.evaluate(unnamed) == [], tab
        user.page.keyboard.press("?")
        user.page.get_by_role("dialog").get_by_text("the seed before, the next").wait_for()


def test_other_pages_may_not_ask(chromium, address):
    """A page of another origin, and one whose name has been made to lead here (DNS rebinding)."""
    port = address.rstrip("/").rpartition(":")[2]
    page = f"""<body><img src="{address}explorer/picture"><script>
      const tries = [
        fetch("{address}explorer/models").then(a => a.text()),
        fetch("{address}explorer/keep", {{method: "POST", body: "{{}}", mode: "no-cors"}}).then(a => a.type),
        new Promise((yes, no) => {{ const i = document.images[0]; i.onload = yes; i.onerror = no;
                                    if (i.complete) (i.naturalWidth ? yes : no)() }})]
      Promise.allSettled(tries).then(all => document.title = all.map(each => each.status).join())
    </script>"""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = chromium.new_context()
    try:
        tab, answers = context.new_page(), []
        tab.on("response", lambda answer: answers.append((answer.url, answer.status)))
        tab.goto(f"http://localhost:{server.server_port}/")
        tab.wait_for_function("document.title")
        assert tab.title().endswith("rejected")
        asked = [status for url, status in answers if url.startswith(address)]
        assert asked and set(asked) == {403}
        assert tab.goto(f"http://evil.example:{port}/").status == 403
        assert tab.goto(f"http://localhost:{port}/").status == 200
    finally:
        context.close()
        server.shutdown()
        server.server_close()


def test_a_slow_conditional_network(chromium, served):
    named = explorer_of(tiny_generator(label_count=3), label_names=("cat", "dog", "<b>cow</b>"))
    slow = replace(named, trunk=picture.trunk(named.generator, 8))
    with User(chromium, served(slow)) as user:
        recipe = Recipe(label=0)
        assert user.sees(slow, recipe) and user.caption("of class cat")
        psi = user.page.locator("#psi input[type=range]")
        move = "(range, value) => { range.value = value; range.dispatchEvent(new Event('input')) }"
        psi.evaluate(move, 0.5)  # moves, and is not let go
        user.page.locator("#caption", has_text="preview").wait_for()
        colors = picture.colors_of(slow, recipe, picture.draw(slow, recipe))
        assert user.shows("#picture img.now", picture.preview(slow, replace(recipe, psi=0.5), colors))
        psi.press("ArrowRight")
        moved = replace(recipe, psi=0.51)
        assert user.sees(slow, moved)
        user.page.locator("#class").select_option("<b>cow</b>")
        assert user.sees(slow, replace(moved, label=2))
        assert user.caption("of class <b>cow</b>")


def test_a_traditional_network(chromium, served):
    options = {"use_styles": False, "const_input": False, "use_noise": False, "mapping_layers": 0}
    explorer = explorer_of(tiny_generator(**options))
    with User(chromium, served(explorer)) as user:
        assert user.sees(explorer, Recipe())
        assert user.page.locator("#psi input[type=range]").is_disabled()
        user.tab("Edit")
        user.slide("edit-sefa0", 3)
        assert user.sees(explorer, Recipe(strengths=(3.0, 0, 0)))
        user.tab("Mix")
        user.page.get_by_text("no styles to mix").wait_for()
        user.tab("Layers")
        user.page.locator("#maps-5 img").wait_for()
