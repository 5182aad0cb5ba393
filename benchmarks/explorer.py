#!/usr/bin/env python3
"""From a slider to the changed picture, in a headless Chromium: stylegan's explorer, end to end.

    python benchmarks/explorer.py MODEL

A slider is set to another value a hundred times; the time ends when the picture of it is decoded in the page.
"""

import shutil
import sys

from playwright.sync_api import sync_playwright

from stylegan.explorer import page, picture

MEASURE = """async ([slider, count]) => {
  const root = document.querySelector("stylegan-explorer").shadowRoot
  const input = root.querySelector(slider + " input[type=range]")
  const image = root.querySelector("#picture img.now")
  const times = []
  for (let i = 0; i < count; i++) {
    const before = image.dataset.address
    const start = performance.now()
    input.value = String(0.3 + 0.01 * (i % 70))
    input.dispatchEvent(new Event("input", { bubbles: true }))
    while (image.dataset.address === before) await new Promise((resume) => setTimeout(resume, 1))
    times.push(performance.now() - start)
    await new Promise((resume) => setTimeout(resume, 50))
  }
  return times
}"""


def main(model: str) -> None:
    explorer = picture.open_explorer(model)
    blocks = page.serve(explorer)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = chromium.new_page()
        tab.goto(blocks.local_url)
        tab.wait_for_selector("#picture img.now[data-address]")
        tab.get_by_role("tab", name="Save", exact=True).click()  # no wall to be drawn beside it
        tab.evaluate(MEASURE, ["#psi", 5])
        times = sorted(tab.evaluate(MEASURE, ["#psi", 100]))
    blocks.close(verbose=False)
    median, late, last = (times[i] for i in (50, 95, 99))
    print(f"{explorer.name}: median {median:.0f} ms, 95 of 100 within {late:.0f} ms, the slowest {last:.0f} ms")


if __name__ == "__main__":
    main(sys.argv[1])
