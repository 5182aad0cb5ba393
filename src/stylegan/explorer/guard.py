"""Who may ask the explorer's server for what: names of hosts, origins, the password, and how much may be uploaded."""

import base64
import binascii
import hmac
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stylegan.explorer.server import is_local

LARGEST_UPLOAD = 50 * 2**20  # bytes
ALL_UPLOADS = 200 * 2**20  # bytes of all uploads that are under way
# what Gradio serves and this page does not need: files of the server, requests to other servers, uploads of its own
CLOSED = re.compile(
    r"/+(gradio_api/+)?(upload|upload_progress|file|file=.*|proxy=.*|stream|component_server|process_recording|dev"
    r"|vibe-.*|undo-vibe.*|run-history|runs|monitoring|deep_link|custom_component|openapi\.json)(/.*)?"
)
OWN_CHECK = "/gradio_api/startup-events"  # Gradio asks its own server, and knows no password
CHALLENGE = {"WWW-Authenticate": 'Basic realm="stylegan", charset="UTF-8"'}


class Guard:
    """Refuses what does not come from the page itself, or from a program that was given its address.

    A page elsewhere can let a visitor's browser ask this server, even by a name of its own that leads here: so the
    name (Host) must be one of this machine's, and the page that asks (Origin) must be the server's own.
    """

    def __init__(self, app: ASGIApp, *, host: str, names: Iterable[str] = (), password: str | None = None) -> None:
        """host: the address that is served. names: further names it may be asked by, of a proxy say."""
        self.app, self.password = app, password
        self.only_here = is_local(host)
        self.names = {"localhost", host.lower(), *(name.lower() for name in names)}
        if not self.only_here:
            own = {socket.gethostname().lower(), socket.getfqdn().lower()}
            self.names |= own | {f"{name.partition('.')[0]}.local" for name in own}
        self.in_space = bool(os.environ.get("SPACE_HOST"))
        if self.in_space:
            self.names |= set(os.environ["SPACE_HOST"].lower().split(","))
        self.uploading = 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self.refusal(scope, Headers(scope=scope)) if scope["type"] == "http" else _refused(403, "no sockets")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._limited(scope, receive, self._secured(send))

    def refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        """The answer to a request that is refused; None where it may pass."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.is_own(hosts[0]):
            return _refused(403, "this server does not go by that name; see --allow-host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            return _refused(403, "the page of another address may not ask this server")
        navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return _refused(403, "the page of another address may not ask this server")
        known = self.password is None or self.knows(headers.get("authorization", ""))
        if not known and scope["path"] != OWN_CHECK:
            return _refused(401, "this page asks for a password", CHALLENGE)
        if CLOSED.fullmatch(scope["path"]):
            return _refused(404, "there is nothing here")
        return None

    def is_own(self, host: str) -> bool:
        """Whether a Host names this machine: none but its own names, so that no other can be made to lead here."""
        name = _name_of(host)
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names or (name.endswith(".localhost") and self.only_here)
        return address.is_loopback if self.only_here else True  # a number leads nowhere else

    def knows(self, authorization: str) -> bool:
        """Whether the password, of whichever user, is in a header."""
        kind, _, encoded = authorization.partition(" ")
        try:
            _, _, given = base64.b64decode(encoded, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given, self.password.encode())

    def _secured(self, send: Send) -> Send:
        """What no other page may do with ours: show it inside itself, or guess the kind of what it holds."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
                own = any(name == b"content-security-policy" for name, _ in message["headers"])
                if not own and not self.in_space:  # which shows it inside the page of the hub
                    more.append((b"content-security-policy", b"frame-ancestors 'self'"))
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return secured

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, whose body has a limit, alone and together with all others under way."""
        length = Headers(scope=scope).get("content-length", "0")
        counted, reserved, started = 0, int(length) if length.isdecimal() else 0, False

        def fits(more: int) -> bool:
            return reserved <= LARGEST_UPLOAD and self.uploading + more <= ALL_UPLOADS

        if not fits(reserved):
            await _refused(413, _too_much())(scope, receive, send)
            return
        self.uploading += reserved

        async def counting() -> Message:
            nonlocal counted, reserved
            message = await receive()
            counted += len(message.get("body", b""))
            if counted > reserved:  # of a body that does not say its length
                more, reserved = counted - reserved, counted
                if not fits(more):
                    reserved -= more
                    raise _TooMuch
                self.uploading += more
            return message

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counting, noting)
        except _TooMuch:
            if not started:
                await _refused(413, _too_much())(scope, receive, send)
        finally:
            self.uploading -= reserved


class _TooMuch(Exception):
    pass


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if re.search(r":\d*$", host) else host


def _too_much() -> str:
    return (
        f"a file may have {LARGEST_UPLOAD // 2**20} MiB, and all that are being sent {ALL_UPLOADS // 2**20} MiB; "
        "send a smaller one, or later"
    )


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(reason, status_code=status, headers=headers)
