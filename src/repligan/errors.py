"""What a user is told when something is wrong: a single line, no traceback."""

from typing import Any

import click


class InputError(click.ClickException):
    """Input that cannot be used; the message names the file, the key, what was found, what is allowed."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class Fault(click.ClickException):
    """The machine failed, not the input: a full disk, a folder that cannot be written. Exit code 1."""


class Command(click.Command):
    """A click command whose operating-system errors are one line too."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Fault(f"{where}{error.strerror or error}; mend it and run the same command again") from None


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
