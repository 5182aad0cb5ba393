"""Downloads: they continue where they broke off, and the checksum decides."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from stylegan import downloads
from stylegan.errors import InputError

CONTENT = np.random.RandomState(0).bytes(3_000_000)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves CONTENT; `breaks` says after how many bytes it closes the connection, `ranges` whether it knows them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if wanted and server.ranges and start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if wanted and server.ranges else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:][: server.breaks])

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.ranges, server.breaks = [], True, None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    item = downloads.Download(
        f"http://127.0.0.1:{server.server_port}/w.bin", hashlib.sha256(CONTENT).hexdigest(), "Apache-2.0"
    )
    monkeypatch.setitem(downloads.DOWNLOADS, "test", [item])
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files(tmp_path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir()}


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_is_continued(server, tmp_path, ranges):
    server.breaks, server.ranges = 1_000_000, ranges
    with pytest.raises(InputError, match=r"cannot be read \("):
        downloads.fetch("test", progress=False)
    assert files(tmp_path) == {".w.bin.part": 1_000_000}
    server.breaks = None
    (path,) = downloads.fetch("test", progress=False)
    assert server.asked == [None, "bytes=1000000-"]
    assert path.read_bytes() == CONTENT and files(tmp_path) == {"w.bin": len(CONTENT)}


def test_a_wrong_part_is_not_kept(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/.w.bin.part").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="not the file that is wanted"):
        downloads.fetch("test", progress=False)
    assert files(tmp_path) == {}
    (tmp_path / "cache/.w.bin.part").write_bytes(bytes(len(CONTENT)))  # nothing follows: begun anew
    (path,) = downloads.fetch("test", progress=False)
    assert path.read_bytes() == CONTENT
