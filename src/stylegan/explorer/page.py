"""The explorer's page: Gradio's widgets around `picture.py`. What a user has set lives in that user's page alone."""

import base64
import html
import io
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from stylegan import videos
from stylegan.errors import InputError
from stylegan.explorer import picture
from stylegan.explorer.picture import RANGES, Explorer, Recipe
from stylegan.explorer.server import import_gradio, launch
from stylegan.recipe import seeds_of

if TYPE_CHECKING:
    import gradio

CSS = """
/* the picture stays in sight of the last slider */
.gradio-container { overflow: clip !important; }
#left { position: sticky; top: 0; align-self: flex-start; z-index: 100; background: var(--body-background-fill); }
figure { margin: 0; text-align: center; }
figure img { width: 100%; height: 180px; margin: 0 auto; object-fit: contain; }
#picture img { height: 60vh; min-height: 240px; max-height: 560px; }
@media (max-width: 700px) { #picture img { height: 36vh; } }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)); gap: 8px; }
.figures img { height: auto; }
"""
HEAD = """<script>
// a slider that was moved by keys has been let go, too
document.addEventListener("keyup", event => {
  if (event.target.type === "range") event.target.dispatchEvent(new Event("pointerup", { bubbles: true }))
})
</script>"""
FPS = 30

Values = dict[Any, Any]
"""Argument of functions whose inputs are a set: the value of each of Gradio's components."""


def serve(explorer: Explorer, *, host: str | None = None, port: int | None = None) -> "gradio.Blocks":
    """Serve the page and return at once; `block_thread()` of what is returned waits, `close()` ends it.

    host: an address of this machine; GRADIO_SERVER_NAME where that is set (as Hugging Face does for Spaces), else
    127.0.0.1. port: the first free one from 7860 on. Nothing is sent elsewhere: no telemetry, no fonts, no link.
    Raises InputError where it cannot be served there, and without Gradio.
    """
    blocks = page(explorer)
    launch(blocks, host=host, port=port, css=CSS, head=HEAD)
    return blocks


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
    asked: Any
    """Hidden; a new value asks for a picture."""
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
        """The recipe that they are set to. Raises InputError."""
        own = values[self.noise] == "own"
        return Recipe(
            seed=values[self.seed],
            label=values[self.label],
            psi=values[self.psi],
            cutoff=values[self.cutoff],
            noise="random" if own else values[self.noise],
            noise_seed=None if own else values[self.noise_seed],
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
                shown = gr.HTML(elem_id="picture")
            with gr.Column(min_width=300), gr.Tabs():
                with gr.Tab("Sample"):
                    sample, another = _sample(gr, explorer)
                with gr.Tab("Mix") as mix_tab:
                    mix, another_b, pair = _mix(gr, explorer)
                with gr.Tab("Edit"):
                    edit, undo = _edit(gr, explorer)
                controls = Controls(**sample, **mix, **edit)
                with gr.Tab("Walk"):
                    _walk(gr, explorer, controls)
                with gr.Tab("Project"):
                    _project(gr, explorer, controls)
                if explorer.store is not None:
                    with gr.Tab("Compare"):
                        _compare(gr, explorer, controls)
                with gr.Tab("Save"):
                    _save(gr, explorer, controls)

        _steer(gr, explorer, blocks, controls, shown)
        seeds = controls.seed, controls.start, controls.asked
        another.click(lambda: (random.randrange(10_000), "seed", _again()), outputs=seeds)
        controls.seed.input(lambda: ("seed", _again()), outputs=seeds[1:], trigger_mode="always_last")
        another_b.click(lambda: (random.randrange(10_000), _again()), outputs=[controls.other_seed, controls.asked])
        undo.click(lambda: [0.0] * len(controls.strengths) + [_again()], outputs=[*controls.strengths, controls.asked])

        def mixed(values: Values) -> str:
            with _in_the_page():
                return _pair(explorer, controls.recipe(values))

        shown_pair = [mix_tab.select, controls.other_seed.change]
        gr.on(shown_pair, mixed, controls.all, pair, trigger_mode="always_last", show_progress="hidden")
    return blocks


def _sample(gr: Any, explorer: Explorer) -> tuple[dict[str, Any], Any]:
    generator, classes = explorer.generator, explorer.generator.config.label_count
    layers = len(_layer_resolutions(explorer))
    names = explorer.store.label_names if explorer.store else ()
    titles = names if len(names) == classes else range(classes)
    controls = {
        "found": gr.State(),
        "asked": gr.State(),
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
        value=generator.truncation.psi,
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
        value=min(8 if generator.truncation.cutoff is None else generator.truncation.cutoff, layers),
        step=1,
        precision=0,
        label="Truncated layers, from the coarsest",
        visible=generator.config.use_styles,
    )
    controls["noise"] = gr.Radio(
        [("the seed's own", "own"), ("from another seed", "random"), ("the network's own", "const"), ("none", "none")],
        value="own",
        label="Noise",
        visible=generator.config.use_noise,
        elem_id="noise",
    )
    controls["noise_seed"] = gr.Slider(
        0, 100, value=0, step=1, precision=0, label="Seed of the noise", visible=generator.config.use_noise
    )
    return controls, another


def _mix(gr: Any, explorer: Explorer) -> tuple[dict[str, Any], Any, Any]:
    ranges, sizes = explorer.ranges, _layer_resolutions(explorer)
    if ranges:
        ends = {name: dict.fromkeys((sizes[layers[0]], sizes[layers[-1]])) for name, layers in ranges.items()}
        spans = {name: f" ({'–'.join(map(str, both))})" for name, both in ends.items()}
        gr.Markdown("How much of B is in A: its coarse styles are pose and shape, its fine ones color.")
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
    pair = gr.HTML(visible=bool(ranges), elem_id="pair")
    return {"other_seed": other_seed, "mixed": mixed}, another, pair


def _pair(explorer: Explorer, recipe: Recipe) -> str:
    """The pictures that are mixed, as they are."""
    a = replace(recipe, mixed=(0.0, 0.0, 0.0), strengths=())
    return _figures(
        (picture.picture(explorer, a), "A"),
        (picture.picture(explorer, replace(a, seed=recipe.other_seed, found=None)), "B"),
    )


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


def _again() -> float:
    """A new value for what asks for a picture."""
    return random.random()


def _steer(gr: Any, explorer: Explorer, blocks: Any, controls: Controls, shown: Any) -> None:
    """Every control changes the picture; what sets controls from here sets `asked`, too."""
    colors = gr.State()  # of the last whole picture, for previews

    def whole(values: Values) -> tuple:
        with _in_the_page():
            recipe = controls.recipe(values)
            drawn = picture.draw(explorer, recipe)
            fitted = None if explorer.trunk is None else picture.colours_of(explorer, recipe, drawn)
        return _figure(picture.seen(explorer, drawn), picture.describe(explorer, recipe)), fitted

    def moving(values: Values) -> str:
        if values[colors] is None:
            return gr.skip()
        with _in_the_page():
            recipe = controls.recipe(values)
            image = picture.preview(explorer, recipe, values[colors])
            return _figure(image, f"{picture.describe(explorer, recipe)} · preview")

    # One event draws all whole pictures, the last that was asked for last: requests of a moment arrive in any order.
    how = {"show_progress": "hidden", "concurrency_id": "picture", "api_visibility": "private"}
    redraw = {"fn": whole, "inputs": controls.all, "outputs": [shown, colors], "trigger_mode": "always_last", **how}
    moves = [slider.input for slider in controls.sliders]
    settled = [slider.release for slider in controls.sliders]
    settled += [each.input for each in (controls.label, controls.noise, controls.start, controls.edited, controls.held)]
    settled.append(controls.other_seed.input)
    if explorer.trunk is None:
        gr.on([*moves, *settled, controls.asked.change], **redraw)
    else:  # previews are not put off ("once"), and the whole picture comes a round trip later: none can follow it
        gr.on(moves, moving, controls.all | {colors}, shown, trigger_mode="once", **how)
        gr.on(settled, _again, outputs=controls.asked, trigger_mode="always_last", **how)
        controls.asked.change(**redraw)
    blocks.load(_again, outputs=controls.asked)


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
            stops = seeds_of(values[seeds])
            drawn = picture.walk(explorer, recipe, stops, values[route], frames)
            file = Path(folder, "walk.mp4")
            videos.write(file, progress.tqdm(drawn, total=frames, unit="frames"), fps=FPS)
            yield str(file)

    make.click(walk, controls.all | {seeds, route, seconds}, film, api_visibility="private")


def _project(gr: Any, explorer: Explorer, controls: Controls) -> None:
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
    able = picture.finds_faces()
    face = gr.Checkbox(
        able and explorer.fit == "face",
        label="Find the face in it and align it as FFHQ's are",
        visible=able,
        elem_id="face",
    )
    with gr.Row():
        start = gr.Button("Project", variant="primary", elem_id="project", min_width=100)
        stop = gr.Button("Stop", min_width=100)
    photograph = gr.HTML(elem_id="photograph")
    result = [controls.asked, controls.found, controls.start, controls.noise, *controls.mixed, *controls.strengths]

    def hold(w: Any) -> list[Any]:
        """Updates that show what was found, and nothing else in the picture."""
        rest = [0.0] * (len(controls.mixed) + len(controls.strengths))
        return [_again(), w, gr.Radio(value="found", visible=True), "const", *rest]

    def project(values: Values) -> Iterator[list[Any]]:
        file, label, total = values[upload], values[controls.label], values[steps]
        with _in_the_page():
            if file is None:
                raise InputError("there is nothing to project yet; choose a photograph first")
            if Path(file).suffix in (".safetensors", ".npy"):
                yield ["", *hold(picture.read_latent(explorer, file, label))]
                return
            target = picture.read_photograph(explorer, file, values[face])
            real = picture.seen(explorer, target)
            yield [_figure(real, "looking for where to begin"), *[gr.skip()] * len(result)]
            for step, w, psnr in picture.find(explorer, target, label, values[space], total):
                if step % 10 == 0:
                    yield [_figure(real, f"step {step} of {total}, PSNR {psnr:.1f} dB"), *hold(w)]

    inputs = {controls.label, upload, space, steps, face}
    how = {"show_progress": "minimal", "show_progress_on": photograph, "api_visibility": "private"}
    running = start.click(project, inputs, [photograph, *result], **how)
    running.success(_again, outputs=controls.asked)  # the last values reach the page after they have asked
    stop.click(None, cancels=running)


def _compare(gr: Any, explorer: Explorer, controls: Controls) -> None:
    gr.Markdown(
        "The training images nearest to the picture, each with its number and its distance (root mean square at "
        "16 × 16, of 255). Has the model learned it by heart?"
    )
    button = gr.Button("Find them", variant="primary", elem_id="compare")
    near = gr.HTML(elem_id="near")

    def compare(values: Values) -> str:
        with _in_the_page():
            return _figures(*picture.nearest(explorer, controls.recipe(values)))

    button.click(compare, controls.all, near, api_visibility="private")


def _save(gr: Any, explorer: Explorer, controls: Controls) -> None:
    gr.Markdown("The picture as PNG, pixel by pixel, and its w, for Project and `stylegan generate --latents FILE`.")
    button = gr.Button("Make the files", variant="primary", elem_id="save")
    files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")

    def save(values: Values) -> Iterator[list[str]]:
        with _in_the_page(), tempfile.TemporaryDirectory() as folder:
            yield picture.save(explorer, controls.recipe(values), Path(folder))

    button.click(save, controls.all, files, api_visibility="private")


def _figure(image: Image.Image, caption: str) -> str:
    """An image in the page itself: a moving slider leaves no files behind, and nobody else can fetch it."""
    file = io.BytesIO()
    image.save(file, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<figure><img src="{source}" alt=""><figcaption>{html.escape(caption)}</figcaption></figure>'


def _figures(*pictures: tuple[Image.Image, str]) -> str:
    return f'<div class="figures">{"".join(_figure(*each) for each in pictures)}</div>'


def _layer_resolutions(explorer: Explorer) -> list[int]:
    return explorer.generator.synthesis.layer_resolutions(explorer.generator.synthesis.grown.resolution)


@contextmanager
def _in_the_page() -> Iterator[None]:
    """Show an InputError, which the user can mend, in the page."""
    try:
        yield
    except InputError as error:
        raise import_gradio().Error(str(error), print_exception=False) from error
