"""What IPC and network publications share: links of clients, sharing, unblocking, ending."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pillion.driver.links import Stream
from pillion.driver.refusal import Refusal, generic
from pillion.errors import ErrorCode
from pillion.memory.log_buffer import LOG_CONCURRENT, LOG_EXCLUSIVE, LogBuffer, LogSpec
from pillion.protocol import commands
from pillion.protocol.commands import AddPublication, PublicationReady, Remove
from pillion.protocol.ids import ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.channel import ChannelUri
    from pillion.driver.channel_params import PublicationParams
    from pillion.driver.services import Services


class State(enum.Enum):
    """Life of a publication or image; `DONE` waits for its agent to let go."""

    ACTIVE = enum.auto()
    DRAINING = enum.auto()
    LINGER = enum.auto()
    DONE = enum.auto()


class PublicationStream(Stream):
    """A publication of this driver. `client_links` are `(client id, registration id)` of its users."""

    def __init__(
        self,
        services: Services,
        command: AddPublication,
        session_id: int,
        params: PublicationParams,
        log: LogBuffer,
        *,
        is_exclusive: bool,
    ) -> None:
        super().__init__(
            services,
            command.correlation_id,
            session_id,
            command.stream_id,
            log.path,
            len(log.file),
            params.untethered,
        )
        self.channel = command.channel
        self.params = params
        self.log = log
        self.is_exclusive = is_exclusive
        self.state = State.ACTIVE
        self.is_revoked = False
        self.client_links: set[tuple[int, int]] = set()
        self.limit_id = -1
        self.status_id = -1
        #: Position and time of the last progress, for noticing a writer that died in the middle.
        self.progress_position = log.producer_position
        self.progress_ns = services.now_ns

    @property
    def accepts_sharing(self) -> bool:
        return self.state is State.ACTIVE and not self.is_exclusive and not self.is_revoked

    # ---- clients --------------------------------------------------------------------------------

    def add_client(self, command: AddPublication) -> None:
        """Link one more client and tell it where the log is."""
        self.client_links.add((command.client_id, command.correlation_id))
        response = (
            ResponseType.EXCLUSIVE_PUBLICATION_READY
            if self.is_exclusive
            else ResponseType.PUBLICATION_READY
        )
        event = PublicationReady(
            command.correlation_id,
            self.registration_id,
            self.session_id,
            self.stream_id,
            self.limit_id,
            self.status_id,
            self.log_path,
        )
        self.services.send(response, commands.encode_publication_ready(event))

    def drop_client(self, link: tuple[int, int], *, revoke: bool = False) -> None:
        """One client less; the last one ends the stream."""
        self.client_links.discard(link)
        if revoke:
            self.log.is_publication_revoked = True
            self.is_revoked = True
        if not self.client_links:
            self.begin_draining()

    def begin_draining(self) -> None:
        raise NotImplementedError

    # ---- writers that died ----------------------------------------------------------------------

    def check_blocked(self, position: int) -> None:
        """Unblock a shared publication whose consumers wait for a writer for too long."""
        services = self.services
        if position == self.progress_position and self._is_possibly_blocked(position):
            timeout_ns = services.settings.publication_unblock_timeout_ns
            if services.now_ns > self.progress_ns + timeout_ns and self.unblock(position):
                self.progress_ns = services.now_ns
            return
        self.progress_position = position
        self.progress_ns = services.now_ns

    def _is_possibly_blocked(self, position: int) -> bool:
        expected = (position >> self.log.position_bits) & 0xFFFFFFFF
        if self.log.active_term_count & 0xFFFFFFFF != expected:
            return True
        return self.log.producer_position > position

    def unblock(self, position: int) -> bool:
        if not self.log.unblock(position):
            return False
        self.services.count(SystemCounter.UNBLOCKED_PUBLICATIONS)
        return True


def log_spec(
    command: AddPublication,
    params: PublicationParams,
    services: Services,
    *,
    session_id: int,
    initial_term_id: int,
    is_exclusive: bool,
) -> LogSpec:
    """What the log of a new publication is made of."""
    spec = LogSpec(
        term_length=params.term_length,
        mtu_length=params.mtu_length,
        initial_term_id=initial_term_id,
        session_id=session_id,
        stream_id=command.stream_id,
        correlation_id=command.correlation_id,
        log_type=LOG_EXCLUSIVE if is_exclusive else LOG_CONCURRENT,
        page_size=services.settings.file_page_size,
        publication_window_length=params.window_length,
        max_resend=params.max_resend,
        entity_tag=params.entity_tag,
        linger_timeout_ns=params.linger_ns,
        untethered_window_limit_timeout_ns=params.untethered.window_limit_ns,
        untethered_resting_timeout_ns=params.untethered.resting_ns,
        untethered_linger_timeout_ns=params.untethered.linger_ns,
        sparse=params.sparse,
        signal_eos=params.signal_eos,
        spies_simulate_connection=params.spies_simulate_connection,
    )
    if params.initial_position is not None:
        spec.initial_term_id = params.initial_position.initial_term_id
        spec.term_id = params.initial_position.term_id
        spec.term_offset = params.initial_position.term_offset
    return spec


def refuse_different(
    existing: PublicationStream, uri: ChannelUri, params: PublicationParams
) -> None:
    """Raises unless what `uri` asks for agrees with the publication it would share."""
    given = (
        ("session-id", params.given_session_id, existing.session_id),
        ("mtu", params.given_mtu_length, existing.params.mtu_length),
        ("term-length", params.given_term_length, existing.params.term_length),
    )
    for name, wanted, has in given:
        if wanted is not None and wanted != has:
            raise _different(existing, uri, name, has)
    position = params.initial_position
    if position is not None:
        first = existing.params.initial_position
        if first != position:
            raise _different(existing, uri, "init-term-id", first)
    asked, has_ssc = params.spies_simulate_connection, existing.params.spies_simulate_connection
    if uri.is_udp and asked != has_ssc:
        raise _different(existing, uri, "ssc", has_ssc)


def _different(
    existing: PublicationStream, uri: ChannelUri, name: str, has: object
) -> Refusal:
    return generic(
        f"existing publication has different '{name}': existing={has} requested="
        f"{uri.get(name)} channel={uri} existingChannel={existing.channel}"
    )


def refuse_session_clash(
    streams: Iterable[PublicationStream], command: AddPublication, session_id: int | None
) -> None:
    if session_id is None:
        return
    for stream in streams:
        if stream.session_id == session_id:
            raise Refusal(
                ErrorCode.INVALID_CHANNEL,
                f"existing publication has clashing sessionId={session_id} for "
                f"streamId={command.stream_id} channel={command.channel}",
            )


def unknown_publication(command: Remove) -> Refusal:
    return Refusal(
        ErrorCode.UNKNOWN_PUBLICATION,
        f"client {command.client_id} has no publication of registration {command.registration_id}",
    )
