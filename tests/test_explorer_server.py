"""The explorer's server: what an address means, who may ask it for what, and what is left when it ends."""

import asyncio
import base64
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load
from test_explorer import explorer_of

from stylegan import finders, marks, recipe, sampling, weights
from stylegan.errors import InputError, InputWarning
from stylegan.explorer import address, picture, sheets
from stylegan.explorer.favorites import Favorites
from stylegan.explorer.models import Shelf
from stylegan.explorer.picture import Explorer, Recipe
from stylegan.explorer.turns import Turns
from stylegan.images import to_pil
from stylegan.weights import Model

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Gradio looks for a free port


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    generator = tiny_generator()
    return Explorer(
        "tiny", generator, finders.by_pca(generator, 3, count=500), fingerprint=weights.fingerprint(generator)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run that has kept two models, one of which was measured, and has a report."""
    folder = tmp_path_factory.mktemp("runs") / "kittens"
    folder.mkdir()
    generator = tiny_generator(label_count=2)
    for seen in (1000, 12000):
        names = Model(generator, label_names=("tabby", "black <b>cat</b>"))
        weights.save(folder / f"model-{seen:010d}.safetensors", names)
        with torch.no_grad():
            generator.synthesis.blocks["4"].const.add_(0.5)
    line = {"metric": "fid50k", "values": {"fid": 12.345}, "images_seen": 12000}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "report.html").write_text("<title>report</title><p>twelve kimg</p>")
    return folder


@pytest.fixture(scope="module")
def served(run, tmp_path_factory):
    """Host and port of a server of the run, which keeps favorites in a file."""
    pytest.importorskip("gradio")
    from stylegan.explorer import page

    blocks = page.serve(Shelf([str(run)]), favorites=tmp_path_factory.mktemp("kept") / "favorites.json")
    yield "127.0.0.1", blocks.server_port
    blocks.close(verbose=False)


def ask(served, path: str, method: str = "GET", body: bytes | None = None, **headers) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection(*served, timeout=120)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": f"127.0.0.1:{served[1]}"} | headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


# --- addresses


def test_an_address_is_a_picture(explorer):
    text = "seed=4&psi=0.5&cutoff=3&noise=seed&nseed=2&b=9&mix=1,0,0.25&edit.pca1=2&on=middle&hold=pca0&noises=1,0.5"
    said = address.read([each.split("=", 1) for each in text.split("&")], explorer, address.Found())
    meant = Recipe(seed=4, psi=0.5, cutoff=3, noise_seed=2, other_seed=9, mixed=(1.0, 0.0, 0.25), strengths=(0, 2.0, 0))
    meant = replace(meant, edited=("middle",), held=("pca0",), noise_strengths=(1.0, 0.5))
    assert np.array_equal(picture.picture(explorer, said), picture.picture(explorer, meant))
    assert np.array_equal(
        picture.picture(explorer, address.read([], explorer, address.Found())), picture.picture(explorer, Recipe())
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "-1"), ("seed", "4294967296"), ("seed", "²"), ("psi", "nan"), ("psi", "x"), ("mix", "1,2"),
     ("layers", ",".join("1" * 9)), ("noises", "1,inf"), ("along", "1e9"), ("noise", "loud"), ("found", "none")],
)  # fmt: skip
def test_addresses_that_mean_nothing(explorer, name, value):
    with pytest.raises(InputError):
        picture.picture(explorer, address.read([(name, value)], explorer, address.Found()))


def test_what_was_found_belongs_to_its_model_and_has_its_noise(explorer):
    found, w = address.Found(), torch.randn(1, 6, 8)
    planes = sampling.noise_of_seeds([7], explorer.generator)
    name = found.keep(explorer, w, planes)
    assert name == found.keep(explorer, w, planes) != found.keep(explorer, w, "const")
    said = address.read([("found", name)], explorer, found)
    with torch.no_grad():
        expected = to_pil(explorer.generator.synthesis(w, noise=planes)[0])
    assert np.array_equal(picture.picture(explorer, said), expected)
    with pytest.raises(InputError, match="another model"):
        address.read([("found", name)], replace(explorer, fingerprint="other"), found)


def test_the_endless_walk_passes_seeds_smoothly(explorer):
    plain, first = Recipe(seed=5), picture.stop(5, 1)
    at = [picture.w_of(explorer, replace(plain, along=t)) for t in (0.0, 1.0, 1.0 - 1e-4, 1.0 + 1e-4)]
    assert torch.equal(at[0], picture.w_of(explorer, plain))
    assert torch.allclose(at[1], picture.w_of(explorer, Recipe(seed=first)), atol=1e-6)
    before, after = (at[1] - at[2]) / 1e-4, (at[3] - at[1]) / 1e-4
    assert (before - after).abs().max() < 0.05 * before.abs().max()  # no corner
    again = picture.w_of(explorer, replace(plain, along=2.5, strengths=(1.0,)))
    assert torch.equal(again, picture.w_of(explorer, replace(plain, along=2.5, strengths=(1.0,))))


def test_layers_one_by_one(explorer):
    a, b = (picture.w_of(explorer, Recipe(seed=seed)) for seed in (0, 1))
    mixed = picture.w_of(explorer, Recipe(mixed=(1.0, 1.0, 1.0), mixed_layers=(0, 0, 1.0, 0.5)))
    assert torch.equal(mixed[:, [0, 1, 4, 5]], a[:, [0, 1, 4, 5]])
    assert torch.allclose(mixed[:, 2], b[:, 2], atol=1e-6)
    assert torch.allclose(mixed[:, 3], (a + b)[:, 3] / 2, atol=1e-6)
    silent = picture.draw(explorer, Recipe(noise_strengths=(0.0,) * 6))
    assert torch.equal(silent, picture.draw(explorer, Recipe(noise="none")))
    assert torch.equal(picture.draw(explorer, Recipe(noise_strengths=(1.0,) * 6)), picture.draw(explorer, Recipe()))


def test_what_layers_hold(explorer):
    block = explorer.generator.synthesis.blocks["8"]
    features = sheets.activations(explorer, Recipe(), 3)
    assert features.shape == (8, 8, 8) and not block.layer1._forward_hooks
    # the image is what toRGB makes of the last layer's
    last = sheets.activations(explorer, Recipe(), 5)
    with torch.no_grad():
        image = explorer.generator.synthesis.blocks["16"].to_rgb(last[None])
    assert np.array_equal(to_pil(image[0]), picture.picture(explorer, Recipe()))
    assert sheets.maps(features, 4, 20).size == (100, 20)
    with pytest.raises(InputError, match="no layer 6"):
        sheets.activations(explorer, Recipe(), 6)


@pytest.mark.parametrize(
    "changes", [{}, {"strengths": (2.0,)}, {"along": 1.5}, {"mixed": (1.0, 0, 0)}, {"found": True}]
)
def test_saved_pictures_say_how_they_were_made(tmp_path, explorer, changes):
    if "found" in changes:
        changes = {"found": torch.randn(1, 6, 8), "found_noise": "const"}
    said = Recipe(seed=3, psi=0.5, **changes)
    file, _ = picture.save(explorer, said, tmp_path)
    made = marks.read(file)
    assert made["model"] == explorer.fingerprint and made["explorer"] == picture.describe(explorer, said)
    again = to_pil(recipe.draw_again(explorer.generator, made))
    with Image.open(file) as saved:
        assert np.array_equal(saved, again)


def test_turns_go_to_the_urgent_first():
    turn, order, threads = Turns(), [], []

    def come(name: str, urgent: bool) -> None:
        with turn(urgent=urgent):
            order.append(name)

    with turn():
        for name, urgent in (("slow", False), ("slower", False), ("urgent", True)):
            threads.append(threading.Thread(target=come, args=(name, urgent)))
            threads[-1].start()
            while len(turn._waiting) < len(threads):
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order == ["urgent", "slow", "slower"]


# --- models, favorites


def test_models_of_a_run(run):
    shelf = Shelf([str(run)])
    listed = {each["key"]: each for each in shelf.listed()}
    assert list(listed)[:2] == ["kittens-1000", "kittens-12000"] and shelf.first == "kittens-12000"
    assert listed["kittens-12000"]["score"] == "fid 12.35" and {"faces", "portraits-32"} <= set(listed)
    older, newer = shelf.open("kittens-1000"), shelf.open()
    assert older is shelf.open("kittens-1000") and older.fingerprint != newer.fingerprint
    assert picture.describe(older, Recipe(label=1)).startswith("16 × 16 · seed 0 of class black <b>cat</b>")
    with pytest.raises(InputError, match="no model nothing"):
        shelf.open("nothing")
    with pytest.raises(InputError, match="no model"):
        Shelf(["nowhere"])


def test_previews_have_the_colors_of_their_own_model(tmp_path):
    """One that has just been switched to is drawn whole."""
    pytest.importorskip("starlette")
    from starlette.requests import Request

    from stylegan.explorer.routes import Service

    def drawn(query: str) -> dict:
        return service.picture(Request({"type": "http", "query_string": query.encode(), "headers": []})).headers

    small, large = (explorer_of(tiny_generator(resolution)) for resolution in (16, 32))
    service = Service(Shelf.of(replace(small, trunk=picture.trunk(small.generator, 8))), None, str(tmp_path))
    name = drawn("seed=3")["X-Colors"]
    assert unquote(drawn(f"seed=4&draft={name}")["X-Caption"]).endswith("preview")
    service.shelf = Shelf.of(replace(large, trunk=picture.trunk(large.generator, 4)))
    other = drawn(f"seed=4&draft={name}")
    assert "preview" not in other["X-Caption"] and other["X-Colors"] != name


def test_a_video_that_nobody_waits_for_leaves_nothing(tmp_path):
    pytest.importorskip("starlette"), pytest.importorskip("imageio_ffmpeg")
    from stylegan.explorer.answers import Writing

    go_on = threading.Event()

    def frames():
        for _ in range(50):
            yield torch.zeros(3, 16, 16, dtype=torch.uint8), ""
            go_on.wait(60)

    writing = Writing(str(tmp_path), frames(), 20, {})
    writing.stopped = True
    go_on.set()
    writing.join(60)
    assert not writing.is_alive() and writing.step <= 1 and list(tmp_path.iterdir()) == []


def test_favorites_in_a_file(tmp_path):
    kept = Favorites(tmp_path / "f.json")
    kept.add("one", "seed=1")
    assert Favorites(tmp_path / "f.json").add("two", "seed=2")[0] == {"name": "one", "address": "seed=1"}
    assert kept.remove("seed=1") == [{"name": "two", "address": "seed=2"}]
    (tmp_path / "g.json").write_text('{"kind": "else"}')
    with pytest.raises(InputError, match="no file of favorites"):
        Favorites(tmp_path / "g.json")


def test_answers(served, run):
    status, _, content = ask(served, "/explorer/model?model=kittens-1000")
    about = json.loads(content)
    assert status == 200 and about["classes"] == ["tabby", "black <b>cat</b>"] and about["report"]
    shelf = Shelf([str(run)])
    status, headers, content = ask(served, "/explorer/picture?seed=3&class=1&psi=0.5")
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(image, picture.picture(shelf.open(), Recipe(seed=3, label=1, psi=0.5)))
    assert headers["cache-control"] == "no-store" and "frame-ancestors" in headers["content-security-policy"]
    for path in ("wall?first=2&count=3", "strip?direction=pca0", "layer?layer=2"):
        status, _, content = ask(served, f"/explorer/{path}")
        assert status == 200 and content.startswith(b"\x89PNG"), path
    status, _, content = ask(served, "/explorer/strip?direction=nothing")
    assert status == 400 and "no direction nothing" in json.loads(content)["error"]
    status, _, content = ask(served, "/explorer/named?model=kittens-1000", "POST", b'{"pca0": "turn left!"}')
    assert json.loads(load_header(content))["names"][:2] == ["turn_left", "pca1"] and "vectors" in load(content)
    assert json.loads(ask(served, "/explorer/keep", "POST", b'{"name": "x", "address": "seed=1"}')[2])[0]["name"] == "x"
    assert json.loads(ask(served, "/explorer/favorites")[2])[0]["address"] == "seed=1"
    status, headers, content = ask(served, "/explorer/report?model=kittens-1000")
    assert b"twelve kimg" in content and "sandbox" in headers["content-security-policy"]
    for path in ("keep", "named"):
        assert ask(served, f"/explorer/{path}", "POST", b"[" * 10_000)[0] == 400


def load_header(content: bytes) -> str:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]["stylegan"]


def test_noise_of_uploaded_latents_is_kept(served, run, tmp_path):
    generator = weights.load(run)
    planes, w = sampling.noise_of_seeds([5], generator), torch.randn(1, 6, 8)
    sampling.save_latents(tmp_path / "own.safetensors", w=w, noise=planes, model=generator)
    body = (tmp_path / "own.safetensors").read_bytes()
    status, _, content = ask(served, "/explorer/latents?name=own.safetensors", "POST", body)
    assert status == 200
    _, _, drawn = ask(served, f"/explorer/picture?found={json.loads(content)['found']}")
    with Image.open(io.BytesIO(drawn)) as image, torch.no_grad():
        assert np.array_equal(image, to_pil(generator.synthesis(w, noise=planes)[0]))


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("shape", ["(1, 8000000000000)", "(4611686018427387904, 8)", f"({2**70}, 8)", "(-1, 8)"])
def test_array_headers_take_no_memory(served, shape):
    status, _, content = ask(served, "/explorer/latents?name=x.w.npy", "POST", npy_header(shape) + bytes(64))
    assert status == 400 and "x.w.npy cannot be read" in json.loads(content)["error"]


# --- who may ask


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "/explorer/models", 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, "/explorer/models", 200),
        ({"Host": "[::1]:{port}"}, "/explorer/models", 200),
        ({"Host": "evil.example"}, "/explorer/models", 403),
        ({"Host": "evil.example:{port}"}, "/", 403),
        ({"Host": "127.0.0.1.evil.example"}, "/", 403),
        ({"Host": "192.0.2.7:{port}"}, "/", 403),
        ({"Origin": "http://evil.example"}, "/explorer/models", 403),
        ({"Origin": "http://127.0.0.1:1"}, "/explorer/models", 403),
        ({"Origin": "null"}, "/explorer/models", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "/explorer/picture", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/", 200),
        ({}, "/gradio_api/file=/etc/hostname", 404),
        ({}, "/gradio_api/proxy=https://example.org", 404),
        ({}, "/explorer/web/..%2f..%2fpage.py", 404),
    ],
)
def test_hosts_and_origins(served, headers, path, status):
    headers = {name: value.format(port=served[1]) for name, value in headers.items()}
    assert ask(served, path, **headers)[0] == status


def test_uploads_have_a_limit(served):
    for path in ("/gradio_api/upload", "/explorer/report"):
        assert ask(served, path, "POST", b"x")[0] in (404, 405)
    assert ask(served, "/explorer/latents", "POST", None, Content_Length=str(51 * 2**20))[0] == 413


def test_uploads_together_have_a_limit():
    """Five are under way; a sixth is refused, with its length or without one, and after them there is room again."""
    pytest.importorskip("starlette")
    from stylegan.explorer import guard

    async def scene() -> list[int]:
        gate, answers = asyncio.Event(), []

        async def app(scope, receive, send):
            while (await receive()).get("more_body"):
                pass
            if scope["path"] == "/waits":
                await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guarded = guard.Guard(app, host="127.0.0.1")

        async def upload(path: str, size: int, says: bool = True) -> None:
            parts = [size // 2, size - size // 2]

            async def receive():
                return {"type": "http.request", "body": _Sized(parts.pop()), "more_body": bool(parts)}

            async def send(message):
                if message["type"] == "http.response.start":
                    answers.append(message["status"])

            length = [(b"content-length", str(size).encode())] if says else []
            scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"localhost"), *length]}
            await guarded(scope, receive, send)

        five = [asyncio.create_task(upload("/waits", 40 * 2**20)) for _ in range(5)]
        await asyncio.sleep(0.01)
        await upload("/more", 2**20)
        await upload("/more", 2**20, says=False)
        gate.set()
        await asyncio.gather(*five)
        await upload("/more", 2**20)
        assert guarded.uploading == 0
        return answers

    assert asyncio.run(scene()) == [413, 413, 200, 200, 200, 200, 200, 200]


class _Sized(bytes):
    """Bytes that only say how many they are."""

    def __new__(cls, size: int):
        made = super().__new__(cls)
        made.size = size
        return made

    def __len__(self) -> int:
        return self.size


def test_a_password_and_names(explorer):
    pytest.importorskip("gradio")
    from stylegan.explorer import page

    blocks = page.serve(explorer, host="0.0.0.0", password="öpen sesame", names=["faces.example"])
    try:
        at = "127.0.0.1", blocks.server_port
        right, wrong = (f"Basic {base64.b64encode(text.encode()).decode()}" for text in ("me:öpen sesame", "me:x"))
        for path in ("/", "/explorer/models", "/config", "/gradio_api/info"):
            assert ask(at, path)[0] == ask(at, path, Authorization=wrong)[0] == 401
        assert ask(at, "/explorer/models", Authorization=right)[0] == 200
        for authorization in ("Basic", "Basic ö", "Bearer x", "Basic " + "=" * 99):
            assert ask(at, "/", Authorization=authorization.encode("utf-8").decode("latin-1"))[0] == 401
        for host, status in (("faces.example", 200), ("192.0.2.7", 200), ("evil.example", 403)):
            assert ask(at, "/explorer/models", Authorization=right, Host=host)[0] == status
    finally:
        blocks.close(verbose=False)


def test_others_are_warned_of(tmp_path):
    pytest.importorskip("gradio")
    from stylegan.explorer import server

    assert server.read_password(None, "127.0.0.1") is server.read_password(None, "::1") is None
    with pytest.warns(InputWarning, match=r"whoever reaches 0\.0\.0\.0 may use this page"):
        server.read_password(None, "0.0.0.0")
    (tmp_path / "p").write_text("secret\nrest")
    assert server.read_password(tmp_path / "p", "0.0.0.0") == "secret"
    (tmp_path / "p").write_text("\n")
    with pytest.raises(InputError, match="no password"):
        server.read_password(tmp_path / "p", "0.0.0.0")


# --- where it is served


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal that this system does not have")
def test_signals_leave_no_files(tmp_path):
    """SIGTERM and SIGHUP, in the middle of an upload that is being read. Under nohup SIGHUP stays ignored."""
    pytest.importorskip("gradio")
    weights.save(tmp_path / "tiny.safetensors", Model(tiny_generator()))
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "stylegan", "explore", tmp_path / "tiny.safetensors"]
    environment = os.environ | {
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(Path(weights.__file__).parents[1]),
    }
    running = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        output = tmp_path / f"{number}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        running.append((number, output, process))
    for number, output, process in running:
        deadline = time.monotonic() + 180
        while "Ctrl-C" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        port = int(output.read_text().rpartition("/ (Ctrl-C")[0].rpartition(":")[2])
        image = io.BytesIO()
        Image.new("RGB", (64, 64)).save(image, "PNG")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/explorer/photograph?steps=1000&name=x.png", image.getvalue())
        assert b"photograph" in connection.getresponse().readline()
        assert list((tmp_path / "temporary").glob("stylegan-explorer-*"))
        process.send_signal(number)
        assert process.wait(120) == 128 + number
        connection.close()
    assert not list((tmp_path / "temporary").glob("stylegan-explorer-*"))


def test_addresses_that_cannot_be_had(served, explorer):
    from stylegan.explorer import page

    taken = served[1]
    for options, reason in (
        ({"port": taken}, rf"port {taken} of 127\.0\.0\.1: .*in use"),
        ({"port": 70_000}, "70000 is no port"),
        ({"host": "192.0.2.1"}, r"192\.0\.2\.1: .*assign"),
    ):
        with pytest.raises(InputError, match=reason):
            page.serve(explorer, **options)


@pytest.mark.parametrize(
    "proxies",
    [
        {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.org"},
        {"all_proxy": "socks5://127.0.0.1:9"},
        {"ALL_PROXY": "socks4://127.0.0.1:9", "no_proxy": "example.org"},
    ],
)
def test_the_page_is_served_where_the_environment_names_a_proxy(tmp_path, proxies):
    """In a process of its own, since Gradio looks at the environment when it is imported. Port 9 is closed."""
    pytest.importorskip("gradio")
    weights.save(tmp_path / "tiny.safetensors", Model(tiny_generator()))
    program = """
import os, sys, urllib.request
from stylegan.explorer import page, picture
def proxies():
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
before = proxies()
blocks = page.serve(picture.open_explorer(sys.argv[1]))
assert proxies() == before
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(blocks.local_url, timeout=30) as answer:
    print(answer.status)
blocks.close(verbose=False)
"""
    ours = ("_PROXY", "GRADIO_")  # earlier tests of this process have set some
    environment = {n: v for n, v in os.environ.items() if not (n.upper().endswith(ours[0]) or n.startswith(ours[1]))}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "tiny.safetensors"],
        env=environment | proxies,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
