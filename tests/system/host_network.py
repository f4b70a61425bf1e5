"""The host's way to packages, for a root: its mirror, its proxies, its index and whom it trusts."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROXIES = ("http_proxy", "https_proxy", "no_proxy")
INDEX = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout")
"""What pip may be told about the way to an index. The host's own folders lead nowhere in a root."""

LOCAL_AUTHORITIES = "usr/local/share/ca-certificates"


def mirror(suite: str) -> str | None:
    """Where the host gets this suite from; None where it is another system."""
    if not shutil.which("apt-get"):
        return None
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    words += ["Created-By: Packages", "Component: main", f"Codename: {suite}"]
    return next(iter(_output(words).split()), None)


def proxies() -> dict[str, str]:
    """The environment's, in whichever case they are written there."""
    return {name: os.environ[name] for one in PROXIES for name in (one, one.upper())
            if name in os.environ}  # fmt: skip


def hand_in(root: Path) -> None:
    """Write all of it into a root that does not run yet."""
    if shutil.which("apt-config"):
        wanted = re.compile(r"Acquire::(https?|Check-[^:]+|Retries|ForceIPv\d)(::\S+)? \"[^\"]+\";")
        lines = _output(["apt-config", "dump", "Acquire"]).splitlines()
        apt = "".join(f"{line}\n" for line in lines if wanted.fullmatch(line))
        (root / "etc/apt/apt.conf.d/90host").write_text(apt)
    if Path("/", LOCAL_AUTHORITIES).is_dir():
        # Debian's ca-certificates takes them up, once something needs that package.
        shutil.copytree(Path("/", LOCAL_AUTHORITIES), root / LOCAL_AUTHORITIES, dirs_exist_ok=True)
    pip = _pip()
    settings = [f"{key} = {pip[key]}" for key in INDEX if key in pip]
    if "cert" in pip and Path(pip["cert"]).is_file():
        shutil.copy(pip["cert"], root / "etc/host-authorities.pem")
        settings.append("cert = /etc/host-authorities.pem")
    (root / "etc/pip.conf").write_text("\n".join(["[global]", *settings, ""]))


def _pip() -> dict[str, str]:
    """What pip was told on this host: by files first, and then by the environment, which wins."""
    found: dict[str, str] = {}
    lines = _output([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        scope, _, key = name.rpartition(".")
        if scope not in ("global", ":env:", "install"):
            continue
        urls = [one for one in str(ast.literal_eval(value)).split() if not one.startswith("file:")]
        if urls:
            found[key] = " ".join(urls)
    return found


def _output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
