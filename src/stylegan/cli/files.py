"""The commands for files: fetch, import, blend, export, push, info."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from stylegan import share, weights
from stylegan.blending import BlendConfig
from stylegan.blending import blend as blended
from stylegan.classifiers.model import load_classifiers, save_classifiers
from stylegan.cli.arguments import Model, command, say_next
from stylegan.data.store import check_target
from stylegan.describe import describe
from stylegan.downloads import fetch as download
from stylegan.errors import InputError
from stylegan.files import check_output
from stylegan.interop import hub, onnx
from stylegan.web.site import write_site

License = Annotated[str | None, arg(name="license")]


@command
def fetch(
    name: Annotated[str, Positional, arg(metavar="NAME")],
    source: Path | None = None,
) -> None:
    """Download weights into the cache ($STYLEGAN_CACHE, or ~/.cache/stylegan), and check them.

    Args:
        name: inception (for fid, kid, pr and is), lpips (for path lengths), faces (to find them, `--fit face`) or
            clip (605 MB, for directions in words).
        source: Folder that holds the files already, for machines without network.
    """
    for path in download(name, source):
        print(path)


@command
def import_(
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    out: Annotated[Path, Positional, arg(metavar="OUT.safetensors")],
    *,
    classifiers: bool = False,
    data: str = "",
    license_: License = None,
) -> None:
    """Read networks of another program, as data: no code in the file is run. Write them as a model file.

    Args:
        file: Official pickle of StyleGAN or Progressive GAN networks, or checkpoint of genforce or mmgeneration.
        out: File to write.
        classifiers: FILE is an official attribute classifier, or a folder of them.
        data: Name of the training data, for the file's provenance.
        license_: License of the weights, for the file's provenance.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: give the file to write a name that ends with .safetensors")
    check_output(out, "stylegan-classifiers" if classifiers else "stylegan-model", file)
    if classifiers and data:
        raise InputError("--data is for networks that draw; leave it out for classifiers")
    if classifiers:
        found = load_classifiers(file)
        save_classifiers(out, found, notes=f"read from {file.name}; {license_ or ''}".removesuffix("; "))
        words: tuple[Path | str, ...] = ("evaluate", "MODEL", "--metrics", "ls", "--classifiers", out)
    else:
        model = weights.load_model(file)
        told = {name: text for name, text in (("data", data), ("licence", license_)) if text}
        weights.save(out, replace(model, provenance=replace(model.provenance, **told)))
        words = ("generate", out, "--out", "pictures")
    print(f"done: {out}. Next: {say_next(*words)}")


@command
def blend(
    a: Annotated[str, Positional, arg(metavar="A")],
    b: Annotated[str, Positional, arg(metavar="B")],
    out: Annotated[Path, Positional, arg(metavar="OUT.safetensors")],
    *,
    from_: Annotated[int | None, arg(name="from")] = None,
    weight: float | None = None,
    mapping: Literal["a", "b", "average"] | None = None,
) -> None:
    """Blend two models of one family, trained on from the same one: layers of both, or their average.

    Args:
        a: Model whose coarse layers are taken.
        b: Model whose fine layers are taken.
        out: File to write.
        from_: Resolution from which on the layers are those of B. Default: all layers are averaged.
        weight: Share of B in the layers that are blended. Default: 1 with --from, else 0.5.
        mapping: Mapping network: a, b, or average. Default: a with --from, else average.
    """
    paths = [weights.find(model) for model in (a, b)]
    check_output(out, "stylegan-model", *paths)
    first, second = (weights.load_model(path) for path in paths)
    found = blended(first, second, BlendConfig(from_, weight, mapping), [path.name for path in paths])
    weights.save(out, found)
    print(f"done: {out}. Next: {say_next('generate', out, '--out', 'pictures')}")


@command
def export(
    model: Model,
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    web: bool = False,
    directions: Path | None = None,
    part: Literal["all", "mapping", "synthesis"] = "all",
    cutoff: int | None = None,
    half: bool = False,
    only_ema: bool = False,
    without_raw: bool = False,
    license_: License = None,
) -> None:
    """Write a model as a web page, as an ONNX file, which needs nothing of ours to run, or as a smaller model file.

    The page is a folder for any web server: it draws in the visitor's browser and loads nothing from elsewhere. Try it
    with `python -m http.server --directory OUT`.

    Inputs of the ONNX graph, for any number N of images: z [N, z_dim], labels int64 [N] (of a model with classes),
    psi [] (truncation, 1 for none), noise0, noise1, ... [N, 1, R, R] (standard normal, one a layer); its output:
    images [N, C, H, W] in about [-1, 1]. The part mapping takes z, labels and psi to w [N, layers, w_dim]; the
    part synthesis takes w and the noise to images. The file is kept if it draws what this program does.

    Args:
        out: File to write, FILE.onnx or FILE.safetensors; with --web a folder.
        web: Write a web page.
        directions: Web page: file of `stylegan directions find`, for sliders. Default: a bundled model's own, else
            no sliders.
        part: ONNX: the whole generator from z to images, or one of its two networks.
        cutoff: ONNX: number of layers that psi works on. Default: the value stored in the model.
        half: Files: store the weights as float16, half the size. The page does so where it does not show.
        only_ema: safetensors: leave out what only further training needs (the raw generator, the discriminator).
        without_raw: safetensors: leave out the raw generator, as the bundled models do; a training that starts from the
            file takes the average in place of it.
        license_: License of the weights to note in the file, such as CC-BY-4.0. Default: the model's own.
    """
    if without_raw and (web or out.suffix != ".safetensors"):
        raise InputError("--without-raw is for .safetensors; all else holds the average alone anyway")
    if web:
        if half or only_ema or part != "all" or cutoff is not None:
            raise InputError("--web needs neither --part, --cutoff, --half nor --only-ema; leave them out")
        site = write_site(out, model, directions, licence=license_)
        precision = "half" if site.half else "single"
        print(
            f"{out}, {site.bytes / 1e6:.1f} MB; weights in {precision} precision, with which pictures differ by "
            f"{site.difference:.2f} of 255 on average. Look at it: python -m http.server --directory {out}"
        )
        return
    if directions is not None:
        raise InputError("--directions is for the page; leave it out, or give --web")
    if out.suffix not in (".onnx", ".safetensors"):
        raise InputError(
            f"{out} must end in .onnx or .safetensors (or be a folder, with --web); pickles are not written, they can "
            "hold code"
        )
    if out.suffix == ".onnx" and only_ema:
        raise InputError("--only-ema is for .safetensors; an ONNX file holds the EMA alone anyway")
    if out.suffix == ".safetensors" and (part != "all" or cutoff is not None):
        raise InputError("--part and --cutoff are for .onnx; leave them out")
    source = weights.find(model)
    check_output(out, "stylegan-model", source, ending=(".safetensors", ".onnx"))
    found = weights.to_share(weights.load_model(source), licence=license_, only_ema=only_ema, without_raw=without_raw)
    if out.suffix == ".safetensors":
        weights.save(out, found, half=half)
        print(f"{out}, {out.stat().st_size / 1e6:.1f} MB")
        return
    cutoff = found.generator.truncation.cutoff if cutoff is None else cutoff
    provenance = asdict(found.provenance)
    error = onnx.export(out, found.generator, part=part, cutoff=cutoff, half=half, provenance=provenance)
    print(f"{out}, {out.stat().st_size / 1e6:.1f} MB; with onnxruntime it deviates by {error:.1e} from this program")


@command
def push(
    model: Model,
    repository: Annotated[str, Positional, arg(metavar="USER/NAME")],
    *,
    license_: License = None,
    data: str | None = None,
    private: bool = False,
    half: bool = False,
    only_ema: bool = True,
    dry_run: Path | None = None,
) -> None:
    """Publish a model on the Hugging Face Hub, for `stylegan generate hf://USER/NAME` and others.

    Sends the model, its configuration, a picture of samples, and a model card with data set, images seen, scores
    of metrics.jsonl beside the model, and license. Log in first: hf auth login.

    Args:
        repository: Repository to send to, or hf://USER/NAME; it is made if there is none.
        license_: License of the weights, such as CC-BY-4.0. Default: the model file's own.
        data: Name of the training data, USER/NAME if that is on the hub. Default: the name of the store.
        private: Make a repository that only you can see.
        half: Store float16, half the size.
        only_ema: Leave out what only further training needs (the raw generator, the discriminator).
        dry_run: Folder to write everything into instead; nothing is sent.
    """
    if hub.repo_of(repository).revision is not None:
        raise InputError(f"{repository}: models are sent to the main branch; leave the revision out")
    found = weights.find(model)
    shared = weights.to_share(weights.load_model(found), licence=license_, data=data, only_ema=only_ema)
    record = found.parent / "metrics.jsonl" if Path(model).exists() else None
    if dry_run is not None and private:
        raise InputError("--dry-run sends nothing; leave out --private")
    if dry_run is not None:
        check_target(dry_run)
        share.write_folder(dry_run, shared, repository, record, half=half)
        print(f"nothing was sent; {dry_run} holds what would be")
        return
    address = share.publish(shared, repository, record, half=half, private=private)
    print(f"{address}. Next: {say_next('generate', f'hf://{hub.repo_of(repository).id}', '--out', 'pictures')}")


@command
def info(path: Annotated[str, Positional, arg(metavar="FILE")], *, verify: bool = False) -> None:
    """Describe a file or folder, and say by which checksum it was read.

    Args:
        path: Model, training state, store or run; classifiers, directions, latents, an encoder or points to drag;
            picture or video that this program made; name of a bundled model; hf://user/model; or a file that `stylegan
            import` takes.
        verify: Read all images of a store, at all resolutions, and hold them against their checksums. Other files are
            checked by being read.
    """
    for name, value in describe(path, check_pixels=verify).items():
        print(f"{name:<16} {json.dumps(value) if isinstance(value, dict | list) else value}")
