"""The ways in which a command fails on purpose."""

from __future__ import annotations


class InputError(Exception):
    """Something that was handed in cannot be used: a file, a folder, an option.

    The message is one line that says what was found, what was expected and what to do. The command
    line prints it and exits with code 2.
    """


class GateError(Exception):
    """A graph or backend does not say what the trainer said, and is therefore refused.

    The command line prints the message and exits with code 3, so that a script can tell a wrong
    input from a wrong engine.
    """


class LostError(Exception):
    """A source or a backend that is needed is gone, and did not come back in the attempts allowed.

    The command line prints the message and exits with code 4: unlike a wrong input, starting again
    may help, and a service manager should.
    """
