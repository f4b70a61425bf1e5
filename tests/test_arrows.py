"""Who may import whom: the contract knows no wing, the wings do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "timm", "onnx", "onnxscript", "safetensors", "huggingface_hub"}


def imports(path: Path, *, anywhere: bool) -> set[str]:
    """The modules that a file imports; `anywhere` counts those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(folder: str, *but: str) -> list[Path]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return [p for p in paths if not any(str(p).startswith(str(ROOT / skip)) for skip in but)]


@pytest.mark.parametrize(
    ("room", "but", "unknown"),
    [
        # The command line alone joins the rooms.
        ("edgefoundad", ("edgefoundad/cli",), {"edgefoundad_export", "edgefoundad_jetson"}),
        (
            "export/edgefoundad_export",
            (),
            {"edgefoundad_jetson", "edgefoundad.cli", "edgefoundad.demo"},
        ),
        (
            "jetson/edgefoundad_jetson",
            (),
            {"edgefoundad_export", "edgefoundad.training", "edgefoundad.cli", *HEAVY},
        ),
        (
            "edgefoundad",
            ("edgefoundad/cli", "edgefoundad/training"),
            {"edgefoundad.training", "edgefoundad.cli", *HEAVY},
        ),
    ],
)
def test_arrows_point_one_way(room: str, but: tuple[str, ...], unknown: set[str]) -> None:
    checked = [p for p in files(room, *but) if p.name != "__main__.py"]
    assert checked
    for path in checked:
        for module in imports(path, anywhere=True):
            crossed = [u for u in unknown if module == u or module.startswith(f"{u}.")]
            assert not crossed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("name", ["engine", "build_ladder", "tensorrt"])
def test_what_builds_engines_on_the_device_imports_nothing_of_the_pc(name: str) -> None:
    found = imports(ROOT / f"export/edgefoundad_export/{name}.py", anywhere=True)
    assert "edgefoundad.engine" in found
    for module in found:
        assert module.split(".")[0] not in HEAVY
        assert not module.startswith("edgefoundad.training")
        if module.startswith("edgefoundad_export."):
            assert module.split(".")[1] in {"engine", "build_ladder", "tensorrt"}


def test_the_command_line_imports_nothing_heavy_until_a_command_runs() -> None:
    heavy = {*HEAVY, "numpy", "cv2", "onnxruntime", "pydantic"}
    for path in files("edgefoundad/cli"):
        top = {module.split(".")[0] for module in imports(path, anywhere=False)}
        assert not top & heavy, f"{path.relative_to(ROOT)} imports {top & heavy}"
