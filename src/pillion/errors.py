"""One exception tree. Three kinds: the caller's mistake, the driver's refusal, and things that are over.

What a peer sends wrong is never raised: it is counted and logged by the driver. Values are attributes, not only text.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Error codes of the control protocol, as a driver puts them in an error event."""

    UNUSED = 0
    INVALID_CHANNEL = 1
    UNKNOWN_SUBSCRIPTION = 2
    UNKNOWN_PUBLICATION = 3
    CHANNEL_ENDPOINT_ERROR = 4
    UNKNOWN_COUNTER = 5
    UNKNOWN_COMMAND_TYPE_ID = 6
    MALFORMED_COMMAND = 7
    NOT_SUPPORTED = 8
    UNKNOWN_HOST = 9
    RESOURCE_TEMPORARILY_UNAVAILABLE = 10
    GENERIC_ERROR = 11
    STORAGE_SPACE = 12
    IMAGE_REJECTED = 13
    PUBLICATION_REVOKED = 14
    UNKNOWN = -1


class PillionError(Exception):
    """Root of everything Pillion raises on purpose."""


class ChannelError(PillionError, ValueError):
    """A channel URI is wrong. `parameter` names the part at fault, `value` what it held."""

    def __init__(self, message: str, *, channel: str = "", parameter: str = "", value: object = None):
        super().__init__(message)
        self.channel = channel
        self.parameter = parameter
        self.value = value


class SettingError(PillionError, ValueError):
    """A driver or client setting is out of its range. `setting` names it, `value` is what was given."""

    def __init__(self, message: str, *, setting: str = "", value: object = None):
        super().__init__(message)
        self.setting = setting
        self.value = value


class DirectoryError(PillionError, OSError):
    """A directory or file cannot be used: missing space, permission, a link where none may be."""

    def __init__(self, message: str, *, path: str = "", needed: int | None = None, available: int | None = None):
        super().__init__(message)
        self.path = path
        self.needed = needed
        self.available = available


class CncFileError(PillionError):
    """`cnc.dat` is not one: too short, foreign, or its lengths do not fit the file."""

    def __init__(self, message: str, *, path: str = ""):
        super().__init__(message)
        self.path = path


class CncNotReadyError(CncFileError):
    """The driver is still starting: the file has no version yet, or is not complete yet."""


class DriverIncompatibleError(PillionError):
    """The driver speaks another major version of the shared-memory format."""

    def __init__(self, message: str, *, found: int = 0, supported: int = 0):
        super().__init__(message)
        self.found = found
        self.supported = supported


class ActiveDriverError(PillionError):
    """A living driver owns the directory."""

    def __init__(self, message: str, *, directory: str = "", pid: int = 0):
        super().__init__(message)
        self.directory = directory
        self.pid = pid


class LogFileError(PillionError):
    """A log buffer file is not one, or does not fit its own metadata."""


class DriverTimeoutError(PillionError, TimeoutError):
    """No driver, or one that stopped answering, within the driver timeout."""


class ClientTimeoutError(PillionError, TimeoutError):
    """The driver timed this client out: it did not keep alive for the client liveness timeout."""


class ConductorServiceTimeoutError(PillionError, TimeoutError):
    """The client's own conductor did not run for longer than the driver tolerates."""


class TimedOutError(PillionError, TimeoutError):
    """A call with a timeout did not finish in time."""


class RegistrationError(PillionError):
    """The driver refused a command."""

    def __init__(self, message: str, *, error_code: int = ErrorCode.GENERIC_ERROR, correlation_id: int = -1):
        super().__init__(message)
        try:
            self.error_code = ErrorCode(error_code)
        except ValueError:
            self.error_code = ErrorCode.UNKNOWN
        self.correlation_id = correlation_id


class ClosedError(PillionError):
    """The client, publication, subscription or counter was closed."""


class ForkedError(ClosedError):
    """The object belongs to the parent process; a forked child has to connect by itself."""


class NotConnectedError(PillionError):
    """Nobody subscribes."""


class MaxPositionExceededError(PillionError):
    """The stream reached the largest position its term length allows."""


class LappedError(PillionError):
    """The client did not read the driver's events fast enough: some were overwritten."""


class BufferFullError(PillionError):
    """The driver's command buffer is full: the driver does not keep up, or is stopped."""


class MalformedCommandError(PillionError):
    """A command or event is shorter than its fields, or a length in it leads outside."""


class CountersExhaustedError(PillionError):
    """No counter is left; the counters buffer of the driver has to be larger."""
