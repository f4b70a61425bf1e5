"""install.sh as far as it goes without changing a machine; the rest takes a root of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "jetson/install.sh"
PLACES = tuple(
    map(
        Path,
        (
            *("/opt/edgefoundad", "/etc/edgefoundad", "/var/lib/edgefoundad"),
            *("/usr/local/bin/edgefoundad", "/etc/systemd/system", "/etc/passwd", "/etc/group"),
        ),
    )
)

Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What looks like a bundle: the script leaves its contents to `edgefoundad deploy`."""
    folder = tmp_path / "my part"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Run a copy of the sources that everybody may read."""
    place = tmp_path / "sources"
    for room in ("edgefoundad", "jetson"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, place / room, ignore=ignored)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()) or folder.stat().st_uid != os.geteuid():
            break
        folder.chmod(0o755)

    def run(*words: str | Path, user: int | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(place / "jetson/install.sh"), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            user=user,
            env={"PATH": os.environ["PATH"]},
        )

    return run


def machine() -> list[tuple[Path, object]]:
    """What an installation would change, as it is now."""
    return [
        (path, (path.stat().st_mtime_ns, sorted(path.iterdir()) if path.is_dir() else None))
        for path in PLACES
        if path.exists()
    ]


@pytest.fixture(params=["as whoever tests", "as nobody"])
def user(request: pytest.FixtureRequest) -> int | None:
    if request.param == "as whoever tests":
        return None
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return pwd.getpwnam("nobody").pw_uid


def test_a_dry_run_goes_to_its_end_and_changes_nothing(
    install: Install, bundle: Path, user: int | None
) -> None:
    before = machine()
    words = (bundle, "--station", "line-3", "--source", "csi://0", "--dry-run")
    done = install(*words, user=user)
    assert (done.returncode, done.stderr) == (0, "")
    assert machine() == before
    for command in (
        "python3 -m venv",
        f"deploy '{bundle}' --station line-3 --unsigned",
        "systemctl enable --now edgefoundad@line-3.service",
    ):
        assert command in done.stdout


def test_a_script_without_its_sources_says_what_it_cannot_tell(
    bundle: Path, tmp_path: Path
) -> None:
    if Path("/opt/edgefoundad").exists():
        pytest.skip("the program that is installed here would be asked")
    alone = shutil.copy(SCRIPT, tmp_path)
    words = ["sh", alone, bundle, "--station", "a", "--source", "usb://0", "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-2:]
    assert f"service install '{bundle}' --station a --source usb://0 --dry-run" in last[0]
    assert "once the program is installed" in last[1]


def test_a_dry_run_leaves_no_trace_in_the_sources(
    install: Install, bundle: Path, tmp_path: Path
) -> None:
    def files() -> list[Path]:
        return sorted((tmp_path / "sources").rglob("*"))

    before = files()
    assert install(bundle, "--station", "a", "--source", "x", "--dry-run").returncode == 0
    assert files() == before


def test_a_dry_run_names_devices_and_wheels_where_they_are_meant(
    install: Install, bundle: Path, tmp_path: Path
) -> None:
    def printed(source: str, *more: str | Path) -> str:
        words = (bundle, "--station", "a", "--source", source, "--dry-run", *more)
        return install(*words).stdout

    assert "devices.conf" in printed("usb://0")
    if not Path("/dev/nvidiactl").exists() and not Path("/etc/nv_tegra_release").exists():
        assert "devices.conf" not in printed("rtsp://camera/1")
    offline = printed("usb://0", "--wheels", tmp_path)
    assert f"--no-index --find-links {tmp_path} edgefoundad" in offline
    assert "enable --now" not in printed("usb://0", "--no-start")


def test_a_packed_bundle_has_its_signature_checked_unless_told_otherwise(
    install: Install, tmp_path: Path
) -> None:
    packed = tmp_path / "part.efad"
    packed.write_bytes(b"")
    words = (packed, "--station", "a", "--source", "usb://0", "--dry-run")
    assert "--unsigned" not in install(*words).stdout
    assert "--unsigned" in install(*words, "--unsigned").stdout
    key = tmp_path / "team.pub"
    key.write_text("")
    printed = install(*words, "--trust", key).stdout
    assert printed.index(f"keys trust {key}") < printed.index(f"deploy {packed}")
    assert "--unsigned" not in printed


def test_a_password_is_not_printed(install: Install, bundle: Path) -> None:
    source = "rtsp://operator:se/cr@et@10.0.0.7/stream"
    done = install(bundle, "--station", "a", "--source", source, "--dry-run")
    assert done.returncode == 0
    assert "10.0.0.7" in done.stdout
    for secret in ("operator", "se/cr", "et@"):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize("purge", [False, True])
def test_a_dry_uninstall_keeps_data_unless_told_otherwise(install: Install, purge: bool) -> None:
    before = machine()
    done = install("--uninstall", "--dry-run", *["--purge"] * purge)
    assert (done.returncode, done.stderr) == (0, "")
    assert machine() == before
    assert "rm -rf /opt/edgefoundad\n" in done.stdout
    assert ("rm -rf /etc/edgefoundad /var/lib/edgefoundad" in done.stdout) == purge


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no BUNDLE"),
        (["BUNDLE", "--source", "usb://0"], "no --station"),
        (["BUNDLE", "--station", "a"], "no --source"),
        (["BUNDLE", "--source"], "--source takes a value"),
        (["BUNDLE", "--station", "--source", "x"], "--station takes a value"),
        (["BUNDLE", "--station", "Line", "--source", "x"], "the station Line"),
        (["BUNDLE", "--station", "a\nb", "--source", "x"], "lower-case letters"),
        (["BUNDLE", "--station", "../a", "--source", "x"], "the station ../a"),
        (["BUNDLE", "--station", "a" * 64, "--source", "x"], "63 at most"),
        (["/nowhere", "--station", "a", "--source", "x"], "no bundle at /nowhere"),
        (["/usr", "--station", "a", "--source", "x"], "no manifest.json"),
        (["BUNDLE", "other", "--station", "a", "--source", "x"], "two bundles"),
        (["BUNDLE", "--staton", "a"], "no option --staton"),
        (["BUNDLE", "--station", "a", "--source", "x", "--wheels", "/nowhere"], "/nowhere"),
        (
            ["BUNDLE", "--station", "a", "--source", "x", "--trust", "/nowhere"],
            "no key at /nowhere",
        ),
        (["BUNDLE", "--station", "a", "--source", "x", "--purge"], "belongs to --uninstall"),
        (["--uninstall", "--station", "a"], "--uninstall takes"),
    ],
)
def test_wrong_words_are_told_in_a_line(
    install: Install, bundle: Path, words: list[str], said: str
) -> None:
    before = machine()
    done = install(*[str(bundle) if word == "BUNDLE" else word for word in words])
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    if "\n" not in "".join(words):
        assert len(done.stderr.splitlines()) == 1
    assert machine() == before


def test_whoever_is_not_root_is_told_of_it_before_anything_is_done(
    install: Install, bundle: Path
) -> None:
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    for words in (["--uninstall"], [bundle, "--station", "a", "--source", "usb://0"]):
        before = machine()
        done = install(*words, user=user)
        assert done.returncode == 1
        assert "not run as root" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert machine() == before


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("needs shellcheck")
    words = [shellcheck, "--shell=sh", str(SCRIPT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
