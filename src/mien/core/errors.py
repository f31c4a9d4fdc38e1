"""The one exception users meet: a stable code, a sentence, and what to do next."""

from __future__ import annotations


class MienError(Exception):
    """An expected failure.

    Args:
        code: stable, dotted, lower case (`media.truncated`); programs may match on it.
        message: one sentence that says what is wrong, with the offending value.
        hint: what to do next; shown on its own line.
        retryable: whether the same call may succeed later without a change.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}" + (f"\n  → {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.code, self.message, self.hint, self.retryable))


def _rebuild(code: str, message: str, hint: str, retryable: bool) -> MienError:
    return MienError(code, message, hint, retryable=retryable)


def missing_extra(package: str, extra: str) -> MienError:
    """The error for an optional package that is not installed, with the exact install line."""
    return MienError("install.missing-extra", f"this needs the package {package!r}", f"pip install 'mien[{extra}]'")
