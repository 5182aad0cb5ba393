"""Images and words in one space: CLIP (Radford et al., 2021), frozen, for directions that are given in words.

The network is that of transformers, its weights are OpenAI's ViT-B/32, which `stylegan fetch clip` puts into the cache.
They are read as data; nothing is downloaded here.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.downloads import fetched
from stylegan.errors import InputError
from stylegan.interop import torch_files
from stylegan.metrics.stream import to_rgb

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pixels that it was trained on, and their deviation
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 77  # tokens of a text


class Clip(nn.Module):
    """A network that looks at images and reads texts: vectors [N, F] of length 1, near where they mean the same."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Any, tokenizer, side: int = 224) -> None:
        """network: with `get_image_features` and `get_text_features`, as transformers' CLIPModel. tokenizer: with
        `encode`, as that of tokenizers. side: height and width of the images that it takes."""
        super().__init__()
        self.network, self.tokenizer, self.side = network.eval().requires_grad_(False), tokenizer, side
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    @torch.no_grad()
    def of_images(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1] -> [N, F]"""
        x = (to_rgb(images).float().clamp(-1, 1) + 1) / 2
        x = F.interpolate(x, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        return _unit(self.network.get_image_features(pixel_values=(x - self.mean) / self.deviation))

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [N, F]. Raises InputError for one that is empty or too long."""
        vectors = []
        for text in texts:
            tokens = self.tokenizer.encode(text).ids
            if not text.strip() or len(tokens) > LONGEST:
                raise InputError(
                    f"the text {text[:60]!r} has {len(tokens)} tokens; write some words, at most {LONGEST}"
                )
            ids = torch.tensor([tokens], device=self.mean.device)
            vectors.append(_unit(self.network.get_text_features(input_ids=ids)))
        return torch.cat(vectors)


def _unit(found) -> Tensor:
    """Of length 1. Newer versions of transformers give the vectors with others."""
    return F.normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=1)


def load_clip() -> Clip:
    """CLIP with the weights in the cache. Raises InputError where these, or transformers, are missing."""
    weights, words = fetched("clip")
    try:
        from tokenizers import Tokenizer
        from transformers import CLIPConfig, CLIPModel
    except ImportError as error:
        raise InputError(
            f"directions in words need transformers ({error}); install it with: pip install 'stylegan[text]'"
        ) from None
    network = CLIPModel(CLIPConfig())  # whose defaults are those of ViT-B/32
    state = {name: tensor for name, tensor in torch_files.load(weights).items() if not name.endswith("position_ids")}
    wrong = network.load_state_dict(state, strict=False)
    left_out = [name for name in (*wrong.missing_keys, *wrong.unexpected_keys) if not name.endswith("position_ids")]
    if left_out:
        raise InputError(f"this version of transformers does not take the weights of CLIP ({left_out[0]}); try another")
    return Clip(network, Tokenizer.from_file(str(words)))
