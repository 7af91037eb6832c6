"""LyCORIS kinds in files: each against the dense update of the reference formula, on linear layers and convolutions."""

from functools import partial

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.errors import AdapterFileError, AdapterMatchError

LINEAR = ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", (16, 16))
WIDE = ("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", (128, 16))
CONV = ("down_blocks.2.resnets.0.conv1", (16, 8, 3, 3))
POINT = ("mid_block.attentions.0.proj_in", (16, 16, 1, 1))
LAYERS = pytest.mark.parametrize(("path", "shape"), [LINEAR, WIDE, CONV, POINT], ids=["linear", "wide", "conv", "1x1"])


@pytest.fixture
def load(bases):
    """The factors that a file with these parts gives for one layer, in kohya's names."""

    def of(path: str, **parts: torch.Tensor | float):
        stem = f"lora_unet_{path.replace('.', '_')}"
        tensors = {f"{stem}.{name.replace('__', '.')}": torch.as_tensor(part) for name, part in parts.items()}
        adapter = load_adapter(tensors, name="a", target=bases["sd15"].target)
        assert adapter.receipt.complete
        return adapter.denoiser[path], adapter.receipt.components["denoiser"]

    return of


def close(factors, delta: torch.Tensor) -> None:
    torch.testing.assert_close(factors.delta(), delta, atol=1e-5 * float(delta.abs().max()), rtol=1e-5)


@LAYERS
def test_lora_of_a_rank_above_its_layer_is_folded_without_loss(load, path, shape):
    rank, flat = 40, torch.Size(shape[1:]).numel()
    down, up = torch.randn(rank, *shape[1:]), torch.randn(shape[0], rank, *[1] * (len(shape) - 2))
    factors, receipt = load(path, lora_down__weight=down, lora_up__weight=up, alpha=20.0)
    assert factors.rank == min(shape[0], flat) or factors.rank == rank
    assert receipt.rank == (rank, rank)
    assert receipt.factor_rank == (factors.rank, factors.rank)
    close(factors, 0.5 * (up.flatten(1) @ down.flatten(1)).reshape(shape))


def test_tucker_core_between_the_factors(load):
    path, _ = CONV
    down, mid, up = torch.randn(2, 8, 1, 1), torch.randn(3, 2, 3, 3), torch.randn(16, 3, 1, 1)
    factors, receipt = load(path, lora_down__weight=down, lora_mid__weight=mid, lora_up__weight=up, alpha=1.0)
    close(factors, 0.5 * torch.einsum("op,pqkl,qi->oikl", up.flatten(1), mid, down.flatten(1)))
    assert factors.down.shape == (3, 8, 3, 3)
    assert receipt.kinds == {"tucker": 1}


@LAYERS
def test_loha(load, path, shape, subtests):
    for r1, r2 in [(2, 2), (1, 3), (6, 6)]:
        with subtests.test(r1=r1, r2=r2):
            out, flat = shape[0], torch.Size(shape[1:]).numel()
            a1, b1, a2, b2 = torch.randn(out, r1), torch.randn(r1, flat), torch.randn(out, r2), torch.randn(r2, flat)
            factors, receipt = load(path, hada_w1_a=a1, hada_w1_b=b1, hada_w2_a=a2, hada_w2_b=b2, alpha=1.0)
            close(factors, ((a1 @ b1) * (a2 @ b2) / r1).reshape(shape))
            assert factors.rank == min(r1 * r2, out, flat)
            assert receipt.kinds == {"loha": 1}
            assert receipt.scale == (1 / r1, 1 / r1)


def test_loha_with_tucker_cores(load):
    path, _ = CONV
    r = 2
    w1, w2 = (torch.randn(r, 16), torch.randn(r, 8)), (torch.randn(r, 16), torch.randn(r, 8))
    t1, t2 = torch.randn(r, r, 3, 3), torch.randn(r, r, 3, 3)
    factors, _ = load(
        path, hada_w1_a=w1[0], hada_w1_b=w1[1], hada_t1=t1, hada_w2_a=w2[0], hada_w2_b=w2[1], hada_t2=t2, alpha=3.0
    )
    first, second = (torch.einsum("ijkl,ip,jr->prkl", t, *w) for t, w in ((t1, w1), (t2, w2)))
    close(factors, 1.5 * first * second)


def lokr_parts(shape, *, first: int | None, second: int | None):
    """(parts, dense update without alpha) of a LoKr; the ranks of its decomposed factors, None for a full one."""
    (a, c), (b, d), kernel = (4, shape[0] // 4), (4, shape[1] // 4), shape[2:]
    parts = {}
    if first is None:
        parts["lokr_w1"] = w1 = torch.randn(a, b)
    else:
        parts |= {"lokr_w1_a": torch.randn(a, first), "lokr_w1_b": torch.randn(first, b)}
        w1 = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if second is None:
        parts["lokr_w2"] = w2 = torch.randn(c, d, *kernel)
    else:
        flat = d * torch.Size(kernel).numel()
        parts |= {"lokr_w2_a": torch.randn(c, second), "lokr_w2_b": torch.randn(second, flat)}
        w2 = (parts["lokr_w2_a"] @ parts["lokr_w2_b"]).reshape(c, d, *kernel)
    return parts, torch.kron(w1.reshape(a, b, *[1] * len(kernel)), w2)


@LAYERS
def test_lokr_uses_alpha_only_where_a_factor_is_decomposed(load, path, shape, subtests):
    for first, second, scale in [(None, None, 1.0), (2, None, 3.0), (None, 1, 6.0), (2, 2, 3.0)]:
        with subtests.test(first=first, second=second, scale=scale):
            parts, delta = lokr_parts(shape, first=first, second=second)
            factors, receipt = load(path, **parts, alpha=6.0)
            close(factors, scale * delta)
            assert receipt.kinds == {"lokr": 1}
            assert receipt.scale == (scale, scale)
            assert factors.rank <= min(shape[0], torch.Size(shape[1:]).numel())


def test_lokr_with_a_tucker_core(load):
    path, _ = CONV
    w1, core = torch.randn(4, 4), torch.randn(2, 2, 3, 3)
    up, down = torch.randn(2, 4), torch.randn(2, 2)
    factors, _ = load(path, lokr_w1=w1, lokr_w2_a=up, lokr_w2_b=down, lokr_t2=core, alpha=2.0)
    w2 = torch.einsum("ijkl,ip,jr->prkl", core, up, down).contiguous()
    close(factors, torch.kron(w1[:, :, None, None], w2))


def test_lokr_over_a_fused_projection_is_split_exactly(bases):
    """A Kronecker product over query, key and value at once has no exact split into three, its factors have."""
    w1, w2 = torch.randn(3, 4), torch.randn(16, 4)
    tensors = {
        "lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": w1,
        "lora_unet_double_blocks_0_img_attn_qkv.lokr_w2": w2,
    }
    adapter = load_adapter(tensors, name="a", target=bases["flux"].target)
    found = [adapter.denoiser[f"transformer_blocks.0.attn.to_{part}"].delta() for part in "qkv"]
    torch.testing.assert_close(torch.cat(found), torch.kron(w1, w2))


def test_lycoris_scalar_multiplies(load):
    path, shape = LINEAR
    down, up = torch.randn(2, shape[1]), torch.randn(shape[0], 2)
    factors, _ = load(path, lora_down__weight=down, lora_up__weight=up, alpha=4.0, scalar=0.25)
    close(factors, 0.5 * up @ down)


def test_a_dora_brings_its_magnitudes(bases, lora, subtests):
    cases = [
        ("dora_scale", (16,), "output"),
        ("dora_scale", (16, 1), "output"),
        ("dora_scale", (1, 16), "input"),
        ("lora_magnitude_vector", (16,), "output"),
        ("lora_magnitude_vector", (1, 16), "output"),
        ("lora_magnitude_vector.default.weight", (16,), "output"),
    ]
    for key, shape, of in cases:
        with subtests.test(key=key, shape=shape, of=of):
            path, values = LINEAR[0], torch.rand(16)
            file = lora(bases["sd15"], {("denoiser", path): f"unet.{path}"}, parts=("lora_A.weight", "lora_B.weight"))
            file.tensors[f"unet.{path}.{key}"] = values.view(shape)
            adapter = load_adapter(file.tensors, name="a", target=bases["sd15"].target)
            found = adapter.denoiser[path].magnitude
            assert found.of == of
            assert torch.equal(found.values, values)
            assert adapter.dora == (path,)
            assert adapter.receipt.components["denoiser"].kinds == {"dora": 1}
            assert adapter.receipt.complete
            for act in (adapter.denoiser[path].delta, partial(adapter.denoiser[path].scaled, 0.5)):
                with pytest.raises(ValueError, match="DoRA"):
                    act()
            with pytest.raises(AdapterMatchError, match=r"a is a DoRA.*rescales the base's own weight"):
                adapter.check_additive()


def test_magnitudes_of_a_convolution_are_told_apart(bases, lora):
    """PEFT writes [1 out 1 1] where older LyCORIS writes [1 in 1 1]."""
    path, (out, into) = CONV[0], CONV[1][:2]
    for key, shape, of in (
        ("lora_magnitude_vector", (1, out, 1, 1), "output"),
        ("dora_scale", (1, into, 1, 1), "input"),
    ):
        file = lora(bases["sd15"], {("denoiser", path): f"unet.{path}"}, parts=("lora_A.weight", "lora_B.weight"))
        file.tensors[f"unet.{path}.{key}"] = torch.ones(shape)
        magnitude = load_adapter(file.tensors, name="a", target=bases["sd15"].target).denoiser[path].magnitude
        assert (magnitude.of, len(magnitude.values)) == (of, max(shape))


def test_magnitudes_of_a_fused_layer_go_with_their_rows(bases):
    target, stem = bases["flux"].target, "lora_unet_double_blocks_0_img_attn_qkv"
    places = [f"transformer_blocks.0.attn.to_{each}" for each in "qkv"]
    out, into = target.components["denoiser"][places[0]].weight
    tensors = {f"{stem}.lora_down.weight": torch.randn(2, into), f"{stem}.lora_up.weight": torch.randn(3 * out, 2)}
    tensors[f"{stem}.dora_scale"] = torch.rand(3 * out, 1)
    adapter = load_adapter(tensors, name="a", target=target)
    found = torch.cat([adapter.denoiser[place].magnitude.values for place in places])
    assert torch.equal(found, tensors[f"{stem}.dora_scale"].flatten())
    tensors[f"{stem}.dora_scale"] = torch.rand(1, into)  # norms over rows that three layers hold between them
    with pytest.raises(AdapterMatchError, match="norms over the inputs of a layer that this base has in several parts"):
        load_adapter(tensors, name="a", target=target)


def test_magnitudes_that_do_not_fit_are_an_error(bases, lora):
    path = LINEAR[0]
    for shape in ((15,), (16, 16), (1, 15)):
        file = lora(bases["sd15"], {("denoiser", path): f"unet.{path}"}, parts=("lora_A.weight", "lora_B.weight"))
        file.tensors[f"unet.{path}.dora_scale"] = torch.ones(shape)
        with pytest.raises(AdapterFileError, match="magnitudes that do not fit"):
            load_adapter(file.tensors, name="a", target=bases["sd15"].target)


def test_kinds_that_are_not_low_rank_are_named_alone_and_beside_a_lora(bases, lora, subtests):
    cases = [
        ({"on_input": (1,), "weight": (16,)}, "ia3"),
        ({"oft_blocks": (4, 4, 4)}, "oft"),
        ({"a1.weight": (16, 2), "a2.weight": (2, 16), "b1.weight": (16, 2), "b2.weight": (2, 16)}, "glora"),
        ({"diff": (16, 16)}, "full"),
        ({"w_norm": (16,), "b_norm": (16,)}, "norm"),
        ({"diff_b": (16,)}, "bias"),
        ({"lora_down.weight": (2, 16)}, "incomplete"),
        ({"lokr_w1": (4, 4)}, "incomplete"),
        ({"alpha": ()}, "alpha"),
    ]  # fmt: skip
    for parts, kind in cases:
        with subtests.test(parts=parts, kind=kind):
            target, stem = bases["sd15"].target, "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
            tensors = {f"{stem}.{name}": torch.ones(shape) for name, shape in parts.items()}
            with pytest.raises(AdapterMatchError, match=f"{kind}: "):
                load_adapter(tensors, name="a", target=target)
            file = lora(bases["sd15"], {("denoiser", LINEAR[0]): f"lora_unet_{LINEAR[0].replace('.', '_')}"})
            receipt = load_adapter(tensors | file.tensors, name="a", target=target).receipt
            assert receipt.num_matched == 1
            (ignored,) = receipt.components["denoiser"].ignored
            assert ignored.reason.startswith(f"{kind}: ")


def test_a_bias_of_the_factors_is_named(bases, lora):
    file = lora(bases["sd15"], {("denoiser", LINEAR[0]): f"unet.{LINEAR[0]}"}, parts=("lora_A.weight", "lora_B.weight"))
    file.tensors[f"unet.{LINEAR[0]}.lora_B.bias"] = torch.ones(16)
    receipt = load_adapter(file.tensors, name="a", target=bases["sd15"].target).receipt
    (ignored,) = receipt.components["denoiser"].ignored
    assert (ignored.name, ignored.reason) == (f"unet.{LINEAR[0]}.lora_B.bias", "bias: a bias is not a low-rank update")


def test_parts_that_do_not_belong_together_are_a_broken_file(bases, subtests):
    cases = [
        ({"lora_down.weight": (2, 16), "lora_up.weight": (16, 3)}, "the same rank in down and up"),
        ({"lora_down.weight": (0, 16), "lora_up.weight": (16, 0)}, "sizes above zero"),
        ({"lora_down.weight": (2, 16, 3), "lora_up.weight": (16, 2)}, "2 or 4 dimensions"),
        ({"lora_down.weight": (2, 16), "lora_up.weight": (16, 2, 3, 3)}, "without a kernel of its own"),
        ({"hada_w1_a": (16, 2), "hada_w1_b": (2, 16), "hada_w2_a": (8, 2), "hada_w2_b": (2, 16)}, "of one shape"),
        ({"lokr_w1_a": (4, 2), "lokr_w1_b": (3, 4), "lokr_w2": (4, 4)}, "the same rank in both factors"),
    ]  # fmt: skip
    for parts, expected in cases:
        with subtests.test(parts=parts, expected=expected):
            stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
            tensors = {f"{stem}.{name}": torch.ones(shape) for name, shape in parts.items()}
            with pytest.raises(AdapterFileError, match=f"do not belong together.*{expected}"):
                load_adapter(tensors, name="a", target=bases["sd15"].target)


def test_half_converted_magnitudes_find_their_factors_or_the_file_is_refused(bases, lora, subtests):
    base, path = bases["sd15"], "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    stem = f"lora_unet_{path.replace('.', '_')}"
    out = base.target.components["denoiser"][path].weight[0]
    for key in (f"{stem.replace('_to_q', '.to_q')}.lora_magnitude_vector", f"{stem}.dora_scale"):
        with subtests.test(key=key):
            file = lora(base, {("denoiser", path): stem})
            adapter = load_adapter(file.tensors | {key: torch.ones(out)}, name="a", target=base.target)
            assert adapter.dora == (path,)
            assert adapter.receipt.complete
    for key in (f"{stem}_lora.lora_magnitude_vector", f"{stem}.lora_magnitude_vector.a.b.c", "dora_scale"):
        with subtests.test(key=key):
            file = lora(base, {("denoiser", path): stem})
            with pytest.raises(AdapterMatchError, match="is a DoRA without its magnitudes"):
                load_adapter(file.tensors | {key: torch.ones(out)}, name="a", target=base.target)


def test_a_header_that_tells_of_a_dora_wants_magnitudes(bases, lora, tmp_path, subtests):
    base, path = bases["sd15"], "mid_block.attentions.0.proj_in"
    file = lora(base, {("denoiser", path): f"lora_unet_{path.replace('.', '_')}"})
    for arguments in ('{"dora_wd": "True"}', '{"use_dora": true}'):
        named = file.save(tmp_path / "a.safetensors", {"ss_network_args": arguments})
        with subtests.test(arguments=arguments), pytest.raises(AdapterMatchError, match="is a DoRA without"):
            load_adapter(named, name="a", target=base.target)
    for arguments in ('{"dora_wd": "False"}', "None", "{broken", "[]"):
        with subtests.test(arguments=arguments):
            named = file.save(tmp_path / "a.safetensors", {"ss_network_args": arguments})
            assert load_adapter(named, name="a", target=base.target).receipt.complete
