"""Blends of two models: each tensor comes from where it should, and what does not go together is refused."""

import pytest
import torch
from conftest import tiny_generator
from test_cli import refused, run

from stylegan import weights
from stylegan.blending import BlendConfig, blend
from stylegan.errors import InputError
from stylegan.networks.generator import Growth
from stylegan.weights import Model, Provenance


def family(**options) -> tuple[Model, Model]:
    """Two models, the second with other weights and planes."""
    a, b = (tiny_generator(16, **options).requires_grad_(False) for _ in range(2))
    torch.manual_seed(7)
    for tensor in (*b.parameters(), *b.buffers()):
        tensor.normal_()
    a.truncation = a.truncation._replace(psi=0.6)
    return Model(a, Provenance("cats", images_seen=600, licence="CC0")), Model(b, Provenance("dogs", licence="CC BY"))


def share_of(name: str, blended: Model, a: Model, b: Model) -> float:
    ours, first, second = (model.generator.state_dict()[name] for model in (blended, a, b))
    return float(((ours - first) / (second - first)).mean())


def test_layers_of_both():
    a, b = family()
    blended = blend(a, b, BlendConfig(from_=8))
    for name, tensor in blended.generator.state_dict().items():
        coarse = not name.startswith("synthesis") or name.startswith(
            ("synthesis.blocks.4.", "synthesis.noise0", "synthesis.noise1")
        )
        assert torch.equal(tensor, (a if coarse else b).generator.state_dict()[name]), name
    assert blended.generator.truncation.psi == 0.6 and blended.discriminator is None
    swapped = blend(a, b, BlendConfig(from_=8, mapping="b")).generator
    assert torch.equal(swapped.w_avg, b.generator.w_avg)
    assert torch.equal(swapped.mapping.layers[0].weight, b.generator.mapping.layers[0].weight)
    assert torch.equal(swapped.synthesis.blocks["4"].const, a.generator.synthesis.blocks["4"].const)


def test_averages():
    a, b = family()
    name, plane = "synthesis.blocks.16.conv1.weight", "synthesis.noise5"
    for config, share, of_mapping in (
        (BlendConfig(), 0.5, 0.5),
        (BlendConfig(weight=0.25), 0.25, 0.25),
        (BlendConfig(from_=16, weight=0.75), 0.75, 0.0),
        (BlendConfig(weight=0.75, mapping="a"), 0.75, 0.0),
    ):
        blended = blend(a, b, config)
        assert share_of(name, blended, a, b) == pytest.approx(share, abs=1e-3)
        assert share_of("mapping.layers.1.weight", blended, a, b) == pytest.approx(of_mapping, abs=1e-3)
        whole = (b if share > 0.5 else a).generator.state_dict()[plane]
        assert torch.equal(blended.generator.state_dict()[plane], whole)
    assert weights.fingerprint(blend(a, b, BlendConfig(weight=0)).generator) == weights.fingerprint(a.generator)
    assert weights.fingerprint(blend(a, b, BlendConfig(weight=1)).generator) == weights.fingerprint(b.generator)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mapping_layers": 3}, "different shapes .*mapping_layers 2 and 3"),
        ({"channels": 1}, "different shapes .*channels 3 and 1"),
        ({"use_noise": False}, "different shapes"),
    ],
)
def test_other_shapes_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        blend(family()[0], family(**options)[1])


def test_what_else_is_refused():
    a, b = family()
    for wrong in (6, 2, 32):
        with pytest.raises(InputError, match=f"no block of {wrong} x {wrong}"):
            blend(a, b, BlendConfig(from_=wrong))
    with pytest.raises(InputError, match=r"weight is 1\.5"):
        BlendConfig(weight=1.5)
    b.generator.synthesis.grown = Growth(8, 0.0)
    with pytest.raises(InputError, match="have grown to 16 x 16"):
        blend(a, b)


def test_the_command(tmp_path, capsys):
    a, b = family()
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path, model in zip(paths, (a, b), strict=True):
        weights.save(path, model)
    out = tmp_path / "out.safetensors"
    assert run("blend", *paths, out, "--from", "8", "--mapping", "b") == 0
    assert "stylegan generate" in capsys.readouterr().out
    found = weights.load_model(out)
    ours = blend(a, b, BlendConfig(8, mapping="b"), [path.name for path in paths])
    assert weights.fingerprint(found.generator) == weights.fingerprint(ours.generator)
    assert found.provenance == ours.provenance and found.provenance.images_seen == 0
    notes = found.provenance.notes
    assert "a.safetensors" in notes and "from 8 x 8 on" in notes and weights.fingerprint(b.generator) in notes
    assert (found.provenance.data, found.provenance.licence) == ("cats + dogs", "CC0 + CC BY")
    assert run("generate", out, "--seeds", "0", "--out", tmp_path / "pictures") == 0
    assert run("blend", *paths, out, "--weight", "0.5") == 0
    assert "is what is read" in refused(capsys, "blend", *paths, paths[0])
    assert "weight is 3.0" in refused(capsys, "blend", *paths, out, "--weight", "3")
    weights.save(paths[1], family(channels=1)[1])
    assert "different shapes" in refused(capsys, "blend", *paths, out)
