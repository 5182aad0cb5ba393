"""Models on the Hugging Face Hub: hf://user/model, or hf://user/model@revision.

File names are the conventions' of `huggingface_hub.PyTorchModelHubMixin`. Access tokens, caches and the offline mode
are that library's affair: `hf auth login`, HF_HOME, HF_HUB_OFFLINE.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stylegan.errors import InputError

MODEL_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"


class Repo(NamedTuple):
    """A model on the hub."""

    id: str
    """user/model"""
    revision: str | None
    """A branch, tag or commit; None for the newest."""


def is_hub_name(name: Path | str) -> bool:
    """Whether a model is named by its place on the hub."""
    return str(name).startswith("hf:/")  # pathlib makes one slash of two


def repo_of(name: Path | str) -> Repo:
    """hf://user/model@revision, or user/model, in its parts. Raises InputError for anything else."""
    found = re.fullmatch(r"(?:hf://?)?([\w.-]+/[\w.-]+)(?:@([^@\s]+))?", str(name), re.ASCII)
    if found is None:
        raise InputError(f"{name} names no model on the hub; write hf://user/model or hf://user/model@revision")
    return Repo(*found.groups())


def download(name: Path | str) -> Path:
    """The model file of a repository, in huggingface_hub's cache. Raises InputError where it cannot be had."""
    repo = repo_of(name)
    hub = _library()
    with _one_sentence(repo):
        return Path(hub.hf_hub_download(repo.id, MODEL_FILE, revision=repo.revision))


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Send a folder's files to a repository in one commit, making it if there is none; returns its address.

    Raises InputError where that fails, and where `private` is asked for but the repository is public.
    """
    repo = repo_of(name)
    hub = _library()
    with _one_sentence(repo):
        api = hub.HfApi()
        url = api.create_repo(repo.id, private=private or None, exist_ok=True)
        if private and not api.model_info(repo.id).private:
            raise InputError(f"{repo.id} exists and is public; make it private in its settings, or choose another name")
        files = [hub.CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
        api.create_commit(repo.id, files, commit_message="Add a StyleGAN")
    return str(url)


def _library():
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs huggingface_hub: pip install 'stylegan[hub]'") from None
    return huggingface_hub


@contextmanager
def _one_sentence(repo: Repo) -> Iterator[None]:
    """Turn what the hub and its library refuse into one sentence for the user."""
    from huggingface_hub import errors

    try:
        yield
    except InputError:  # ours already
        raise
    except errors.GatedRepoError:
        raise InputError(f"{repo.id} asks for consent first: give it on the model's page, and log in") from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"there is no model {repo.id} on the hub that you may see; check the name, or log in: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{repo.id} has no revision {repo.revision}") from None
    except errors.LocalEntryNotFoundError as error:
        raise InputError(f"the hub cannot be reached, and {repo.id} is not in its cache; go online once") from error
    except errors.EntryNotFoundError:
        raise InputError(f"{repo.id} holds no {MODEL_FILE}; it is not a model of this program") from None
    # errors.HTTPError is that of whichever HTTP library is in use; a RuntimeError comes from a broken upload
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise InputError(
                f"the hub refuses this for {repo.id}; log in as somebody who may: hf auth login"
            ) from error
        raise InputError(f"the hub refuses {repo.id}, or cannot be reached: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
