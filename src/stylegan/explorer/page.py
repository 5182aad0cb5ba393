"""The explorer's page: Gradio serves it, and a component of our own (`web/`) is what is seen of it.

What a user has set stands in the address of that user's page alone; every answer depends on the request.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stylegan.explorer.models import Shelf
from stylegan.explorer.picture import Explorer
from stylegan.explorer.server import import_gradio, launch, temporary_folder, wait

if TYPE_CHECKING:
    import gradio

__all__ = ["import_gradio", "page", "serve", "wait"]

WEB = Path(__file__).parent / "web"

HEAD = """
<style>
html, body { margin: 0; height: 100%; overscroll-behavior: none; }
stylegan-explorer { position: fixed; inset: 0; z-index: 1000; display: block; }
</style>
<script>
// the look that was chosen, before anything is drawn
try { document.documentElement.dataset.look = localStorage.getItem("stylegan-look") || "" } catch {}
</script>
"""


def head() -> str:
    """What goes into the page's <head>: the component, all of its files asked for at once."""
    files = sorted(path.name for path in WEB.glob("*.js"))
    links = "".join(f'<link rel="modulepreload" href="explorer/web/{name}">\n' for name in files)
    return f'{HEAD}{links}<script type="module" src="explorer/web/main.js"></script>\n'


def serve(
    explorer: Explorer | Shelf,
    *,
    host: str | None = None,
    port: int | None = None,
    names: Iterable[str] = (),
    password: str | None = None,
    favorites: Path | None = None,
) -> "gradio.Blocks":
    """Serve the page and return at once; `wait` waits, `close()` of what is returned ends it.

    host: an address of this machine; GRADIO_SERVER_NAME where that is set (as Hugging Face does for Spaces), else
    127.0.0.1. port: the first free one from 7860 on. names: of hosts by which it may be asked, besides this machine's
    own. password: what the page asks for; None for nothing. favorites: file to keep them in, for all users; None for
    each user's browser. Nothing is sent elsewhere: no telemetry, no fonts, no link. Raises InputError where it cannot
    be served there, and without Gradio.
    """
    import_gradio()
    from stylegan.explorer.favorites import Favorites
    from stylegan.explorer.routes import Service

    shelf = explorer if isinstance(explorer, Shelf) else Shelf.of(explorer)
    service = Service(shelf, None if favorites is None else Favorites(favorites), temporary_folder())
    blocks = page(shelf.open().name)
    how = {"host": host, "port": port, "names": names, "password": password}
    launch(blocks, routes=[service.mounted()], head=head(), **how)
    return blocks


def page(title: str) -> "gradio.Blocks":
    """A page behind the component (`web/main.js`), which covers it."""
    gr = import_gradio()
    with gr.Blocks(title=f"stylegan: {title}", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML("The explorer is a script: let this page run scripts.")
    return blocks
