"""The one exception for bad input: a single line, exit code 2, no traceback."""

from click import ClickException


class InputError(ClickException):
    """Input that cannot be used; the message names the file, the key, what was found, what is allowed."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
