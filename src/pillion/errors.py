"""One exception tree: the caller's mistake, the driver's refusal, and things that are over.

What a peer sends wrong is never raised: it is counted and logged by the driver. Values are
attributes, not only text, so that a program can act on them. Every class can be pickled.
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

    @classmethod
    def of(cls, value: int) -> ErrorCode:
        """The code with this value; `UNKNOWN` for one that this version does not know."""
        try:
            return cls(value)
        except ValueError:
            return cls.UNKNOWN


class PillionError(Exception):
    """Root of everything Pillion raises on purpose."""


# The caller's mistake.


class ChannelError(PillionError, ValueError):
    """A channel URI is wrong.

    `channel` is the whole text, `parameter` names the part at fault ("" for the syntax as a whole),
    `value` is what it held. `error_code` is what a driver answers a client that sends this channel.
    """

    def __init__(
        self,
        message: str,
        *,
        channel: str = "",
        parameter: str = "",
        value: object = None,
        error_code: int = ErrorCode.INVALID_CHANNEL,
    ):
        super().__init__(message)
        self.channel = channel
        self.parameter = parameter
        self.value = value
        self.error_code = ErrorCode.of(error_code)

    @classmethod
    def of_parameter(
        cls,
        parameter: str,
        value: object,
        why: str,
        *,
        channel: str = "",
        error_code: int = ErrorCode.GENERIC_ERROR,
    ) -> ChannelError:
        """The error for one parameter's value; `why` goes on after "`parameter=value`"."""
        where = f" in channel {channel!r}" if channel else ""
        return cls(
            f"{parameter}={value!r} {why}{where}",
            channel=channel,
            parameter=parameter,
            value=value,
            error_code=error_code,
        )


class SettingError(PillionError, ValueError):
    """A driver or client setting is out of its range.

    `setting` names it, `value` is what was given, `source` says where it was given (a keyword, an
    environment variable, a properties file, the default).
    """

    def __init__(self, message: str, *, setting: str = "", value: object = None, source: str = ""):
        super().__init__(message)
        self.setting = setting
        self.value = value
        self.source = source


class DirectoryError(PillionError, OSError):
    """A directory or file cannot be used: missing space, permission, a link where none may be.

    `path` is the file or directory. Where space is what is missing, `needed` and `available` are
    bytes.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        needed: int | None = None,
        available: int | None = None,
    ):
        super().__init__(message)
        self.path = path
        self.needed = needed
        self.available = available


# What is found in the shared files.


class CncFileError(PillionError):
    """`cnc.dat` is not one: too short, foreign, or its lengths do not fit the file."""

    def __init__(self, message: str, *, path: str = ""):
        super().__init__(message)
        self.path = path


class CncNotReadyError(CncFileError):
    """The driver is still starting: the file has no version yet, or is not complete yet."""


class DriverIncompatibleError(PillionError):
    """The driver speaks another major version of the shared-memory format.

    `found` and `supported` are encoded versions: `major << 16 | minor << 8 | patch`.
    """

    def __init__(self, message: str, *, found: int = 0, supported: int = 0):
        super().__init__(message)
        self.found = found
        self.supported = supported


class ActiveDriverError(PillionError):
    """A living driver, of process `pid` (0 where it is not known), owns `directory`."""

    def __init__(self, message: str, *, directory: str = "", pid: int = 0):
        super().__init__(message)
        self.directory = directory
        self.pid = pid


class LogFileError(PillionError):
    """A log buffer file is not one, or does not fit its own metadata."""


class MalformedCommandError(PillionError):
    """A command or event is shorter than its fields, or a length in it leads outside."""


class LappedError(PillionError):
    """The client did not read the driver's events fast enough: some were overwritten."""


class BufferFullError(PillionError):
    """The driver's command buffer is full: the driver does not keep up, or is stopped."""


class CountersExhaustedError(PillionError):
    """No counter is left; the counters buffer of the driver has to be larger."""


# The driver's refusal.


class RegistrationError(PillionError):
    """The driver refused a command.

    `error_code` is its reason (`ErrorCode.UNKNOWN` for a code of a later version, whose number is
    `error_code_value`), `message` its own words. `command`, `channel` and `stream_id` tell what was
    asked, where the client knows it. `RESOURCE_TEMPORARILY_UNAVAILABLE` is worth a retry; the
    calls that wait have tried for the driver timeout.
    """

    def __init__(
        self,
        message: str,
        *,
        error_code: int = ErrorCode.GENERIC_ERROR,
        correlation_id: int = -1,
        command: str = "",
        channel: str = "",
        stream_id: int | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.error_code = ErrorCode.of(error_code)
        self.error_code_value = int(error_code)
        self.correlation_id = correlation_id
        self.command = command
        self.channel = channel
        self.stream_id = stream_id

    def __str__(self) -> str:
        asked = self.command
        if self.channel:
            asked = f"{asked} {self.channel}".lstrip()
        if self.stream_id is not None:
            asked = f"{asked} stream {self.stream_id}".lstrip()
        reason = f"{self.error_code.name} ({self.error_code_value}): {self.message}"
        return f"{asked}: {reason}" if asked else reason


class ChannelEndpointError(PillionError):
    """A channel that had been accepted failed later, on a bind or a re-resolution for example.

    `status_indicator_id` is the counter id of the channel's status.
    """

    def __init__(self, message: str, *, status_indicator_id: int = -1):
        super().__init__(message)
        self.status_indicator_id = status_indicator_id


# Time-outs.


class DriverTimeoutError(PillionError, TimeoutError):
    """No driver, or one that stopped answering, within the driver timeout."""


class ClientTimeoutError(PillionError, TimeoutError):
    """The driver timed this client out: it did not keep alive for the client liveness timeout."""


class ConductorServiceTimeoutError(PillionError, TimeoutError):
    """The client's own conductor did not run for longer than the driver tolerates."""


class TimedOutError(PillionError, TimeoutError):
    """A call with a timeout did not finish in time."""


# What a publication says when it cannot take a message, where the caller asked for exceptions.


class NotConnectedError(PillionError):
    """Nobody subscribes."""


class BackPressuredError(PillionError):
    """The subscribers, or the network, do not keep up: the publication's window is full."""


class AdminActionError(PillionError):
    """The log was being rotated: the next try takes the message."""


class MaxPositionExceededError(PillionError):
    """The stream reached the largest position its term length allows."""


# Things that are over.


class ClosedError(PillionError):
    """The client, publication, subscription or counter was closed."""


class PublicationClosedError(ClosedError):
    """The publication was closed, by its owner or with its client."""


class ForkedError(ClosedError):
    """The object belongs to the parent process; a forked child has to connect by itself."""
