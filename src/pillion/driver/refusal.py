"""How the control plane says no: an exception that becomes the error event of one command."""

from __future__ import annotations

from pillion.errors import ChannelError, CountersExhaustedError, DirectoryError, ErrorCode

ENOSPC = 28


class Refusal(Exception):
    """A command that is not carried out, with the code and text of its error event."""

    def __init__(self, error_code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.message = message


def generic(message: str) -> Refusal:
    return Refusal(ErrorCode.GENERIC_ERROR, message)


def not_supported(feature: str, channel: object = "") -> Refusal:
    """For what the protocol knows and this driver does not do; `feature` names it."""
    where = f" (channel {channel})" if channel else ""
    return Refusal(ErrorCode.NOT_SUPPORTED, f"{feature} is not supported by this driver{where}")


def refusal_of(error: Exception) -> Refusal:
    """The refusal that tells a client of any failure while its command was handled."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ChannelError):
        return Refusal(error.error_code, str(error))
    if isinstance(error, DirectoryError) or (isinstance(error, OSError) and error.errno == ENOSPC):
        return Refusal(ErrorCode.STORAGE_SPACE, str(error))
    if isinstance(error, CountersExhaustedError):
        return generic(str(error))
    return generic(f"{type(error).__name__}: {error}")
