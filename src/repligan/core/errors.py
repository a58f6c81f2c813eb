"""What a user is told when something is wrong: a single line, no traceback."""

import gc
import os
import signal
import sys
from typing import Any, NoReturn

import click

from repligan.core.signals import heeded, undo_inherited


class InputError(click.ClickException):
    """Input that cannot be used; the message names the file, the key, what was found, what is allowed."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class Fault(click.ClickException):
    """The machine failed, not the input: a full disk, a folder that cannot be written. Exit code 1."""


class Command(click.Command):
    """A click command whose usage and operating-system errors are one line, and whose signals have their codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise InputError(f"{ctx.command_path}: {error.format_message()} See --help.") from None

    def invoke(self, ctx: click.Context) -> Any:
        undo_inherited()
        ending = [one for one in heeded() if one != signal.SIGINT]
        before = {signum: signal.signal(signum, _leave) for signum in ending}
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Fault(f"{where}{error.strerror or error}; fix it and run the same command again") from None
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise InputError(f"{ctx.command_path}: {error.format_message()} See --help.") from None


def run(command: click.Command) -> NoReturn:
    """Run a stage's command as this process, which ends with it.

    Of a short stage most is torch's import and end: collecting garbage among a million new objects, then taking
    each apart, is a third of it.
    """
    gc.set_threshold(100_000)
    try:
        command()
    except SystemExit as left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(left.code or 0))
    raise AssertionError("a click command always exits")


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)  # unlike the default, lets half-written files be removed
