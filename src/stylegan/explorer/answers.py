"""What answers are made of: pictures, files, lines of JSON; videos while they are written; and what questions hold."""

import base64
import io
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from stylegan import videos
from stylegan.errors import InputError

NOT_KEPT = {"Cache-Control": "no-store"}


def sentence(request: Request, error: Exception) -> Response:
    """What the user can mend."""
    return JSONResponse({"error": str(error)}, status_code=400, headers=NOT_KEPT)


def png(image: Image.Image, headers: dict[str, str] | None = None) -> Response:
    """An image."""
    return Response(_png(image), media_type="image/png", headers=NOT_KEPT | (headers or {}))


def embedded(image: Image.Image) -> str:
    """An image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(_png(image)).decode()}"


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def download(name: str, content: bytes) -> Response:
    """A file to be kept."""
    kind = "image/png" if name.endswith(".png") else "application/octet-stream"
    headers = NOT_KEPT | {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)


def lines(items: Iterator[dict[str, Any]]) -> Response:
    """An object a line; a sentence about what the user can mend ends them."""

    def texts() -> Iterator[str]:
        try:
            for item in items:
                yield json.dumps(item) + "\n"
        except InputError as error:
            yield json.dumps({"error": str(error)}) + "\n"

    return StreamingResponse(texts(), media_type="application/x-ndjson", headers=NOT_KEPT)


# --- questions


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the question. Raises InputError."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise InputError(f"{name} is {text[:40]!r}; give a whole number from {least} to {most}")
    return int(text)


async def json_object(request: Request) -> dict[str, Any]:
    """The object that is the request's body. Raises InputError."""
    try:
        said = json.loads(await request.body())
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise InputError("the page's request is damaged; reload the page")
    return said


# --- videos


def film(frames: Iterator[videos.Frame], count: int, fps: float, made: dict[str, Any], folder: str) -> Response:
    """A video, in lines that say how far it is; the last holds it. folder: of temporary files."""

    def steps() -> Iterator[dict[str, Any]]:
        writing = Writing(folder, frames, fps, made)
        try:
            while writing.is_alive():
                yield {"step": writing.step, "of": count}
                writing.join(0.2)
        finally:
            writing.stopped = True  # whoever waited has gone
        yield {"video": base64.b64encode(writing.content()).decode()}

    return lines(steps())


class Writing(threading.Thread):
    """Writes a video into a temporary folder, which it removes, and can be asked how far it is."""

    def __init__(self, folder: str, frames: Iterator[videos.Frame], fps: float, made: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.folder, self.frames, self.fps, self.made = folder, frames, fps, made
        self.step, self.stopped, self.video = 0, False, b""
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
                file = Path(temporary, "film.mp4")
                videos.write(file, self._counted(), fps=self.fps, made=self.made)
                self.video = file.read_bytes()
        except Exception as error:  # is raised where the content is asked for
            self.error = error

    def _counted(self) -> Iterator[videos.Frame]:
        for frame in self.frames:
            if self.stopped:
                return
            self.step += 1
            yield frame

    def content(self) -> bytes:
        """Raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self.video
