"""The explorer's web server: Gradio, as private as it can be, at an address of this machine."""

import atexit
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylegan.errors import InputError, InputWarning

if TYPE_CHECKING:
    import gradio


def launch(
    blocks: "gradio.Blocks",
    *,
    routes: Sequence[Any],
    host: str | None = None,
    port: int | None = None,
    names: Iterable[str] = (),
    password: str | None = None,
    head: str,
) -> None:
    """Serve a page that was made of Gradio's components, and return at once.

    routes: further addresses, which come first. host, port: as for `page.serve`. names: by which it may be asked,
    besides this machine's own. password: asked for where it is not None. head: what goes into the page's <head>.
    Raises InputError where it cannot be served there.
    """
    gr = import_gradio()
    from starlette.middleware import Middleware

    from stylegan.explorer.guard import Guard
    from stylegan.explorer.head import WithHead

    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    _check_address(host, port)
    guard = Middleware(Guard, host=host, names=tuple(names), password=password)
    with _without_proxies():
        blocks.launch(
            server_name=host,
            server_port=port,
            theme=gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            app_kwargs={"middleware": [guard, Middleware(WithHead, head=head)], "routes": list(routes)},
        )


def read_password(file: Path | None, host: str) -> str | None:
    """The first line of a file; None without one, which is warned of where others reach the address."""
    if file is None:
        if not is_local(host):
            warnings.warn(
                f"whoever reaches {host} may use this page, and with --data see training images; --password-file "
                "makes it ask for a password",
                InputWarning,
                stacklevel=2,
            )
        return None
    try:
        password = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a text file with the password in it") from error
    if not password:
        raise InputError(f"{file} has no password in its first line; write one")
    return password


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def wait(blocks: "gradio.Blocks") -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, which end the program and leave nothing behind; or until it is closed."""
    end_on_signals()
    try:
        while blocks.is_running:
            time.sleep(0.1)
    except (KeyboardInterrupt, SystemExit) as stop:
        shutil.rmtree(temporary_folder(), ignore_errors=True)
        sys.stdout.flush()
        # at once: threads that compute cannot be stopped, and an interpreter that ends around them aborts
        os._exit(stop.code if isinstance(stop, SystemExit) else 0)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, with all temporary files removed.

    One that is ignored, as SIGHUP is under nohup, or that somebody handles already, stays as it is.
    """

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def import_gradio() -> Any:
    """Gradio, set up to send nothing home and to record nothing. Raises InputError where it is not installed."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_RUN_HISTORY="False")
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"  # no statistics of all events after each of them
    os.environ["GRADIO_TEMP_DIR"] = temporary_folder()  # components look when they are made
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
def temporary_folder() -> str:
    """The folder of all temporary files, which is there until the program ends."""
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
