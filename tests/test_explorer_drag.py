"""Dragging in the explorer, without a browser: what is asked for, answers line by line, and what is kept of them."""

import base64
import http.client
import io
import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load
from test_explorer import explorer_of
from test_explorer_server import ask

from stylegan import dragging, marks, sampling, weights
from stylegan.dragging import Drag, DragConfig, Point
from stylegan.errors import InputError
from stylegan.explorer import address, drags, picture
from stylegan.explorer.picture import Explorer, Recipe

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Gradio looks for a free port

NEAR = {"points": [[6, 8, 8, 8]]}
FAR = {"points": [[2, 2, 13, 13]], "rate": 0.001, "steps": 1000}  # it will not arrive


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    generator = tiny_generator()
    return replace(explorer_of(generator), fingerprint=weights.fingerprint(generator))


@pytest.fixture(scope="module")
def served(explorer):
    """Host and port of a server."""
    pytest.importorskip("gradio")
    from stylegan.explorer import page

    blocks = page.serve(explorer)
    yield "127.0.0.1", blocks.server_port
    blocks.close(verbose=False)


def lines(served, path: str, body: dict | None = None) -> list[dict]:
    status, _, content = ask(served, f"/explorer/{path}", "POST", json.dumps(body).encode())
    assert status == 200, content
    return [json.loads(line) for line in content.splitlines()]


def last_line(served, query: str, body: dict) -> dict:
    """Of a drag's answer; those that others have left make room within a minute."""
    deadline = time.monotonic() + 60
    while "error" in (last := lines(served, f"drag?{query}", body)[-1]):
        assert "others are dragging" in last["error"] and time.monotonic() < deadline
        time.sleep(0.1)
    return last


class Open:
    """A drag that is under way, and its answer as it comes."""

    def __init__(self, served, body: dict) -> None:
        self.connection = http.client.HTTPConnection(*served, timeout=120)
        self.connection.request("POST", "/explorer/drag?seed=3", json.dumps(body))
        self.answer = self.connection.getresponse()
        self.first = json.loads(self.answer.readline())

    def rest(self) -> list[dict]:
        return [json.loads(line) for line in self.answer]

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


# --- what is asked for


def test_the_page_begins_with_the_defaults():
    """The tab sets the sliders before it has asked for anything."""
    script = (Path(drags.__file__).parent / "web" / "tab-drag.js").read_text(encoding="utf-8")
    said = re.search(r"wanted = \{ steps: (\S+), firmness: (\S+), rate: (\S+) \}", script)
    assert [float(value) for value in said.groups()] == [
        DragConfig.steps,
        DragConfig.mask_weight,
        DragConfig.learning_rate,
    ]


def test_what_the_page_says_is_a_drag(explorer):
    said = {"points": [[6, 8, 8, 8.5], [1, 2, 3, 4]], "mask": [[2, 3, 9, 4]], "steps": 30, "rate": 0.2, "firmness": 3}
    drag, config = drags.read(said, explorer)
    assert drag.points == (Point(6, 8, 8, 8.5), Point(1, 2, 3, 4)) and drag.mask.nonzero().tolist() == [
        [3, x] for x in range(2, 9)
    ]
    assert config == DragConfig(steps=30, learning_rate=0.2, mask_weight=3)
    drag, config = drags.read(NEAR, explorer)
    assert drag.mask is None and config == DragConfig()


@pytest.mark.parametrize(
    "said",
    [{}, {"points": None}, {"points": []}, {"points": [[1, 2, 3]]}, {"points": ["1234"]}, {"points": [[1, 2, 3, None]]},
     {"points": [[1, 2, 3, 1e999]]}, {"points": [[1, 2, 3, -1]]}, {"points": [[1, 2, 3, 10**400]]},
     {"points": [[1, 2, 3, 4]] * 21}, NEAR | {"mask": []}, NEAR | {"mask": "/etc/x"}, NEAR | {"mask": [[0, 0, 0, 0]]},
     NEAR | {"mask": [[0, 0, 99, 5]]}, NEAR | {"mask": [[0, 0, 1.5, 5]]}, NEAR | {"mask": [[0, 0, 1, 1]] * 2000},
     NEAR | {"steps": 0}, NEAR | {"steps": 10**9}, NEAR | {"steps": "many"}, NEAR | {"rate": float("nan")},
     NEAR | {"firmness": -1}],
)  # fmt: skip
def test_what_is_no_drag(explorer, said):
    with pytest.raises(InputError):
        drags.read(said, explorer)


def test_a_drag_begins_with_the_picture_and_goes_as_the_commands(explorer):
    recipe = Recipe(seed=3, psi=0.6, mixed=(0, 0, 1.0), strengths=(1.0,), noise_strengths=(1, 1, 0.5))
    drag, config = drags.read(NEAR | {"mask": [[2, 2, 14, 14]], "steps": 5}, explorer)
    all_drags = drags.Drags()
    ours = list(all_drags.follow(explorer, recipe, drag, config))
    w, noise = picture.w_of(explorer, recipe), picture.noise_of(explorer.generator, recipe)
    theirs = list(dragging.dragging(explorer.generator, w, drag, config, noise=noise))
    assert torch.equal(ours[0].w, w) and len(ours) == len(theirs) > 1
    assert all(torch.equal(a.w, b.w) and torch.equal(a.points, b.points) for a, b in zip(ours, theirs, strict=True))
    again = list(all_drags.follow(explorer, recipe, drag, config))  # with W as it was measured
    assert torch.equal(again[-1].w, ours[-1].w)


@pytest.mark.parametrize(
    "options",
    [{"label_count": 3}, {"channels": 1}, {"channels": 4}, {"aspect": (4, 3)}, {"resolution": 4}, {"resolution": 32},
     {"use_styles": False, "const_input": False, "use_noise": False, "mapping_layers": 0}],
)  # fmt: skip
def test_every_kind_of_generator(options):
    explorer = explorer_of(tiny_generator(**options))
    height, width = dragging.picture_size(explorer.generator)
    said = {"points": [[1, 1, 2.5, 2]], "mask": [[0, 0, width - 1, height]], "steps": 2}
    drag, config = drags.read(said, explorer)
    recipe, way = Recipe(seed=1, label=2 if "label_count" in options else None), drags.Way(explorer, drag)
    for state in drags.Drags().follow(explorer, recipe, drag, config):
        way.add(state)
        told = json.loads(json.dumps(drags.told(state, config)))
        assert told["step"] == state.step and len(told["points"]) == len(told["distances"]) == 1
    assert not torch.equal(way.ws[0], way.ws[-1])
    assert picture.picture(explorer, replace(recipe, found=way.ws[-1])).size == (width, height)
    frames = [frame for frame, _ in drags.film(explorer, recipe, [way, way])]
    assert len(frames) == drags.frames_of([way, way]) == 6 + drags.REST
    assert {frame.shape[0] for frame in frames} == {3} and len({frame.shape for frame in frames}) == 1


# --- what is kept


def test_ways_have_a_limit_and_belong_to_a_model(explorer, monkeypatch):
    drag, config = drags.read(NEAR | {"steps": 3}, explorer)
    kept, names = drags.Drags(), []
    for _ in range(3):
        way = drags.Way(explorer, drag)
        for state in kept.follow(explorer, Recipe(), drag, config):
            way.add(state)
        monkeypatch.setattr(drags, "WAYS", 2 * way.size)
        names.append(kept.keep(way))
    assert len(set(names)) == 3 and kept.way(names[2], explorer) is way
    for name, other in ((names[0], explorer), ("", explorer), (names[2], replace(explorer, fingerprint="other"))):
        with pytest.raises(InputError, match="not here any more"):
            kept.way(name, other)


def test_drags_at_once_have_a_limit():
    kept = drags.Drags()
    under_way = [kept.under_way() for _ in range(drags.MOST_AT_ONCE)]
    names = [each.__enter__() for each in under_way]
    kept.halt(names[0]), kept.halt("nobody's")
    assert kept.is_halted(names[0]) and not kept.is_halted(names[1])
    with pytest.raises(InputError, match="others are dragging"), kept.under_way():
        pass
    under_way[0].__exit__(None, None, None)
    with kept.under_way() as name:
        assert name not in names


def test_what_was_found_takes_so_much_memory(explorer, monkeypatch):
    found, planes, w = address.Found(), sampling.noise_of_seeds([1], explorer.generator), torch.randn(1, 6, 8)
    assert found.keep(explorer, w, 1) == found.keep(explorer, w, planes) and found.keep(explorer, w, 1)
    assert found.size == 6 * 8 * 4  # a seed stands for its planes
    assert all(map(torch.equal, found.get(explorer, found.keep(explorer, w, 1))[1], planes))
    found = address.Found()
    one = [found.keep(explorer, torch.randn(1, 6, 8), planes) for _ in range(3)]
    of_noise = sum(plane.numel() for plane in planes) * 4
    assert found.size == of_noise + 3 * 6 * 8 * 4  # which they share
    monkeypatch.setattr(address, "MOST_BYTES", found.size)
    two = found.keep(explorer, torch.randn(1, 6, 8), "const")
    with pytest.raises(InputError, match="not here any more"):
        found.get(explorer, one[0])
    assert found.get(explorer, one[1])[1] is planes and found.get(explorer, two)[1] == "const"


# --- answers


def test_a_drag_line_by_line(served, explorer, tmp_path):
    first, *steps = lines(served, "drag?seed=3&psi=0.6", NEAR)
    assert set(first) == {"drag"} and [line["step"] for line in steps] == list(range(len(steps)))
    assert steps[0]["points"] == [[6, 8]] and steps[0]["distances"] == [2] and steps[0]["of"] == DragConfig.steps
    last = steps[-1]
    assert last["distances"][0] < 2 and all("found" not in line for line in steps[:-1])
    *_, expected = drags.Drags().follow(explorer, Recipe(seed=3, psi=0.6), *drags.read(NEAR, explorer))
    assert last["arrived"] == expected.arrived and last["step"] == expected.step

    # the picture from now on: what the page asks for afterwards, with the noise of the seed
    query = f"found={last['found']}"
    _, _, content = ask(served, f"/explorer/picture?{query}")
    with Image.open(io.BytesIO(content)) as drawn, Image.open(_file(last["picture"])) as told:
        recipe = Recipe(found=expected.w, found_noise=sampling.noise_of_seeds([3], explorer.generator))
        assert np.array_equal(drawn, told) and np.array_equal(drawn, picture.picture(explorer, recipe))
    file = ask(served, f"/explorer/save?what=latents&{query}")[2]
    saved = load(file)
    assert torch.equal(saved["w"], expected.w) and "noise5" in saved

    sent = ask(served, "/explorer/latents?name=x.safetensors", "POST", file)[2]
    assert json.loads(sent)["found"] == last["found"]  # a server that has forgotten it gets it back by its name

    further = lines(served, f"drag?{query}", {"points": [[*last["points"][0], 6, 8]], "steps": 3})[-1]
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    *told, whole = lines(served, f"film?{query}&ways={last['way']},{further['way']}")
    assert told[-1]["of"] == len(steps) + further["step"] + 1 + drags.REST
    (tmp_path / "way.mp4").write_bytes(base64.b64decode(whole["video"]))
    assert ffmpeg.count_frames_and_secs(str(tmp_path / "way.mp4"))[0] == told[-1]["of"]
    assert marks.read(tmp_path / "way.mp4")["drag"][0] == "6,8:8,8"
    assert "not here any more" in lines_of(ask(served, f"/explorer/film?{query}&ways=none", "POST"))["error"]
    many = ",".join([last["way"]] * 51)
    assert "50 drags at most" in lines_of(ask(served, f"/explorer/film?{query}&ways={many}", "POST"))["error"]


def lines_of(answer) -> dict:
    assert answer[0] == 400
    return json.loads(answer[2])


def _file(embedded: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(embedded.partition(",")[2]))


def test_faults_are_sentences(served):
    for body in (b"", b"[" * 10_000, b"[]", b'{"points": [[1, 2, 3]]}', b'{"points": [[1, 2, 3, NaN]]}'):
        assert "error" in lines_of(ask(served, "/explorer/drag?seed=3", "POST", body))
    assert "not inside the picture" in lines(served, "drag?seed=3", {"points": [[1, 2, 15.5, 4]]})[-1]["error"]
    assert ask(served, "/explorer/drag?seed=3&found=none", "POST", json.dumps(NEAR).encode())[0] == 400
    assert ask(served, "/explorer/halt?drag=nobody", "POST")[0] == 200
    assert ask(served, "/explorer/drag", "GET")[0] == 405


def test_a_drag_is_halted_and_keeps_what_it_came_to(served):
    drag = Open(served, FAR)
    drag.answer.readline()
    assert ask(served, f"/explorer/halt?drag={drag.first['drag']}", "POST")[0] == 200
    last = drag.rest()[-1]
    assert 1 <= last["step"] < 1000 and not last["arrived"]
    assert ask(served, f"/explorer/picture?found={last['found']}")[0] == 200
    drag.close()


def test_who_goes_away_drags_no_further(served):
    for _ in range(2):
        left = [Open(served, FAR) for _ in range(drags.MOST_AT_ONCE)]
        for each in left:
            each.close()
    assert last_line(served, "seed=3", NEAR | {"steps": 1})["step"] == 1


def test_two_drag_at_once(served):
    """Each gets what it would get alone."""
    asked = [("seed=3", NEAR | {"steps": 12}), ("seed=4&psi=0.9", {"points": [[4, 4, 9, 9]], "steps": 12})]
    alone = [last_line(served, query, body) for query, body in asked]
    together: dict[int, dict] = {}

    def drag(i: int) -> None:
        together[i] = last_line(served, *asked[i])

    threads = [threading.Thread(target=drag, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i in range(2):
        assert together[i]["points"] == alone[i]["points"] and together[i]["found"] == alone[i]["found"]


def test_masks_are_read_as_from_a_file(explorer, tmp_path):
    """The page's file of points is one of `stylegan drag`."""
    said = NEAR | {"mask": [[2, 3, 9, 4], [2, 4, 5, 5], [7, 4, 9, 5]]}
    drag, _ = drags.read(said, explorer)
    (tmp_path / "drag.json").write_text(json.dumps({"kind": "stylegan-drag", "format_version": 1} | said))
    read = dragging.read(tmp_path / "drag.json", explorer.generator)
    assert isinstance(read, Drag) and read.points == drag.points and torch.equal(read.mask, drag.mask)
