"""The page of `stylegan look`, and the list beside it; the page in a browser of a desk's and of a phone's size."""

import shutil

import numpy as np
import pytest
from PIL import Image

import stylegan
from stylegan import cli
from stylegan.data import look as library
from stylegan.data.look import LookConfig
from stylegan.data.prepare import PrepareConfig, prepare
from stylegan.errors import InputError
from stylegan.looking import look

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
HOSTILE = "<img src=x onerror=alert(1)> & '\".png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pictures, one of them twice, one small, one of a name that is markup, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, (name, size) in enumerate({"a.png": 80, "b.png": 90, "c.png": 100, "d.png": 20, HOSTILE: 70}.items()):
        pixels = np.random.RandomState(i).randint(0, 256, (7, 9, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((size + 30, size), Image.Resampling.BICUBIC).save(folder / name)
    shutil.copy(folder / "b.png", folder / "z.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def seen(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "page.html"
    return look(folder, out, LookConfig(resolution=64), progress=False)


def test_what_is_found(seen):
    found = {(seen.names[f.number], f.kind) for f in seen.findings}
    assert {("z.png", "exact"), ("d.png", "tiny")} <= found and seen.total == 7
    assert seen.unusable == [("broken.png", "not an image of a known format")]
    first, _, rest = seen.list.read_text().partition("\n\n")
    assert first.splitlines()[1:] == ["z.png  # the same file as b.png"]
    assert "# d.png  # smaller than 64" in rest
    text = seen.page.read_text()
    assert text.count("data:image/jpeg;base64,") == 6 and "http" not in text.replace("http-equiv", "")
    assert "<img src=x" not in text and seen.page.stat().st_size < 200_000


def test_an_edited_list_stays_and_is_used(folder, seen, tmp_path):
    (tmp_path / "p-exclude.txt").write_text("a.png  # mine\n")
    report = look(folder, tmp_path / "p.html", progress=False)
    assert (tmp_path / "p-exclude.txt").read_text() == "a.png  # mine\n" and not report.list_is_new
    assert '"name": "a.png"' in (tmp_path / "p.html").read_text()
    store = prepare(folder, tmp_path / "store", PrepareConfig(16, exclude=seen.list), progress=False)
    assert store.left_out == [("z.png", "excluded: the same file as b.png")] and store.count == 5
    again = look(store.path, tmp_path / "store.html", LookConfig(limit=3), progress=False)
    assert len(again.names) == 3 and again.total == 5 and again.proposal.resolution == 16
    assert "SOURCE" in again.next


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["look", str(folder), "--workers", "1"])
    assert not ended.value.code
    out = capsys.readouterr().out
    assert "exact duplicates: 1" in out and "unusable: 1" in out and "--exclude look-exclude.txt" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["look-exclude.txt", "look.html"]
    assert stylegan.look is look


def test_refusals(folder, tmp_path):
    (tmp_path / "mine.html").write_text("<html>something of mine</html>")
    (tmp_path / "bad-exclude.txt").write_bytes(b"\0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    shutil.copy(folder / "broken.png", tmp_path / "broken")
    before = sorted(tmp_path.iterdir())
    for source, name, options, message in (
        (folder, "mine.html", {}, "exists and is something else"),
        (folder, "page.txt", {}, r"ends with \.html"),
        (folder, "none/page.html", {}, "there is no folder"),
        (folder, "bad.html", {}, "is no text file"),
        (folder, "p.html", {"resolution": 100}, "resolution is 100"),
        (folder, "p.html", {"limit": 0}, "limit is 0"),
        (tmp_path / "nowhere", "p.html", {}, "does not exist"),
        (tmp_path / "empty", "p.html", {}, "holds no image"),
        (tmp_path / "broken", "p.html", {}, "holds no usable image"),
    ):
        with pytest.raises(InputError, match=message):
            look(source, tmp_path / name, LookConfig(**options), progress=False)
    assert sorted(tmp_path.iterdir()) == before


def test_near_duplicates_are_the_same_in_blocks():
    features = np.random.RandomState(0).rand(50, 6)
    features[[7, 49]] = features[[3, 12]] * 2
    whole, blocks = library._alike(features, {5}), library._alike(features, {5}, block=8)
    assert {pair[:2] for pair in blocks} == {pair[:2] for pair in whole} >= {(3, 7), (12, 49)}
    assert [pair[2] for pair in blocks] == pytest.approx([pair[2] for pair in whole])


def test_no_duplicates_among_pictures_that_cannot_be_read(folder, tmp_path):
    (tmp_path / "junk").mkdir()
    shutil.copy(folder / "broken.png", tmp_path / "junk")
    with pytest.raises(InputError, match="holds no usable image"):
        prepare(tmp_path / "junk", tmp_path / "store", PrepareConfig(drop_duplicates=True), progress=False)
    assert not (tmp_path / "store").exists()


# --- in a browser


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no browser for the page; install Debian's chromium")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=BROWSER, args=HEADLESS)


@pytest.mark.parametrize("width, height, scheme", [(1280, 800, "light"), (390, 844, "dark")])
def test_the_page_works(chromium, seen, width, height, scheme):
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, outside, errors = context.new_page(), [], []
    page.on("request", lambda request: outside.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.set_default_timeout(60_000)
    page.goto(seen.page.as_uri())
    visible = page.locator(".card:not([hidden])")
    assert visible.count() == 6 and page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#count").inner_text() == "1 of 6 left out"
    assert page.locator(".card .name").all_inner_texts() == seen.names

    page.locator(".chip[data-kind=exact]").click()
    assert visible.count() == 2
    visible.first.locator(".zoom").click()
    large = page.locator("#large")
    assert large.is_visible() and large.locator("img").bounding_box()["width"] <= width
    assert "b.png" in large.locator(".facts").inner_text()
    page.keyboard.press("ArrowRight")
    assert "the same file as b.png" in large.locator(".facts").inner_text()
    page.locator("#out").uncheck()
    large.get_by_role("button", name="Close").click()

    page.locator(".chip[data-kind=all]").click()
    page.locator("#p0 .out").check()
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == seen.list.name
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 2 and lines[1].startswith(HOSTILE) and seen.names[0] == HOSTILE
    assert errors == [] and all(url.startswith(("file:", "data:", "blob:")) for url in outside)
    context.close()
