"""What the page asks the server for, as addresses below explorer/. Pictures are answers and in no file."""

import re
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import ref

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from torch import Tensor

from stylegan import directions, dragging, marks, recipe
from stylegan.errors import InputError
from stylegan.explorer import address, answers, drags, picture, sheets, uploads
from stylegan.explorer.answers import NOT_KEPT
from stylegan.explorer.favorites import Favorites
from stylegan.explorer.models import Shelf
from stylegan.explorer.picture import Explorer, Recipe
from stylegan.explorer.turns import Turns
from stylegan.images import to_uint8

WEB = Path(__file__).parent / "web"
FPS = 30
MOST_SMALL = 64  # small pictures in one answer
PAUSE = 0.07  # seconds from one picture of a drag to the next, at least
COLORS = 64  # whole pictures whose colors are kept for previews
REPORT_POLICY = "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
REPORT_POLICY += "script-src 'unsafe-inline'; frame-ancestors 'self'"


class Service:
    """Answers. Nothing in it belongs to one user but what was found, under names that nobody can guess."""

    def __init__(self, shelf: Shelf, favorites: Favorites | None, folder: str) -> None:
        """folder: of temporary files, which are gone before an answer is, and when the program ends."""
        self.shelf, self.kept, self.folder = shelf, favorites, folder
        self.found, self.drags, self.turn = address.Found(), drags.Drags(), Turns()
        self._colors: OrderedDict[str, tuple[ref[Explorer], Tensor]] = OrderedDict()

    def mounted(self) -> Mount:
        """All routes. Sentences about what a user can mend are answers with status 400."""
        routes = [
            Route(f"/{name}", getattr(self, name), methods=[method])
            for method, names in {
                "GET": "models model picture wall strip layer nearest save report favorites",
                "POST": "walk photograph drag halt film latents named keep",
            }.items()
            for name in names.split()
        ]
        web = Mount("/web", StaticFiles(directory=WEB))
        app = Starlette(routes=[*routes, web], exception_handlers={InputError: answers.sentence})
        return Mount("/explorer", app=app)

    def asked(self, request: Request) -> tuple[Explorer, Recipe]:
        """The model and the picture of an address."""
        explorer = self.shelf.open(request.query_params.get("model", ""))
        return explorer, address.read(request.query_params.multi_items(), explorer, self.found)

    # --- the models

    def models(self, request: Request) -> Response:
        """The list of models."""
        return JSONResponse({"first": self.shelf.first, "models": self.shelf.listed()}, headers=NOT_KEPT)

    def model(self, request: Request) -> Response:
        """What the page must know of a model."""
        key = request.query_params.get("model", "")
        explorer, entry = self.shelf.open(key), self.shelf.entry(key)
        generator, layers = explorer.generator, len(explorer.layer_resolutions)
        cutoff = 8 if generator.truncation.cutoff is None else generator.truncation.cutoff
        names = explorer.label_names or tuple(map(str, range(generator.config.label_count)))
        side = generator.synthesis.grown.resolution
        height, width = dragging.picture_size(generator)
        about = {
            "key": entry.key,
            "name": explorer.name,
            "fingerprint": explorer.fingerprint,
            "resolution": side,
            "width": width,
            "height": height,
            "classes": list(names),
            "psi": generator.truncation.psi,
            "cutoff": min(cutoff, layers),
            "layers": explorer.layer_resolutions,
            "ranges": {name: list(each) for name, each in explorer.ranges.items()},
            "directions": list(explorer.directions.names),
            "has_w": generator.has_w,
            "has_styles": generator.config.use_styles,
            "has_noise": generator.config.use_noise,
            "slow": explorer.trunk is not None,
            "compares": explorer.store is not None,
            "films": find_spec("imageio_ffmpeg") is not None,
            "finds_faces": uploads.finds_faces(),
            "face": explorer.fit == "face",
            "report": entry.run is not None and (entry.run / "report.html").is_file(),
            "strengths": list(sheets.STRENGTHS),
            "kept_favorites": self.kept is not None,
        }
        return JSONResponse(about, headers=NOT_KEPT)

    def report(self, request: Request) -> Response:
        """The run's report. Its scripts may show it and reach nothing else."""
        run = self.shelf.entry(request.query_params.get("model", "")).run
        if run is None or not (run / "report.html").is_file():
            raise InputError("this model is of no run that has a report; stylegan train writes one")
        headers = NOT_KEPT | {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(run / "report.html", media_type="text/html", headers=headers)

    # --- pictures

    def picture(self, request: Request) -> Response:
        """The picture; with `draft`, the name of a whole picture's colors, a preview where the network is slow."""
        explorer, wanted = self.asked(request)
        owner, colors = self._colors.get(request.query_params.get("draft", ""), (lambda: None, None))
        caption, headers = picture.describe(explorer, wanted), dict(NOT_KEPT)
        with self.turn(urgent=True):
            if explorer.trunk is not None and owner() is explorer:
                image, caption = picture.preview(explorer, wanted, colors), f"{caption} · preview"
            else:
                drawn = picture.draw(explorer, wanted)
                image = picture.seen(explorer, drawn)
                if explorer.trunk is not None:
                    headers["X-Colors"] = self._keep(explorer, picture.colors_of(explorer, wanted, drawn))
        if side := answers.whole(request, "side", 0, 0, 1024):
            image = sheets.small(image, side)
        return answers.png(image, headers | {"X-Caption": quote(caption)})

    def _keep(self, explorer: Explorer, colors: Tensor) -> str:
        """The name of colors, which are those of this model's features alone."""
        name = secrets.token_urlsafe(12)
        self._colors[name] = ref(explorer), colors
        while len(self._colors) > COLORS:
            self._colors.popitem(last=False)
        return name

    def wall(self, request: Request) -> Response:
        """The pictures of seeds from `first` on, side by side."""
        explorer, wanted = self.asked(request)
        first = answers.whole(request, "first", 0, 0, 2**32 - 1)
        count = answers.whole(request, "count", 8, 1, MOST_SMALL)
        return answers.png(sheets.sheet(explorer, sheets.wall(wanted, first, count), _side(request), self.turn))

    def strip(self, request: Request) -> Response:
        """What a direction does to the picture."""
        explorer, wanted = self.asked(request)
        name = request.query_params.get("direction", "")
        return answers.png(sheets.sheet(explorer, sheets.strip(explorer, wanted, name), _side(request), self.turn))

    def layer(self, request: Request) -> Response:
        """What a layer holds."""
        explorer, wanted = self.asked(request)
        with self.turn():
            features = sheets.activations(explorer, wanted, answers.whole(request, "layer", 0, 0, 100))
        return answers.png(sheets.maps(features, answers.whole(request, "count", 8, 1, MOST_SMALL), _side(request)))

    def nearest(self, request: Request) -> Response:
        """The training images nearest to the picture."""
        explorer, wanted = self.asked(request)
        with self.turn():
            near = sheets.nearest(explorer, wanted)
        told = [{"picture": answers.embedded(image), "text": text} for image, text in near]
        return JSONResponse(told, headers=NOT_KEPT)

    # --- what takes time: lines of JSON, as it goes on

    def walk(self, request: Request) -> Response:
        """A video from the picture to other seeds."""
        explorer, wanted = self.asked(request)
        frames = round(answers.whole(request, "seconds", 8, 1, 60) * FPS)
        route = "linear" if request.query_params.get("route") == "linear" else "cubic"
        seeds = recipe.seeds_of(request.query_params.get("seeds", "")[:200])
        with self.turn():
            drawn = picture.walk(explorer, wanted, seeds, route, frames)
        made = _made(explorer, wanted) | {"seeds": list(map(int, seeds))}
        return answers.film(self._in_turns(drawn), frames, FPS, made, self.folder)

    async def photograph(self, request: Request) -> Response:
        """Project the photograph that is the request's body."""
        content = await request.body()
        explorer, wanted = await run_in_threadpool(self.asked, request)
        space = "w" if request.query_params.get("space") == "w" else "w+"
        steps = answers.whole(request, "steps", 300, 20, 1000)

        def lines() -> Iterator[dict[str, Any]]:
            if not content:
                raise InputError("there is nothing to project yet; choose a photograph first")
            with self._uploaded(request, content) as file, self.turn():
                target = uploads.read_photograph(explorer, file, request.query_params.get("face") == "1")
            yield {"photograph": answers.embedded(picture.seen(explorer, target))}
            for step, w, psnr in self._in_turns(uploads.find(explorer, target, wanted.label, space, steps)):
                if step % 10 == 0:
                    found = self.found.keep(explorer, w, "const")
                    yield {"step": step, "of": steps, "psnr": round(psnr, 2), "found": found}

        return answers.lines(lines())

    async def drag(self, request: Request) -> Response:
        """Drag points of the picture; the request's body says which, see `drags.read`.

        The first line has the name to `halt` it by, the last one the names of the w that it came to, and of the way.
        """
        said = await answers.json_object(request)
        explorer, wanted = await run_in_threadpool(self.asked, request)
        drag, config = drags.read(said, explorer)
        before = request.query_params.get("found")
        noise = self.found.noise(before) if before else picture.planes_seed(wanted)

        def lines() -> Iterator[dict[str, Any]]:
            with self.drags.under_way() as name:
                yield {"drag": name}
                states, way, shown = self.drags.follow(explorer, wanted, drag, config), drags.Way(explorer, drag), 0.0
                for state in self._in_turns(states):
                    way.add(state)
                    last = state.arrived or state.step == config.steps or self.drags.is_halted(name)
                    line = drags.told(state, config)
                    if last or time.monotonic() - shown > PAUSE:
                        seen = picture.seen(explorer, to_uint8(state.image).cpu())
                        line["picture"], shown = answers.embedded(seen), time.monotonic()
                    if last:
                        line |= {"found": self.found.keep(explorer, state.w, noise), "way": self.drags.keep(way)}
                    yield line
                    if last:
                        return

        return answers.lines(lines())

    def halt(self, request: Request) -> Response:
        """Let a drag end with the step that it is at."""
        self.drags.halt(request.query_params.get("drag", ""))
        return JSONResponse({}, headers=NOT_KEPT)

    def film(self, request: Request) -> Response:
        """A video of the ways of drags, one after the other."""
        explorer, wanted = self.asked(request)
        names = request.query_params.get("ways", "").split(",")
        if len(names) > drags.MOST_WAYS:
            raise InputError(f"a video shows {drags.MOST_WAYS} drags at most, these are {len(names)}; Keep begins anew")
        ways = [self.drags.way(name, explorer) for name in names]
        frames, made = drags.film(explorer, wanted, ways), _made(explorer, wanted)
        made["drag"] = [dragging.text_of(point) for way in ways for point in way.drag.points]
        return answers.film(self._in_turns(frames), drags.frames_of(ways), drags.FPS, made, self.folder)

    async def latents(self, request: Request) -> Response:
        """Keep the latents of the file that is the request's body."""
        content = await request.body()

        def read() -> str:
            explorer, wanted = self.asked(request)
            with self._uploaded(request, content) as file, self.turn():
                return self.found.keep(explorer, *uploads.read_latent(explorer, file, wanted.label))

        return JSONResponse({"found": await run_in_threadpool(read)}, headers=NOT_KEPT)

    def _uploaded(self, request: Request, content: bytes) -> AbstractContextManager[Path]:
        return uploads.uploaded(self.folder, request.query_params.get("name", ""), content)

    def _in_turns(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items of an iterator that computes, others' turns between them."""
        end = object()
        while True:
            with self.turn():
                item = next(items, end)
            if item is end:
                return
            yield item

    # --- files

    def save(self, request: Request) -> Response:
        """The picture as PNG, or with `what=latents` its w."""
        explorer, wanted = self.asked(request)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, self.turn(urgent=True):
            image, latents = map(Path, picture.save(explorer, wanted, Path(folder)))
            file = latents if request.query_params.get("what") == "latents" else image
            return answers.download(file.name, file.read_bytes())

    async def named(self, request: Request) -> Response:
        """The model's directions as a file, with the names that a user has given them: {"old": "new", ...}."""
        names = await answers.json_object(request)
        explorer = await run_in_threadpool(self.shelf.open, request.query_params.get("model", ""))
        own = explorer.directions
        renamed = tuple(_name(names.get(name, name)) for name in own.names)
        if len(set(renamed)) < len(renamed):
            raise InputError("two directions have one name; give each its own")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder, "directions.safetensors")
            directions.save(file, directions.renamed(own, renamed))
            return answers.download(file.name, file.read_bytes())

    def favorites(self, request: Request) -> Response:
        """The favorites in the server's file; none where it keeps none."""
        return JSONResponse([] if self.kept is None else self.kept.all(), headers=NOT_KEPT)

    async def keep(self, request: Request) -> Response:
        """Add a favorite, {"name": "...", "address": "..."}, or with {"remove": "ADDRESS"} remove one; all of them."""
        said = await answers.json_object(request)
        if self.kept is None:
            raise InputError("this server keeps no favorites; start it with --favorites FILE")
        change, names = (self.kept.remove, ["remove"]) if "remove" in said else (self.kept.add, ["name", "address"])
        left = await run_in_threadpool(change, *(str(said.get(name, "")) for name in names))
        return JSONResponse(left, headers=NOT_KEPT)


def _made(explorer: Explorer, wanted: Recipe) -> dict[str, Any]:
    """How a video was made, as far as all have it."""
    explored = picture.describe(explorer, wanted)
    return {"program": marks.PROGRAM, "model": explorer.fingerprint, "explorer": explored}


def _side(request: Request) -> int:
    return answers.whole(request, "side", 64, 4, sheets.SMALL)


def _name(text: Any) -> str:
    """A direction's name as commands take it."""
    name = re.sub(r"[^\w.+-]+", "_", str(text).strip())[:60].strip("_")
    if not name:
        raise InputError("a direction's name has letters or digits; give it some")
    return name
