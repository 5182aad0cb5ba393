"""The explorer's web server: Gradio, as private as it can be, at an address of this machine."""

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from stylegan.errors import InputError

if TYPE_CHECKING:
    import gradio


def launch(blocks: "gradio.Blocks", *, host: str | None = None, port: int | None = None, css: str, head: str) -> None:
    """Serve a page that was made of Gradio's components, and return at once.

    host, port: as for `page.serve`. css, head: styles and what goes into the page's <head>. Raises InputError where
    it cannot be served there.
    """
    gr = import_gradio()
    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    _check_address(host, port)
    with _without_proxies():
        blocks.launch(
            server_name=host,
            server_port=port,
            theme=gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
            css=css,
            head=head,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            max_file_size="50mb",
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
        )


def import_gradio() -> Any:
    """Gradio, set up to send nothing home and to record nothing. Raises InputError where it is not installed."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_RUN_HISTORY="False")
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"  # no statistics of all events after each of them
    os.environ["GRADIO_TEMP_DIR"] = _temporary_folder()  # components look when they are made
    try:
        with _without_proxies():
            import gradio
    except ImportError as error:
        raise InputError("the explorer needs gradio; install it with: pip install 'stylegan[app]'") from error
    return gradio


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Inside, no request goes through a proxy, whatever `http_proxy`, `all_proxy` and the like say.

    Gradio makes HTTP clients when it is imported, which fails for proxies of a kind that httpx does not know, and asks
    its own server whether it is there, which a proxy cannot answer. The user's variables are as before afterwards.
    """
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"  # goes before NO_PROXY
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


@cache
def _temporary_folder() -> str:
    """The folder in which the components of all pages keep uploads, and files to fetch, until the program ends."""
    folder = tempfile.mkdtemp(prefix="stylegan-explorer-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _check_address(host: str, port: int | None) -> None:
    if port is not None and not 0 < port < 2**16:
        raise InputError(f"{port} is no port; choose one from 1 to 65535")
    try:
        family = socket.getaddrinfo(host, port or 0)[0][0]
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        place = f"port {port} of {host}" if port else host
        reason = (error.strerror or str(error)).split(" (")[0]
        raise InputError(f"nothing can be served at {place}: {reason}; choose another") from error
