"""`edgefoundad keys`: who signs bundles, and whose signatures this machine takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.signing import PrivateKey

PASSPHRASE = "EDGEFOUNDAD_PASSPHRASE"

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

app = typer.Typer(
    help="Keys that sign packed bundles, and those that this machine trusts.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of the key.")] = "default",
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for one, and for it at each use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a key to sign bundles with.

    The private key stays here, readable by you alone. The public one, NAME.pub, goes to every
    device that shall take your bundles: `edgefoundad keys trust NAME.pub` there.
    """
    from edgefoundad.errors import InputError
    from edgefoundad.signing import PRIVATE, PUBLIC, PrivateKey, key_folder

    if Path(name).name != name or name.startswith("."):
        raise InputError(f"found the name {name!r}; expected a plain one, as line-team")
    secret = None
    if passphrase:
        secret = os.environ.get(PASSPHRASE) or typer.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        )
    path = key_folder() / f"{name}{PRIVATE}"
    key = PrivateKey.new()
    key.write(path, passphrase=secret)
    public = path.with_suffix(PUBLIC)
    if as_json:
        console.print_json(
            {"private": str(path), "public": str(public), "fingerprint": key.public.fingerprint}
        )
        return
    rows = [
        ("private key", console.plain(path)),
        ("public key", console.plain(public)),
        ("fingerprint", key.public.fingerprint),
    ]
    console.print_table(console.facts(rows))
    console.print_line(
        f"next: carry {console.plain(public.name)} to the device and run `edgefoundad keys trust "
        f"{console.plain(public.name)}`"
    )


@app.command("show")
def show(
    which: Annotated[
        str, typer.Argument(metavar="[NAME|FILE]", help="A key of yours, or a .pub file.")
    ] = "default",
    as_json: Json = False,
) -> None:
    """Show a public key and the fingerprint to read out over the phone."""
    from edgefoundad.signing import PUBLIC, PublicKey, key_folder

    given = Path(which)
    path = given if given.is_file() else key_folder() / f"{which}{PUBLIC}"
    key = PublicKey.read(path)
    if as_json:
        console.print_json({"public": str(path), "fingerprint": key.fingerprint})
        return
    rows = [("public key", console.plain(path)), ("fingerprint", key.fingerprint)]
    console.print_table(console.facts(rows))
    console.print_line(key.to_pem().decode().rstrip())


@app.command("trust")
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pub file.")],
    name: Annotated[
        str | None, typer.Option(help="To list it under; the file's own by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take bundles from the owner of a key, on this machine.

    Compare the fingerprint with the one that its owner reads to you first.
    """
    from edgefoundad.signing import PublicKey
    from edgefoundad.trust import Trust

    added = Trust().add(PublicKey.read(file), name or file.stem)
    if as_json:
        console.print_json({"name": added.name, "fingerprint": added.key.fingerprint})
        return
    console.print_line(f"trusted: {console.plain(added.name)}  {added.key.fingerprint}")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List your own keys, and those that this machine trusts or has revoked."""
    from edgefoundad.signing import PUBLIC, PublicKey, key_folder
    from edgefoundad.trust import Trust

    rows = [
        ("yours", path.stem, PublicKey.read(path).fingerprint)
        for path in sorted(key_folder().glob(f"*{PUBLIC}"))
    ]
    rows += [
        ("revoked" if one.revoked else "trusted", one.name, one.key.fingerprint)
        for one in Trust().all()
    ]
    if as_json:
        console.print_json(
            [dict(zip(("is", "name", "fingerprint"), row, strict=True)) for row in rows]
        )
        return
    if not rows:
        console.print_line("no keys: `edgefoundad keys new` makes one")
        return
    from rich.table import Table

    table = Table("", "name", "fingerprint", box=None)
    for kind, name, fingerprint in rows:
        table.add_row(kind, console.plain(name), fingerprint)
    console.print_table(table)


@app.command("revoke")
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|FINGERPRINT", help="A trusted key.")],
    as_json: Json = False,
) -> None:
    """Take no more bundles from the owner of a key; what runs already goes on."""
    from edgefoundad.trust import Trust

    gone = Trust().revoke(which)
    if as_json:
        console.print_json({"fingerprint": gone.key.fingerprint, "file": str(gone.path)})
        return
    console.print_line(f"revoked: {gone.key.fingerprint}")


def private_key(name: str | None) -> PrivateKey | None:
    """The key that `--sign` names; its passphrase is asked for where it has one.

    Raises:
        InputError: there is no such key, or nobody to ask.
    """
    from edgefoundad.errors import InputError
    from edgefoundad.signing import PrivateKey, find_key, is_encrypted

    if name is None:
        return None
    path = find_key(name)
    secret = os.environ.get(PASSPHRASE)
    if secret is None and is_encrypted(path):
        if not sys.stdin.isatty():
            raise InputError(f"{path} wants its passphrase: set {PASSPHRASE}, or use a terminal")
        secret = typer.prompt(f"Passphrase of {path.stem}", hide_input=True, err=True)
    return PrivateKey.read(path, passphrase=secret)
