"""Takes the pictures of docs/explorer.md: the explorer of a model, in a headless Chromium.

python docs/draw_explorer.py [MODEL]    # needs the extras app and dev, and Chromium
"""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from stylegan.explorer import page
from stylegan.explorer.models import Shelf

PICTURES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 800), (390, 844)
SEED = "seed=8&psi=0.7"
MOUTH = [((24, 43), (18, 38)), ((38, 43), (44, 38))]  # from, to: pixels
SETTLE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('change')) }"
MASK = [(20, 42), (31, 45), (42, 42), (31, 50)]  # the way of the brush


def shot(
    browser: Browser, address: str, size: tuple[int, int], scheme: str, does: Callable[[Page], None] | None = None
):
    """The page at an address, when all that it asks for is there; `does` uses it before."""
    width, height = size
    options = {"color_scheme": scheme, "has_touch": size == PHONE}
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    tab.set_default_timeout(300_000)
    tab.goto(address)
    tab.wait_for_selector("#picture img.now[data-address]")
    if does is not None:
        does(tab)
    tab.wait_for_timeout(6000)  # the pictures that come into sight
    with Image.open(io.BytesIO(tab.screenshot())) as picture:
        taken = picture.convert("RGB")
    context.close()
    return taken


def drag(tab: Page, steps: int = 200, side: int = 64) -> None:
    """Set the points, paint the mask, and drag so many steps at most."""
    box = tab.locator("#picture").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + (x + 0.5) / side * box["width"], box["y"] + (y + 0.5) / side * box["height"]

    for start, target in MOUTH:
        tab.mouse.click(*at(*start))
        tab.mouse.click(*at(*target))
    tab.get_by_role("radio", name="Paint").click()
    tab.locator("#brush input[type=range]").fill("8")
    tab.mouse.move(*at(*MASK[0]))
    tab.mouse.down()
    for place in MASK[1:]:
        tab.mouse.move(*at(*place), steps=8)
    tab.mouse.up()
    tab.get_by_role("radio", name="Points").click()
    tab.locator("#drag-steps input[type=number]").evaluate(SETTLE, steps)
    tab.locator("#drag").click()
    tab.locator("#dragged", has_text="steps").wait_for()
    tab.mouse.move(5, 400)


def side_by_side(pictures: list[Image.Image], gap: int = 20) -> Image.Image:
    """Pictures of one height in a row."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row, left = Image.new("RGB", (width, pictures[0].height), "white"), 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def pictures(browser: Browser, address: str) -> dict[str, Image.Image]:
    """All pictures by name."""

    def take(size: tuple[int, int], scheme: str, hash: str, does: Callable[[Page], None] | None = None):
        return shot(browser, f"{address}#{hash}", size, scheme, does)

    edited = f"{SEED}&edit.masculine=2.5&tab=edit&A={quote(SEED)}&split=0.5"
    phones = [
        take(PHONE, "light", SEED),
        take(PHONE, "light", f"{SEED}&tab=drag", drag),
        take(PHONE, "dark", f"{SEED}&b=3&layers=0,0,1,1&tab=layers"),
    ]
    return {
        "explorer.png": take(DESKTOP, "light", edited),
        "explorer-drag.png": take(DESKTOP, "dark", f"{SEED}&tab=drag", partial(drag, steps=10)),
        "explorer-phone.png": side_by_side(phones),
    }


@contextmanager
def opened(model: str) -> Iterator[tuple[Browser, str]]:
    """A browser, and the address of the explorer of a model."""
    blocks = page.serve(Shelf([model]))
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]), blocks.local_url
    blocks.close(verbose=False)


def main(model: str = "faces") -> None:
    with opened(model) as (browser, address):
        for name, picture in pictures(browser, address).items():
            few = picture.quantize(256, kmeans=2, dither=Image.Dither.NONE)  # which keep the colors of small things
            few.save(PICTURES / name, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
