"""IPC publications: streams over shared memory, whose subscribers read the publisher's own log."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from pillion.channel import ChannelUri
from pillion.driver.channel_params import (
    PublicationParams,
    leaves_term_length_open,
    publication_params,
)
from pillion.driver.publications import (
    PublicationStream,
    State,
    log_spec,
    refuse_different,
    refuse_session_clash,
)
from pillion.driver.streams import IpcPublication
from pillion.errors import ErrorCode
from pillion.memory.log_buffer import LogBuffer
from pillion.protocol import commands
from pillion.protocol.commands import AddPublication, PublicationErrorEvent
from pillion.protocol.ids import CounterType, ResponseType, SystemCounter

if TYPE_CHECKING:
    from pillion.driver.links import Subscription
    from pillion.driver.publications_index import PublicationsIndex
    from pillion.driver.services import Services

AF_INET_TYPE = 1
LOOPBACK = bytes((127, 0, 0, 1))


class IpcStream(PublicationStream):
    """One IPC publication, from its first client to the last subscriber that drained it."""

    native: IpcPublication

    def __init__(
        self,
        services: Services,
        command: AddPublication,
        params: PublicationParams,
        log: LogBuffer,
        *,
        is_exclusive: bool,
    ) -> None:
        super().__init__(services, command, log.session_id, params, log, is_exclusive=is_exclusive)
        position = log.producer_position
        kind = "exclusive" if is_exclusive else "concurrent"
        position_id, self.limit_id = (
            services.allocate_stream_counter(
                counter_type,
                name,
                registration_id=self.registration_id,
                owner_id=command.client_id,
                session_id=self.session_id,
                stream_id=self.stream_id,
                channel=command.channel,
                value=position,
            )
            for counter_type, name in (
                (CounterType.PUBLISHER_POSITION, f"pub-pos ({kind})"),
                (CounterType.PUBLISHER_LIMIT, "pub-lmt"),
            )
        )
        self.counter_ids += [position_id, self.limit_id]
        self.native = IpcPublication(
            log,
            services.counters,
            pub_pos_id=position_id,
            pub_lmt_id=self.limit_id,
            window_length=params.window_length,
        )
        #: While a rejection lasts nobody is linked.
        self.cool_down_until_ns = 0
        self.is_handed_over = True
        services.plane.add_ipc_publication(self.native)

    @property
    def accepts_subscribers(self) -> bool:
        if self.cool_down_until_ns:
            return False
        if self.state is State.ACTIVE:
            return not self.is_revoked
        return self.state is State.DRAINING and not self.native.is_drained

    def untethered_limit(self) -> int:
        window = self.params.window_length
        return self.native.consumer_position - window + window // 4

    def begin_draining(self) -> None:
        if self.state is State.ACTIVE:
            self.native.signal_end(self.is_revoked)
            if not self.is_revoked:
                self.state = State.DRAINING

    def reject(self, position: int, reason: str) -> None:
        """Let every subscriber go for the image liveness timeout, and tell the publishers why."""
        services = self.services
        event = PublicationErrorEvent(
            self.registration_id,
            -1,
            self.session_id,
            self.stream_id,
            -1,
            -1,
            (AF_INET_TYPE, 0, LOOPBACK),
            ErrorCode.IMAGE_REJECTED,
            reason,
        )
        services.send(ResponseType.PUBLICATION_ERROR, commands.encode_publication_error(event))
        services.record(
            ErrorCode.IMAGE_REJECTED,
            f"image of {self} was rejected at position {position}: {reason}",
        )
        self.cool_down_until_ns = services.now_ns + services.settings.image_liveness_timeout_ns
        self.unlink_all(announce=True)

    # ---- timers ---------------------------------------------------------------------------------

    def on_time_event(self) -> bool:
        """One step of the life; True when a rejection is over and subscribers may come back."""
        if self.state is State.ACTIVE and self.is_revoked:
            self.services.count(SystemCounter.PUBLICATIONS_REVOKED)
            self.unlink_all(announce=True)
            self.state = State.LINGER
        elif self.state is State.ACTIVE:
            self.check_untethered()
            if not self.is_exclusive:
                self.check_blocked(self.native.consumer_position)
            if self.cool_down_until_ns and self.services.now_ns > self.cool_down_until_ns:
                self.cool_down_until_ns = 0
                return True
        elif self.state is State.DRAINING:
            if self.native.is_drained:
                self.unlink_all(announce=True)
                self.state = State.LINGER
            else:
                self.unblock(self.native.consumer_position)
        elif self.state is State.LINGER and not self.client_links:
            self.state = State.DONE
            self.services.plane.remove_ipc_publication(self.native)
        return False


class IpcPublications:
    """The commands that concern IPC publications."""

    def __init__(self, services: Services, index: PublicationsIndex) -> None:
        self.services = services
        self.index = index

    @property
    def streams(self) -> list[IpcStream]:
        return self.index.ipc

    def add(
        self, command: AddPublication, uri: ChannelUri, *, is_exclusive: bool
    ) -> Generator[Any, Any, IpcStream]:
        """Steps that find or make the publication."""
        services = self.services
        room: int | None = None
        if leaves_term_length_open(uri, services.settings):
            room = yield services.log_files.room
        params = publication_params(
            uri, services.settings, self.index.session_of_tag(uri), room
        )
        if not is_exclusive:
            for stream in self.streams:
                if stream.stream_id == command.stream_id and stream.accepts_sharing:
                    refuse_different(stream, uri, params)
                    return stream
        used = [
            stream
            for stream in self.streams
            if stream.stream_id == command.stream_id
            and stream.state in (State.ACTIVE, State.DRAINING)
        ]
        refuse_session_clash(used, command, params.given_session_id)
        session_id = params.given_session_id
        if session_id is None:
            session_id = self.index.session_ids.take({stream.session_id for stream in used})
        spec = log_spec(
            command,
            params,
            services,
            session_id=session_id,
            initial_term_id=services.random.int32(),
            is_exclusive=is_exclusive,
        )
        log, available = yield partial(
            services.log_files.create, "publications", command.correlation_id, spec
        )
        services.log_was_created(len(log.file), available, log.path)
        stream = IpcStream(services, command, params, log, is_exclusive=is_exclusive)
        self.index.add_ipc(stream)
        return stream

    def matching(self, subscription: Subscription) -> list[IpcStream]:
        return [
            stream
            for stream in self.streams
            if subscription.wants(stream.stream_id, stream.session_id)
            and stream.accepts_subscribers
        ]
