"""The one kind of error a user can cause: a line that says what, where and what to do."""


class InputError(ValueError):
    """A file or parameter is at fault; the message is one line and names it."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: a notebook shows the line alone, not the library's stack."""
        return [f"InputError: {self}"]
