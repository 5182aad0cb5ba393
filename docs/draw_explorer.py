"""Takes the pictures of docs/explorer.md: the explorer of a model, in a headless Chromium.

python docs/draw_explorer.py [MODEL]    # needs the extras app and dev, and Chromium
"""

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from stylegan.explorer import page
from stylegan.explorer.models import Shelf

PICTURES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 800), (390, 844)
SEED = "seed=8&psi=0.7"
DRAGGED = "seed=26&psi=0.7"
MOUTH = [((24, 44), (20, 42)), ((39, 44), (43, 42))]  # from, to: pixels
MASK = [(22, 44), (32, 46), (42, 44), (32, 52)]  # the way of the brush


def shot(
    browser: Browser, address: str, size: tuple[int, int], scheme: str, does: Callable[[Page], None] | None = None
):
    """The page at an address, when all that it asks for is there; `does` uses it before."""
    width, height = size
    options = {"color_scheme": scheme, "has_touch": size == PHONE}
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    tab.goto(address)
    tab.wait_for_selector("#picture img.now[data-address]")
    if does is not None:
        does(tab)
    tab.wait_for_timeout(6000)  # the pictures that come into sight
    with Image.open(io.BytesIO(tab.screenshot())) as picture:
        taken = picture.convert("RGB")
    context.close()
    return taken


def drag(tab: Page, side: int = 64) -> None:
    """Set the points, paint the mask, and drag as far as it goes."""
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
    tab.locator("#hold").click()
    tab.locator("#drag").click()
    tab.locator("#dragged", has_text="steps").wait_for(timeout=120_000)
    tab.mouse.move(5, 400)


def side_by_side(pictures: list[Image.Image], gap: int = 20) -> Image.Image:
    """Pictures of one height in a row."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row, left = Image.new("RGB", (width, pictures[0].height), "white"), 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def main(model: str = "faces") -> None:
    blocks = page.serve(Shelf([model]))
    address = blocks.local_url
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def take(size: tuple[int, int], scheme: str, hash: str, does: Callable[[Page], None] | None = None):
            return shot(browser, f"{address}#{hash}", size, scheme, does)

        edited = f"{SEED}&edit.pca1=1.2&tab=edit&A={SEED.replace('=', '%3D').replace('&', '%26')}&split=0.5"
        pictures = {
            "explorer.png": take(DESKTOP, "light", edited),
            "explorer-drag.png": take(DESKTOP, "dark", f"{DRAGGED}&tab=drag", drag),
            "explorer-phone.png": side_by_side(
                [
                    take(PHONE, "light", SEED),
                    take(PHONE, "light", f"{DRAGGED}&tab=drag", drag),
                    take(PHONE, "dark", f"{SEED}&b=3&layers=0,0,1,1&tab=layers"),
                ]
            ),
        }
    blocks.close(verbose=False)
    for name, picture in pictures.items():
        picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
