"""What mkdocs cannot do by itself: links from the pages to files outside docs/ lead to pages that show those files.

A hook of mkdocs (mkdocs.yml). Source files are shown as code with numbered lines, Markdown files as pages.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".json": "json", ".yml": "yaml"}
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")  # of the repository's root, shown at project/


def on_files(files: Files, config) -> Files:
    """Adds a page for every file of the repository that a page links to."""
    wanted = {f"project/{name.lower()}": ROOT / name for name in PAGES}
    pages = [(path, "docs/" + path.relative_to(ROOT / "docs").as_posix()) for path in (ROOT / "docs").rglob("*.md")]
    pages += [(ROOT / name, name) for name in PAGES]
    for path, name in pages:
        for match in LINK.finditer(FENCE.sub("", path.read_text(encoding="utf-8"))):
            target = resolve(name, match[2])
            if target and (ROOT / target).is_file() and not target.startswith("docs/") and target not in PAGES:
                wanted[f"source/{target}.md"] = ROOT / target
    for uri, path in sorted(wanted.items()):
        files.append(File.generated(config, uri, content=page_of(path)))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Turns links that leave docs/ to the pages made above."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    name = uri.removeprefix("project/").upper().replace(".MD", ".md") if uri.startswith("project/") else f"docs/{uri}"

    def turned(match: re.Match) -> str:
        target = resolve(name, match[2])
        if target is None or (name == f"docs/{uri}" and target.startswith("docs/")):
            return match[0]
        new = target.removeprefix("docs/")
        if target in PAGES:
            new = f"project/{target.lower()}"
        elif not target.startswith("docs/"):
            new = f"source/{target}.md"
        if not files.get_file_from_path(new):
            return match[0]  # mkdocs says what is wrong with it
        return f"{match[1]}{posixpath.relpath(new, posixpath.dirname(uri) or '.')}{match[3] or ''}{match[4]}"

    parts = re.split(f"({FENCE.pattern})", markdown, flags=FENCE.flags)
    return "".join(part if part.startswith("```") else LINK.sub(turned, part) for part in parts)


def resolve(name: str, target: str) -> str | None:
    """A relative link in the file `name` as a path in the repository; None for other links."""
    if re.match(r"[a-z]+:", target):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return None if path.startswith("..") else path


def page_of(path: Path) -> str:
    """The page that shows a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    name = path.relative_to(ROOT).as_posix()
    language = LANGUAGES.get(path.suffix, "text")
    head = f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# {name}\n\n"
    return f'{head}````{language} linenums="1"\n{text.rstrip()}\n````\n'
