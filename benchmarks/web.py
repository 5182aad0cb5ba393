#!/usr/bin/env python3
"""How fast the page of `stylegan export MODEL --web` draws, in a headless Chromium, by the clock on the wall.

    benchmarks/web.py [MODEL or RESOLUTION ...]         # default: portraits-32 faces 256

A number stands for an untrained network of the preset `small` at that resolution. The first picture counts from when
the page is asked for; the others are those of a walk, from one to the next, after 60 that the browser optimizes by.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from stylegan import presets, weights
from stylegan.networks.generator import Generator
from stylegan.web import site

PICTURES = """() => Number(document.documentElement.dataset.pictures ?? 0)"""
# the walk draws one picture in a frame at most
WALK = """async (count) => {
  const root = document.documentElement, times = [], took = []
  let seen = Number(root.dataset.pictures), last = performance.now()
  while (times.length < count) {
    await new Promise(requestAnimationFrame)
    const now = Number(root.dataset.pictures)
    if (now === seen) continue
    times.push((performance.now() - last) / (now - seen))
    took.push(Number(root.dataset.took))
    last = performance.now(), seen = now
  }
  return [times, took]
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def model_of(name: str, folder: Path) -> Path | str:
    if not name.isdecimal():
        return name
    config = presets.small(presets.Shape(int(name)))
    weights.save(folder / f"{name}.safetensors", weights.Model(Generator(config.generator)))
    return folder / f"{name}.safetensors"


def until(page: Page, pictures: int) -> None:
    while page.evaluate(PICTURES) < pictures:
        page.wait_for_timeout(20)


def measure(page: Page, address: str, count: int) -> str:
    page.goto(address)
    until(page, 1)
    first = float(page.evaluate("document.documentElement.dataset.first"))
    page.keyboard.press("w")
    until(page, 60)
    times, took = page.evaluate(WALK, count)
    return (
        f"first picture after {first / 1000:.1f} s; then one in {statistics.median(times):.0f} ms (median), "
        f"{sorted(times)[int(0.95 * count)]:.0f} ms (95 %), of which the network {statistics.median(took):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["portraits-32", "faces", "256"])
    parser.add_argument("--count", type=int, default=100, help="pictures that are timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for model in options.models:
            made = site.write_site(folder / model, model_of(model, folder))
            server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder / model))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page = chromium.new_page()
            said = measure(page, f"http://127.0.0.1:{server.server_port}/", options.count)
            print(f"{model}: {made.bytes / 1e6:.1f} MB; {said}", flush=True)
            page.close()
            server.shutdown()


if __name__ == "__main__":
    main()
