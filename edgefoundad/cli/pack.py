"""`edgefoundad pack` and `edgefoundad unpack`: a bundle as one file, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, keys

if TYPE_CHECKING:
    from edgefoundad.trust import Trust

Sign = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Sign it with this key of yours (a name or a file)."),
]
Unsigned = Annotated[
    bool,
    typer.Option("--unsigned", help="Take it from anybody, signed or not."),
]


def pack(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: BUNDLE.efad beside it."),
    ] = None,
    sign: Sign = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: keys.Json = False,
) -> None:
    """Pack a bundle into one file, to be carried to a device.

    The same bundle always gives the same bytes. Without --sign a device takes the file only where
    --unsigned is said there.
    """
    from edgefoundad.archive import SUFFIX
    from edgefoundad.archive import pack as write
    from edgefoundad.bundle import Bundle
    from edgefoundad.errors import InputError

    folder = Path(os.path.abspath(bundle))
    target = output or folder.with_name(folder.name + SUFFIX)
    if target.is_dir() or (target.exists() and not force):
        raise InputError(f"{target} exists: add --force to replace a file, or choose another name")
    key = keys.private_key(sign)
    opened = Bundle.open(bundle)
    write(opened, target, key=key)
    size = target.stat().st_size
    fingerprint = key.public.fingerprint if key else None
    if as_json:
        console.print_json(
            {"file": str(target), "size": size, "bundle": opened.sha256, "signer": fingerprint}
        )
        return
    rows = [
        ("file", console.plain(target)),
        ("size", f"{size / 1e6:.1f} MB"),
        ("bundle", opened.sha256[:32]),
        ("signed by", fingerprint or "[yellow]nobody[/yellow]"),
    ]
    console.print_table(console.facts(rows))


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `edgefoundad pack` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle's new folder.")],
    unsigned: Unsigned = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle there.")] = False,
    as_json: keys.Json = False,
) -> None:
    """Unpack a bundle that somebody trusted has signed.

    Nothing in the file is read before its signature was checked, and nothing is at DIR before every
    hash was.
    """
    from edgefoundad import bundle as contract
    from edgefoundad.archive import opening

    contract.refuse_existing(folder, force=force)
    with opening(file, trust=trust_unless(unsigned)) as archive:
        opened = archive.unpack(folder, force=force)
        signer = archive.signer
    if as_json:
        console.print_json(
            {
                "bundle": str(folder),
                "sha256": opened.sha256,
                "files": len(opened.manifest.files),
                "signer": signer.key.fingerprint if signer else None,
            }
        )
        return
    rows = [
        ("bundle", console.plain(folder)),
        ("files", f"{len(opened.manifest.files)} with the manifest's hashes"),
        ("signed by", console.plain(signer.name) if signer else "[yellow]nobody asked[/yellow]"),
    ]
    console.print_table(console.facts(rows))


def trust_unless(unsigned: bool) -> Trust | None:
    """Whose signature is asked for."""
    from edgefoundad.trust import Trust

    return None if unsigned else Trust()
