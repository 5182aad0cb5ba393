"""What a wheel and an sdist hold: what they need and nothing else.

python .ci/distributions.py dist [VERSION]
"""

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST = 40 * 10**6  # bytes
NEEDED = ("LICENSE", "README.md", "pyproject.toml", "PKG-INFO", "setup.cfg", "MANIFEST.in")
RUNTIME = "src/stylegan/web/runtime"
LICENSES = (
    "LICENSE",
    "src/stylegan/pretrained/mobilenet-v2/LICENSE",
    f"{RUNTIME}/LICENSE",
    f"{RUNTIME}/ThirdPartyNotices.txt",
)


def package_files() -> set[str]:
    """The files of the package, as a wheel names them."""
    source = ROOT / "src"
    kinds = ("*.py", "py.typed", "*.safetensors", "mobilenet-v2/*", "web/page/*", "web/runtime/*")
    found = {path for kind in kinds for path in (source / "stylegan").rglob(kind) if path.is_file()}
    return {path.relative_to(source).as_posix() for path in found if "__pycache__" not in path.parts}


def check_wheel(names: Iterable[str], version: str) -> list[str]:
    """What is wrong with the names in a wheel."""
    names, info = set(names), f"stylegan-{version}.dist-info/"
    own, told = {name for name in names if name.startswith("stylegan/")}, package_files()
    wrong = [f"missing: {name}" for name in sorted(told - own)] + [f"too much: {name}" for name in sorted(own - told)]
    wrong += [f"too much: {name}" for name in sorted(names - own) if not name.startswith(info)]
    return wrong + [f"no license: {n}" for n in LICENSES if f"{info}licenses/{n}" not in names]


def check_sdist(names: Iterable[str], version: str) -> list[str]:
    """What is wrong with the names in an sdist."""
    names = {name.removeprefix(f"stylegan-{version}/") for name in names}
    told = {f"src/{name}" for name in package_files()}
    metadata = {name for name in names if name.startswith("src/stylegan.egg-info/")}
    wrong = [
        f"missing: {name}" for name in sorted(told | {"LICENSE", "README.md", "pyproject.toml"}) if name not in names
    ]
    return wrong + [f"too much: {name}" for name in sorted(names - told - metadata - set(NEEDED))]


def version_of_source() -> str:
    """The version, from the one place where it stands."""
    text = (ROOT / "src/stylegan/__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


def check(folder: Path, version: str) -> list[str]:
    """What is wrong with the wheel and the sdist in a folder."""
    own = version_of_source()
    wrong = [] if version == own else [f"the tag says {version}, the source {own}"]
    wheel, sdist = folder / f"stylegan-{own}-py3-none-any.whl", folder / f"stylegan-{own}.tar.gz"
    with zipfile.ZipFile(wheel) as file:
        wrong += [f"{wheel.name}: {what}" for what in check_wheel(file.namelist(), own)]
    with tarfile.open(sdist) as file:
        files = [member.name for member in file.getmembers() if member.isfile()]
        wrong += [f"{sdist.name}: {what}" for what in check_sdist(files, own)]
    return wrong + [f"{f.name} has {f.stat().st_size} bytes" for f in (wheel, sdist) if f.stat().st_size > LARGEST]


if __name__ == "__main__":
    faults = check(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else version_of_source())
    print("\n".join(faults) or "wheel and sdist hold what they need and nothing else")
    sys.exit(bool(faults))
