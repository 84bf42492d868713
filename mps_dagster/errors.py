"""The error types. Each knows its MPS code (`ErrCodeExt`) and whether a retry can help.

An error's text says what was attempted, what happened and, if there is one, a hint: its reader sees the Dagster UI or a
notification, not the source code.
"""

from __future__ import annotations

import signal
from typing import ClassVar


class MpsError(Exception):
    """Base of all errors that this project raises on purpose."""

    code: ClassVar[str] = "InternalError"
    number: ClassVar[int] = 70000
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders; the default drops the keyword-only hint."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[MpsError], message: str, hint: str) -> MpsError:
    return kind(message, hint=hint)


class InvalidInput(MpsError, ValueError):
    """The request, workflow or template asks for something impossible. A ValueError, so that pydantic adds the place."""

    code = "InvalidInput"
    number = 40000


class InvalidConfiguration(InvalidInput):
    """A field's value is out of range or contradicts another."""

    code = "InvalidInput.ConfigurationUnsupported"


class InvalidTimeOffset(InvalidInput):
    """A time point or range lies outside the source."""

    code = "InvalidInput.InvalidTimeOffset"


class DefinitionNotExist(InvalidInput):
    """No template has this ID or name."""

    code = "InvalidInput.DefinitionNotExist"


class OutputTaken(InvalidInput):
    """The output path already holds the output of another source that still exists."""

    code = "InvalidInput.TaskDuplicated"


class AttachmentChanged(MpsError):
    """A watermark's picture was replaced after the task was planned. Another run plans with the new one."""


class SourceFileError(MpsError):
    """The source cannot be used."""

    code = "SourceFileError"
    number = 60000


class ContentMalformed(SourceFileError):
    """The source is missing data, damaged or not media at all."""

    code = "SourceFileError.ContentMalformed"


class ContentUnsupported(SourceFileError):
    """A container, codec or size that is not accepted."""

    code = "SourceFileError.ContentUnsupported"


class InspectionFailed(SourceFileError):
    """The source has faults for which the admin refuses it."""

    code = "SourceFileError.InspectionFailed"


class NoVideoMedia(SourceFileError):
    """The output needs a picture, and the source has no video track."""

    code = "SourceFileError.NoVideoMedia"


class NoVideoResolution(SourceFileError):
    """The video track has no width and height."""

    code = "SourceFileError.NoVideoResolution"


class SourceNotAccessible(SourceFileError):
    """The source object does not exist."""

    code = "SourceFileError.DownloadNotAccessible"


class SourceChanged(SourceNotAccessible):
    """The object's etag has changed since the run was requested; its new content gets a run of its own."""


class StorageFailed(MpsError):
    """A bucket could not be read, listed or written. Usually temporary."""

    retryable = True


class DiskFull(StorageFailed):
    """A disk has no room: what was written is removed, and another attempt may find some."""


class StorageRefused(StorageFailed):
    """A bucket refused: wrong key, no such bucket, a clock that is off. A person has to fix it."""

    retryable = False


class ToolFailed(MpsError):
    """ffmpeg ended with an error, or was ended at a limit."""


class ToolKilled(ToolFailed):
    """ffmpeg or the probe was killed from outside (out of memory, host going down). Another attempt can succeed."""

    retryable = True

    @classmethod
    def by_signal(cls, name: str, number: int, details: str = "") -> ToolKilled:
        return cls(
            f"{name} was killed by signal {number} ({signal.Signals(number).name}){details}",
            hint="if it was SIGKILL, the machine may have run out of memory",
        )


class OutputRejected(MpsError):
    """ffmpeg succeeded, but the output is not as planned."""


class DeliveryFailed(MpsError):
    """A notification's receiver did not accept it. The outbox tries again."""

    retryable = True


class DeliveryRefused(DeliveryFailed):
    """A notification's receiver refused this event. After some attempts it becomes a dead letter."""

    retryable = False
