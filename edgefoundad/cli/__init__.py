"""The command line: parse, call, render. Each command is a module of its own name.

Nothing heavy is imported here: `edgefoundad --help` answers at once, and the commands of the
device never import torch. The command line is the only place that joins the exporter and the
device, which do not know each other.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from edgefoundad.cli import (
    bench,
    calibrate,
    config,
    demo,
    deploy,
    doctor,
    encoders,
    evaluate,
    export,
    fit,
    keys,
    pack,
    report,
    run,
    service,
    sources,
    station,
    verdicts,
    verify,
)
from edgefoundad.errors import GateError, InputError, LostError

# Click's, which some versions of typer carry inside themselves under another name.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="edgefoundad",
    help="Few-shot defect detection: fit on a few good parts, export one graph, run it.",
    epilog="Exit codes: 0 done, 2 bad input, 3 a graph, an engine or a precision that differs too "
    "much, or that TensorRT does not take, 4 a source or a backend that is gone and did not come "
    "back: start again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("fit")(fit.command)
app.command("eval")(evaluate.command)
app.command("report")(report.command)
app.command("export")(export.command)
app.command("verify")(verify.command)
app.command("calibrate")(calibrate.command)
app.command("run")(run.command)
app.command("verdicts")(verdicts.command)
app.command("bench")(bench.command)
app.command("sources")(sources.command)
app.add_typer(config.app, name="config")
app.command("station")(station.command)
app.add_typer(service.app, name="service")
app.command("doctor")(doctor.command)
app.command("pack")(pack.pack)
app.command("unpack")(pack.unpack)
app.add_typer(keys.app, name="keys")
app.command("deploy")(deploy.deploy)
app.command("rollback")(deploy.rollback)
app.command("encoders")(encoders.command)
app.command("demo")(demo.command)


def main() -> None:
    """Run the command line; a wrong input ends in one line and exit code 2, never a trace."""
    try:
        # Not standalone: typer would frame a wrong option in a box of several lines.
        sys.exit(app(standalone_mode=False) or 0)
    except InputError as error:
        sys.exit(_say(str(error), 2))
    except GateError as error:
        sys.exit(_say(str(error), 3))
    except LostError as error:
        sys.exit(_say(str(error), 4))
    except _UsageError as error:
        sys.exit(_say_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader down the pipe is gone; keep the interpreter from complaining on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        # A full disk under what is printed, mostly; a fault of ours would be the same to a user.
        named = f" {error.filename}" if error.filename else ""
        sys.exit(_say(f"cannot go on{named}: {error.strerror or error}", 2))


def _say(message: str, code: int) -> int:
    print(f"edgefoundad: error: {message}", file=sys.stderr)
    return code


def _say_usage(error: Any) -> int:
    """Say what is wrong with the words on the command line, where the help is not the answer."""
    message = " ".join(error.format_message().split())
    if message:
        command = f" {error.ctx.info_name}" if error.ctx and error.ctx.parent else ""
        return _say(f"{message.rstrip('.')}: see `edgefoundad{command} --help`", 2)
    return 2
