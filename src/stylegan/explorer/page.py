"""The explorer's page: Gradio's widgets around `picture.py`. What a user has set lives in that user's page alone."""

import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylegan import video
from stylegan.errors import InputError
from stylegan.explorer import picture
from stylegan.explorer.picture import RANGES, Explorer, Recipe

if TYPE_CHECKING:
    import gradio

CSS = """
/* the picture stays in sight of the last slider */
.gradio-container { overflow: clip !important; }
#left { position: sticky; top: 0; align-self: flex-start; z-index: 100; background: var(--body-background-fill); }
#picture { height: 60vh; max-height: 560px; min-height: 240px; }
.drawn img { width: 100%; height: 100%; object-fit: contain; }
@media (max-width: 700px) {
  #picture { height: 36vh; }
  #left { gap: 4px; padding-bottom: 4px; }
}
"""
HEAD = """<script>
// a slider that was moved by keys has been let go, too
document.addEventListener("keyup", event => {
  if (event.target.type === "range") event.target.dispatchEvent(new Event("pointerup", { bubbles: true }))
})
</script>"""
FPS = 30

Values = dict[Any, Any]
"""What Gradio gives to a function whose inputs are a set: the value of each component."""


def serve(explorer: Explorer, *, host: str | None = None, port: int | None = None) -> "gradio.Blocks":
    """Serve the page and return at once; `block_thread()` of what is returned waits, `close()` ends it.

    host: 127.0.0.1, unless given or set by GRADIO_SERVER_NAME (as Hugging Face does for Spaces). port: the first free
    one from 7860 on. Nothing is sent elsewhere: no telemetry, no fonts, no link. Raises InputError where it cannot be
    served there, and without Gradio.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    _check_address(host, port)
    blocks, gr = page(explorer), import_gradio()
    blocks.launch(
        server_name=host,
        server_port=port,
        theme=gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
        css=CSS,
        head=HEAD,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        max_file_size="50mb",
        footer_links=[],
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
    )
    return blocks


def _check_address(host: str, port: int | None) -> None:
    if port is not None and not 0 < port < 2**16:
        raise InputError(f"{port} is no port; choose one from 1 to 65535")
    try:
        family = socket.getaddrinfo(host, port or 0)[0][0]
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        place = f"port {port} of {host}" if port else host
        raise InputError(f"nothing can be served at {place}: {error.strerror}; choose another") from error


# --- the page


@dataclass(frozen=True, eq=False)
class Controls:
    """The widgets that say what is in the picture."""

    seed: Any
    label: Any
    psi: Any
    cutoff: Any
    noise: Any
    noise_seed: Any
    start: Any
    found: Any
    other_seed: Any
    mixed: list[Any]
    edited: Any
    held: Any
    strengths: list[Any]

    @property
    def sliders(self) -> list[Any]:
        return [self.psi, self.cutoff, self.noise_seed, *self.mixed, *self.strengths]

    @property
    def all(self) -> set[Any]:
        rest = {self.seed, self.label, self.noise, self.start, self.found, self.other_seed, self.edited, self.held}
        return rest | set(self.sliders)

    def recipe(self, values: Values) -> Recipe:
        """What they say. Raises InputError."""
        return Recipe(
            seed=values[self.seed],
            label=values[self.label],
            psi=values[self.psi],
            cutoff=values[self.cutoff],
            noise=values[self.noise],
            noise_seed=values[self.noise_seed],
            found=values[self.found] if values[self.start] == "found" else None,
            other_seed=values[self.other_seed],
            mixed=tuple(values[slider] for slider in self.mixed),
            edited=tuple(values[self.edited]),
            held=tuple(values[self.held]),
            strengths=tuple(values[slider] for slider in self.strengths),
        )


def page(explorer: Explorer) -> "gradio.Blocks":
    """The picture on the left (on a phone above), and what steers it in tabs beside it."""
    gr = import_gradio()
    with gr.Blocks(title=f"stylegan: {explorer.name}", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        with gr.Row():
            with gr.Column(elem_id="left", min_width=300):
                shown = _image(gr, show_label=False, buttons=["fullscreen"], elem_id="picture")
                caption = gr.Markdown(elem_id="caption")
                colours = gr.State()
            with gr.Column(min_width=300), gr.Tabs():
                with gr.Tab("Sample"):
                    sample, another = _sample(gr, explorer)
                with gr.Tab("Mix") as mix_tab:
                    mix, another_b, pair = _mix(gr, explorer)
                with gr.Tab("Edit"):
                    edit, undo = _edit(gr, explorer)
                controls = Controls(**sample, **mix, **edit)
                redraw = _steer(gr, explorer, blocks, controls, [shown, caption, colours])
                with gr.Tab("Walk"):
                    _walk(gr, explorer, controls)
                with gr.Tab("Project"):
                    _project(gr, explorer, controls, shown, redraw)
                if explorer.store is not None:
                    with gr.Tab("Compare"):
                        _compare(gr, explorer, controls)
                with gr.Tab("Save"):
                    _save(gr, explorer, controls)

        other_start = [controls.seed, controls.start]
        another.click(lambda: (random.randrange(10_000), "seed"), outputs=other_start).then(**redraw)
        controls.seed.input(lambda: "seed", outputs=controls.start).then(**redraw)
        undo.click(lambda: [0.0] * len(controls.strengths), outputs=controls.strengths).then(**redraw)
        two = {"fn": lambda values: _pair(explorer, controls.recipe(values)), "inputs": controls.all, "outputs": pair}
        another_b.click(lambda: random.randrange(10_000), outputs=controls.other_seed).then(**redraw).then(**two)
        gr.on([mix_tab.select, controls.other_seed.input], **two, trigger_mode="always_last", show_progress="hidden")
    return blocks


def _sample(gr: Any, explorer: Explorer) -> tuple[dict[str, Any], Any]:
    generator, classes = explorer.generator, explorer.generator.config.label_count
    layers = len(_layer_resolutions(explorer))
    names = explorer.store.label_names if explorer.store else ()
    titles = names if len(names) == classes else range(classes)
    controls = {
        "found": gr.State(),
        "start": gr.Radio(
            [("the seed", "seed"), ("what was found", "found")], value="seed", label="Begin with", visible=False
        ),
    }
    with gr.Row(equal_height=True):
        controls["seed"] = gr.Number(0, label="Seed", precision=0, elem_id="seed", min_width=120)
        another = gr.Button("Random", elem_id="another", min_width=80, scale=0)
    controls["label"] = gr.Dropdown(
        [(str(title), number) for number, title in enumerate(titles)],
        value=0 if classes else None,
        label="Class",
        visible=classes > 0,
        elem_id="class",
    )
    controls["psi"] = gr.Slider(
        -1,
        1.5,
        value=0.7 if generator.has_w else 1,
        step=0.01,
        label="Truncation ψ",
        info="1: full variety; 0: the average; below: its opposite"
        if generator.has_w
        else "A traditional generator without mapping layers has no W to truncate in.",
        interactive=generator.has_w,
        elem_id="psi",
    )
    controls["cutoff"] = gr.Slider(
        0,
        layers,
        value=min(8, layers),
        step=1,
        precision=0,
        label="Truncated layers, from the coarsest",
        visible=generator.config.use_styles,
    )
    controls["noise"] = gr.Radio(
        [("from a seed", "random"), ("the network's own", "const"), ("none", "none")],
        value="random",
        label="Noise",
        visible=generator.config.use_noise,
        elem_id="noise",
    )
    controls["noise_seed"] = gr.Slider(
        0, 100, value=0, step=1, precision=0, label="Seed of the noise", visible=generator.config.use_noise
    )
    return controls, another


def _mix(gr: Any, explorer: Explorer) -> tuple[dict[str, Any], Any, list[Any]]:
    ranges, sizes = explorer.ranges, _layer_resolutions(explorer)
    if ranges:
        ends = {name: dict.fromkeys((sizes[layers[0]], sizes[layers[-1]])) for name, layers in ranges.items()}
        spans = {name: f" ({'–'.join(map(str, both))})" for name, both in ends.items()}
        gr.Markdown("How much of B is in A: its coarse styles are pose and shape, its fine ones colour.")
    else:
        spans = dict.fromkeys(RANGES, "")
        gr.Markdown("This generator has no styles to mix, or too few layers to tell coarse from fine.")
    with gr.Row(visible=bool(ranges), equal_height=True):
        other_seed = gr.Number(1, label="Seed of B", precision=0, elem_id="other-seed", min_width=120)
        another = gr.Button("Random", min_width=80, scale=0)
    mixed = [
        gr.Slider(0, 1, value=0, step=0.01, label=name.capitalize() + spans[name], visible=bool(ranges), elem_id=name)
        for name in RANGES
    ]
    with gr.Row(visible=bool(ranges)):
        pair = [_image(gr, label=name.upper(), height=160, min_width=100, buttons=[], elem_id=name) for name in "ab"]
    return {"other_seed": other_seed, "mixed": mixed}, another, pair


def _pair(explorer: Explorer, recipe: Recipe) -> list[Any]:
    """The pictures that are mixed, as they are."""
    a = replace(recipe, mixed=(0.0, 0.0, 0.0), strengths=())
    with _in_the_page():
        return [picture.picture(explorer, each) for each in (a, replace(a, seed=recipe.other_seed, found=None))]


def _edit(gr: Any, explorer: Explorer) -> tuple[dict[str, Any], Any]:
    edited = gr.CheckboxGroup(
        list(RANGES),
        value=list(RANGES),
        label="Styles that are edited",
        visible=bool(explorer.ranges),
        elem_id="edited",
    )
    with gr.Row():
        strengths = [
            gr.Slider(-6, 6, value=0, step=0.1, label=name.replace("_", " "), min_width=240, elem_id=f"edit-{name}")
            for name in explorer.directions.names
        ]
    held = gr.Dropdown(
        list(explorer.directions.names),
        value=[],
        multiselect=True,
        label="Leave alone",
        info="Edits go at right angles to these directions.",
    )
    return {"edited": edited, "held": held, "strengths": strengths}, gr.Button("Undo all edits")


def _steer(gr: Any, explorer: Explorer, blocks: Any, controls: Controls, screen: list[Any]) -> dict[str, Any]:
    """Every control changes the picture. Returns how it is drawn again, for what sets controls from here.

    screen: the picture, its caption, and the colours for previews.
    """
    *seen, colours = screen

    def whole(values: Values) -> tuple:
        with _in_the_page():
            recipe = controls.recipe(values)
            drawn = picture.draw(explorer, recipe)
            fitted = None if explorer.trunk is None else picture.colours_of(explorer, recipe, drawn)
        return picture.seen(explorer, drawn), picture.describe(explorer, recipe), fitted

    def moving(values: Values) -> tuple:
        if values[colours] is None:
            return gr.skip(), gr.skip()
        with _in_the_page():
            recipe = controls.recipe(values)
            text = f"{picture.describe(explorer, recipe)} · preview"
            return picture.preview(explorer, recipe, values[colours]), text

    # one queue, so that pictures come in the order in which they were asked for
    how = {"show_progress": "hidden", "concurrency_id": "picture", "api_visibility": "private"}
    redraw = {"fn": whole, "inputs": controls.all, "outputs": screen, **how}
    moves = [slider.input for slider in controls.sliders]
    settled = [slider.release for slider in controls.sliders]
    settled += [each.input for each in (controls.label, controls.noise, controls.start, controls.edited, controls.held)]
    settled.append(controls.other_seed.input)
    if explorer.trunk is None:
        gr.on(moves + settled, trigger_mode="always_last", **redraw)
    else:  # "once": what is put off until a preview is done would come after the whole picture
        gr.on(moves, moving, controls.all | {colours}, seen, trigger_mode="once", **how)
        gr.on(settled, trigger_mode="always_last", **redraw)
    blocks.load(**redraw)
    return redraw


def _walk(gr: Any, explorer: Explorer, controls: Controls) -> None:
    gr.Markdown("A video from the picture to those of other seeds. Mixed styles and edits stay as they are.")
    seeds = gr.Textbox("1, 2, 3", label="Seeds to go to", elem_id="walk-seeds")
    route = gr.Radio([("and back, smoothly", "cubic"), ("to the last one", "linear")], value="cubic", label="Route")
    seconds = gr.Slider(1, 30, value=8, step=1, label="Seconds", elem_id="seconds")
    make = gr.Button("Make the video", variant="primary", elem_id="walk")
    film = gr.Video(label="The walk", height=320, autoplay=True, loop=True, buttons=["download"], elem_id="film")

    def walk(values: Values, progress: Any = gr.Progress()) -> Iterator[str]:  # noqa: B008  (Gradio looks for it there)
        with _in_the_page(), tempfile.TemporaryDirectory() as folder:
            recipe, frames = controls.recipe(values), round(values[seconds] * FPS)
            stops = picture.seeds_of(values[seeds])
            drawn = picture.walk(explorer, recipe, stops, values[route], frames)
            file = Path(folder, "walk.mp4")
            video.write(file, progress.tqdm(drawn, total=frames, unit="frames"), fps=FPS)
            yield str(file)

    make.click(walk, controls.all | {seeds, route, seconds}, film, api_visibility="private")


def _project(gr: Any, explorer: Explorer, controls: Controls, shown: Any, redraw: dict[str, Any]) -> None:
    gr.Markdown("Finds the picture that is nearest to a photograph, to mix it, edit it and walk from it.")
    upload = gr.File(
        label="A photograph, or saved latents",
        file_types=["image", ".safetensors", ".npy"],
        height=140,
        elem_id="upload",
    )
    with gr.Row():
        space = gr.Radio([("w+: closer", "w+"), ("w: easier to edit", "w")], value="w+", label="Space", min_width=140)
        steps = gr.Slider(20, 1000, value=300, step=20, precision=0, label="Steps", min_width=140, elem_id="steps")
    with gr.Row():
        start = gr.Button("Project", variant="primary", elem_id="project", min_width=100)
        stop = gr.Button("Stop", min_width=100)
    told = gr.Markdown(elem_id="told")
    photograph = _image(gr, label="What is projected", height=200, buttons=[])
    result = [controls.found, controls.start, controls.noise, *controls.mixed, *controls.strengths]

    def hold(w: Any) -> list[Any]:
        """What was found, and nothing else in the picture."""
        rest = [0.0] * (len(controls.mixed) + len(controls.strengths))
        return [w, gr.Radio(value="found", visible=True), "const", *rest]

    def project(values: Values) -> Iterator[list[Any]]:
        file, label, total = values[upload], values[controls.label], values[steps]
        with _in_the_page():
            if file is None:
                raise InputError("there is nothing to project yet; choose a photograph first")
            if Path(file).suffix in (".safetensors", ".npy"):
                yield [None, "", gr.skip(), *hold(picture.read_latent(explorer, file, label))]
                return
            real = picture.read_photograph(explorer, file)
            yield [picture.seen(explorer, real), "looking for where to begin", *[gr.skip()] * (len(result) + 1)]
            for step, w, drawn, psnr in picture.find(explorer, real, label, values[space], total):
                if step % 10 == 0:
                    yield [gr.skip(), f"step {step} of {total}, PSNR {psnr:.1f} dB", drawn, *hold(w)]

    inputs = {controls.label, upload, space, steps}
    outputs = [photograph, told, shown, *result]
    running = start.click(
        project, inputs, outputs, show_progress="minimal", show_progress_on=photograph, api_visibility="private"
    )
    running.success(**redraw)
    stop.click(None, cancels=running)


def _compare(gr: Any, explorer: Explorer, controls: Controls) -> None:
    gr.Markdown(
        "The training images nearest to the picture, each with its number and its distance (root mean square at "
        "16 × 16, of 255). Has the model learnt it by heart?"
    )
    button = gr.Button("Find them", variant="primary", elem_id="compare")
    near = gr.Gallery(show_label=False, columns=4, height="auto", object_fit="contain", elem_id="near", buttons=[])

    def compare(values: Values) -> list[Any]:
        with _in_the_page():
            return picture.nearest(explorer, controls.recipe(values))

    button.click(compare, controls.all, near, api_visibility="private")


def _save(gr: Any, explorer: Explorer, controls: Controls) -> None:
    gr.Markdown("The picture as PNG, pixel by pixel, and its w, for Project and `stylegan generate --latents FILE`.")
    button = gr.Button("Make the files", variant="primary", elem_id="save")
    files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")

    def save(values: Values) -> Iterator[list[str]]:
        with _in_the_page(), tempfile.TemporaryDirectory() as folder:
            yield picture.save(explorer, controls.recipe(values), Path(folder))

    button.click(save, controls.all, files, api_visibility="private")


def _image(gr: Any, **options: Any) -> Any:
    """A picture that the browser gets as it is, and enlarges."""
    return gr.Image(format="png", interactive=False, elem_classes="drawn", **options)


def _layer_resolutions(explorer: Explorer) -> list[int]:
    return explorer.generator.synthesis.layer_resolutions(explorer.generator.synthesis.grown[0])


@contextmanager
def _in_the_page() -> Iterator[None]:
    """What the user can mend is said in the page."""
    try:
        yield
    except InputError as error:
        raise import_gradio().Error(str(error), print_exception=False) from error


def import_gradio() -> Any:
    """Gradio, which sends nothing home and records nothing. Raises InputError where it is not installed."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_RUN_HISTORY="False")
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"  # no statistics of all events after each of them
    try:
        import gradio
    except ImportError as error:
        raise InputError("the explorer needs gradio; install it with: pip install 'stylegan[app]'") from error
    return gradio
