"""Encoders: the right weights, the right grid, and other models' weights refused."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import load_file, save_file  # noqa: E402

from edgefoundad.errors import InputError  # noqa: E402
from edgefoundad.geometry import Size  # noqa: E402
from edgefoundad.training import catalogue, weights  # noqa: E402
from edgefoundad.training.encoder import Encoder, build_encoder  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.recipe import default_features  # noqa: E402

WIDE = Size(224, 112)


@pytest.fixture(scope="module")
def dinov2_file(shared: Path) -> Path:
    path = shared / "weights" / "vit_small_patch14_dinov2.saliency_ft.safetensors"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture
def random_file(tmp_path: Path) -> Callable[..., Path]:
    """(timm's name, suffix) → a checkpoint with random weights in timm's names."""

    def save(model: str, suffix: str = ".safetensors", **options: Any) -> Path:
        torch.manual_seed(0)
        path = tmp_path / f"{model}{suffix}"
        state = timm.create_model(model, pretrained=False, **options).state_dict()
        if suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        return path

    return save


def load(
    name: str, file: Path | None, size: Size = WIDE, *, features: Features | None = None
) -> Encoder:
    entry, block = catalogue.find(name)
    found = weights.find(entry, file)
    read = features or default_features(entry, block)
    return build_encoder(entry, features=read, size=size, weights=found)


def unit(tokens: Any) -> Any:
    return torch.nn.functional.normalize(tokens, dim=-1)


def embed(encoder: Encoder, size: Size = WIDE, batch: int = 1) -> Any:
    torch.manual_seed(1)
    with torch.inference_mode():
        return encoder(torch.randn(batch, 3, size.height, size.width))


def test_the_packaged_lite0_gives_its_two_stages_on_a_non_square_grid() -> None:
    encoder = load("efficientnet-lite0", None)
    got = embed(encoder)
    assert got.shape == (1, (224 // 16) * (112 // 16), encoder.dimension)
    assert encoder.dimension == 40 + 112
    assert encoder.patch == 16
    assert encoder.mean == encoder.std == (0.5, 0.5, 0.5)
    assert encoder.channels == (40, 112)
    # The stages are read as they are, pooled to one grid, and averaged over neighbours.
    torch.manual_seed(1)
    with torch.inference_mode():
        fine, coarse = encoder.stages(torch.randn(1, 3, WIDE.height, WIDE.width))
        grids = torch.cat([torch.nn.functional.avg_pool2d(fine, 2), coarse], dim=1)
    inner = grids[0, :, 2:5, 6:9].mean((1, 2))
    torch.testing.assert_close(got[0].reshape(7, 14, -1)[3, 7], inner, rtol=1e-4, atol=1e-5)


def test_the_packaged_weights_are_imagenet_s() -> None:
    # All tensors are mapped by their order: one place off would still load where shapes agree.
    path = weights.find(catalogue.ENTRIES["efficientnet-lite0"], None).path
    whole = timm.create_model("tf_efficientnet_lite0.in1k", pretrained=False).eval()
    names, theirs = list(whole.state_dict()), weights.read(path)
    assert len(names) == len(theirs)
    whole.load_state_dict(dict(zip(names, theirs.values(), strict=True)))
    encoder = load("efficientnet-lite0", None)
    loaded = encoder.stages.state_dict()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
    # Batch statistics that belong to their convolution whiten its output; others would not.
    statistics = {}

    def watch(module: Any, given: Any, _: Any) -> None:
        scaled = (given[0].mean((0, 2, 3)) - module.running_mean) / module.running_var.sqrt()
        statistics[module] = float(scaled.abs().median())

    for module in whole.modules():
        if hasattr(module, "running_mean"):
            module.register_forward_hook(watch)
    with torch.inference_mode():
        torch.manual_seed(0)
        smooth = torch.nn.functional.interpolate(torch.randn(2, 3, 8, 8), 224, mode="bicubic")
        whole(smooth.clamp(-1, 1))
    assert sorted(statistics.values())[len(statistics) // 2] < 1.0


def test_cutting_at_the_last_block_is_timm_s_whole_trunk(dinov2_file: Path) -> None:
    encoder = load("dinov2-small@11", dinov2_file)
    whole = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    whole.load_state_dict(load_file(dinov2_file), strict=True)
    whole.set_input_size((WIDE.height, WIDE.width))
    torch.manual_seed(1)
    image = torch.randn(1, 3, WIDE.height, WIDE.width)
    with torch.inference_mode():
        truth = unit(whole.eval().forward_features(image)[:, 1:])
        torch.testing.assert_close(encoder(image), truth)


@pytest.mark.parametrize(("name", "blocks"), [("dinov2-small", (6, 8)), ("dinov2-small@6", (6,))])
def test_a_cut_is_timm_s_intermediate_layer_behind_the_norm(
    dinov2_file: Path, name: str, blocks: tuple[int, ...]
) -> None:
    encoder = load(name, dinov2_file)
    whole = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    whole.load_state_dict(load_file(dinov2_file), strict=True)
    whole.set_input_size((WIDE.height, WIDE.width))
    torch.manual_seed(1)
    image = torch.randn(1, 3, WIDE.height, WIDE.width)
    with torch.inference_mode():
        layers = whole.eval().get_intermediate_layers(image, n=blocks, norm=True)
        got = encoder(image)
    assert got.shape == (1, 16 * 8, 384 * len(blocks))
    torch.testing.assert_close(got, torch.cat([unit(layer) for layer in layers], dim=-1))
    # What lies behind the cut is neither kept nor exported.
    assert len(encoder.vit.blocks) == max(blocks) + 1


def test_the_position_embedding_is_resampled_at_load_for_a_non_square_size(
    dinov2_file: Path,
) -> None:
    from timm.layers import resample_abs_pos_embed

    encoder = load("dinov2-small@0", dinov2_file)
    theirs = load_file(dinov2_file)["pos_embed"]
    assert encoder.vit.pos_embed.shape == (1, 16 * 8 + 1, 384)
    # Rows before columns: 8 patches high, 16 wide.
    truth = resample_abs_pos_embed(theirs, new_size=(8, 16), num_prefix_tokens=1)
    torch.testing.assert_close(encoder.vit.pos_embed, truth)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("dinov2-reg-small@1", ".safetensors"),
        ("dinov3-small@1", ".pth"),
        ("eupe-tiny@1", ".safetensors"),
        ("clip-base@0", ".safetensors"),
        ("siglip-base@0", ".pth"),
        ("resnet18", ".pth"),
    ],
)
def test_a_file_of_each_family_loads_and_embeds(
    random_file: Callable[..., Path], name: str, suffix: str
) -> None:
    entry, _ = catalogue.find(name)
    size = Size(10 * entry.patch, 6 * entry.patch)
    encoder = load(name, random_file(entry.model, suffix), size)
    got = embed(encoder, size, batch=2)
    assert got.shape == (2, 60, encoder.dimension)
    assert torch.isfinite(got).all()
    assert encoder.patch == entry.patch
    # Two images of one batch do not touch each other.
    assert not torch.allclose(got[0], got[1])
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.training


def test_patches_come_row_by_row(random_file: Callable[..., Path]) -> None:
    size = Size(160, 96)
    encoder = load("resnet18", random_file("resnet18.a1_in1k"), size)
    plain = torch.zeros(1, 3, 96, 160)
    marked = plain.clone()
    marked[..., 8:24, 120:136] = 3.0  # patch row 0 to 1, column 7 to 8
    with torch.inference_mode():
        # Of the directions: random weights respond most where the image's edge is.
        change = (unit(encoder(marked)) - unit(encoder(plain))).norm(dim=2).reshape(6, 10)
    row, column = divmod(int(change.argmax()), 10)
    assert row in (0, 1)
    assert column in (6, 7, 8)


@pytest.mark.parametrize("entry", catalogue.ENTRIES.values(), ids=lambda entry: entry.name)
def test_the_catalogue_says_what_timm_says(entry: catalogue.EncoderEntry) -> None:
    with torch.device("meta"):
        model = timm.create_model(entry.model, pretrained=False, num_classes=0)
    assert entry.parameters == sum(p.numel() for p in model.parameters())
    config = timm.models.get_pretrained_cfg(entry.model)
    assert config.hf_hub_id == entry.repository
    said = {
        "apache-2.0": "Apache-2.0",
        "bsd-3-clause": "BSD-3-Clause",
        "dinov3-license": "DINOv3 licence",
        "fair-noncommercial-research-license": "FAIR: non-commercial",
    }
    assert entry.licence.startswith(said[config.license])
    if entry.family == "vit":
        assert model.patch_embed.patch_size == (entry.patch, entry.patch)
        assert len(model.blocks) == entry.blocks
        assert entry.default_block == entry.blocks - 3


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("resnet18", "resnet34.a1_in1k"),  # deeper: it has all of resnet18's tensors and shapes
        ("resnet18", "tf_efficientnet_lite0.in1k"),
        ("efficientnet-lite0", "tf_efficientnet_lite1.in1k"),  # deeper
        ("dinov3-small", "vit_small_patch16_dinov3_qkvb.eupe_lvd1689m"),  # with biases
        ("dinov2-small", "vit_small_patch14_reg4_dinov2.lvd142m"),  # with registers
        ("dinov2-reg-small", "vit_small_patch14_dinov2.lvd142m"),
        ("dinov2-small", "vit_small_patch16_dinov3.lvd1689m"),
        ("eupe-small", "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"),  # narrower
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    random_file: Callable[..., Path], name: str, other: str
) -> None:
    file = random_file(other)
    with pytest.raises(InputError, match="is not a checkpoint of " + name) as caught:
        load(name, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_checkpoint_with_another_head_or_none_is_taken(
    random_file: Callable[..., Path], classes: int
) -> None:
    # Fine-tuned files carry heads of any number of classes.
    file = random_file("resnet18.a1_in1k", num_classes=classes)
    assert torch.isfinite(embed(load("resnet18", file))).all()


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_checkpoint_in_a_training_script_s_wrapper_is_taken(
    random_file: Callable[..., Path], tmp_path: Path, wrapper: str
) -> None:
    state = torch.load(random_file("resnet18.a1_in1k", ".pth"), weights_only=True)
    path = tmp_path / "wrapped.pth"
    torch.save({wrapper: state, "epoch": 3}, path)
    assert torch.isfinite(embed(load("resnet18", path))).all()


class Evil:
    """Pickled, it is an instruction to write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_pickled_object_is_refused_and_never_run(tmp_path: Path, suffix: str) -> None:
    proof = tmp_path / "proof"
    for name, write in (
        ("zip", lambda path: torch.save({"conv1.weight": Evil(proof)}, path)),
        ("raw", lambda path: path.write_bytes(pickle.dumps({"conv1.weight": Evil(proof)}))),
    ):
        path = tmp_path / f"{name}{suffix}"
        write(path)
        assert not proof.exists()
        with pytest.raises(InputError, match="nothing but tensors") as caught:
            load("resnet18", path)
        assert not proof.exists()
        # torch's own message begins with how to load it all the same.
        assert "can still be loaded" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(b"", ".pth"), (b"hello", ".pth"), (b"", ".safetensors"), (b"\xff" * 64, ".safetensors")],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        load("resnet18", path)


def test_a_checkpoint_with_numbers_among_its_tensors_is_refused(
    random_file: Callable[..., Path], tmp_path: Path
) -> None:
    state = torch.load(random_file("resnet18.a1_in1k", ".pth"), weights_only=True)
    path = tmp_path / "odd.pth"
    torch.save({**state, "conv1.weight": 3}, path)
    with pytest.raises(InputError, match=r"conv1\.weight"):
        load("resnet18", path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(InputError, match="named tensors"):
        load("resnet18", path)


@pytest.mark.parametrize(
    "name", ["nothing", "dinov2-small@12", "dinov2-small@-1", "dinov2-small@", "dinov2-small@²"]
)
def test_an_unknown_encoder_or_block_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected"):
        catalogue.find(name)


def test_a_convolutional_encoder_has_no_block_to_cut_at() -> None:
    with pytest.raises(InputError, match="leave out @3"):
        catalogue.find("resnet18@3")
