"""Images: network streams as this driver receives them, from set-up to the end of their linger."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from pillion.driver.events import decode_address
from pillion.driver.links import Stream, Subscription
from pillion.driver.publications import State
from pillion.driver.refusal import generic
from pillion.driver.streams import PublicationImage
from pillion.driver.udp_channel import format_address
from pillion.memory.log_buffer import LOG_IMAGE, LogBuffer, LogSpec
from pillion.parameters import MAX_MTU_LENGTH
from pillion.protocol.commands import MAX_REASON_LENGTH
from pillion.protocol.ids import CounterType, SystemCounter

if TYPE_CHECKING:
    from pillion.driver.channel_endpoints import Endpoints, ReceiveChannelEndpoint
    from pillion.driver.services import Services

_MIN_MTU = 32
#: Status messages with the end-of-stream flag before an image is let go.
_EOS_STATUS_MESSAGES = 5
_REVOKED = 2


class SetUp:
    """A set-up frame that asks for an image, as the receiver reported it."""

    stream_id: int
    session_id: int
    initial_term_id: int
    active_term_id: int
    term_offset: int
    term_length: int
    mtu_length: int
    ttl: int
    flags: int
    source: bytes

    def __init__(self, fields: tuple[Any, ...]) -> None:
        (
            self.stream_id,
            self.session_id,
            self.initial_term_id,
            self.active_term_id,
            self.term_offset,
            self.term_length,
            self.mtu_length,
            self.ttl,
            self.flags,
            self.source,
        ) = fields

    @property
    def join_position(self) -> int:
        terms = (self.active_term_id - self.initial_term_id) & 0xFFFFFFFF
        return terms * self.term_length + self.term_offset


class ImageStream(Stream):
    """One image, shared by every matching subscription of its endpoint."""

    native: PublicationImage

    def __init__(
        self,
        services: Services,
        endpoint: ReceiveChannelEndpoint,
        setup: SetUp,
        subscription: Subscription,
        log: LogBuffer,
    ) -> None:
        params = endpoint.subscriptions[0].params
        super().__init__(
            services,
            log.correlation_id,
            setup.session_id,
            setup.stream_id,
            log.path,
            len(log.file),
            params.untethered,
        )
        self.endpoint = endpoint
        self.state = State.ACTIVE
        self.state_ns = services.now_ns
        self.is_released = False
        self.source_identity = format_address(decode_address(setup.source))
        self.window_length = min(params.window_length, setup.term_length // 2)
        ids = [
            services.allocate_stream_counter(
                counter_type,
                name,
                registration_id=self.registration_id,
                owner_id=subscription.client_id,
                session_id=self.session_id,
                stream_id=self.stream_id,
                channel=endpoint.channel_text,
                value=value,
            )
            for counter_type, name, value in (
                (CounterType.RECEIVER_HWM, "rcv-hwm", setup.join_position),
                (CounterType.RECEIVER_POSITION, "rcv-pos", setup.join_position),
                (CounterType.RECEIVER_NAKS_SENT, "rcv-naks-sent", 0),
            )
        ]
        self.counter_ids += ids
        settings = services.settings
        delay_ns = settings.nak_unicast_delay_ns
        if params.nak_delay_ns is not None:
            delay_ns = params.nak_delay_ns
        assert endpoint.native is not None
        self.native = PublicationImage(
            log,
            services.counters,
            endpoint.native,
            join_position=setup.join_position,
            source=setup.source,
            rcv_hwm_id=ids[0],
            rcv_pos_id=ids[1],
            rcv_naks_id=ids[2],
            reliable=subscription.params.reliable,
            window_length=self.window_length,
            nak_delay_ns=delay_ns,
            nak_retry_ns=delay_ns * settings.nak_unicast_retry_delay_ratio,
            sm_timeout_ns=settings.status_message_timeout_ns,
            now_ns=services.now_ns,
            liveness_timeout_ns=settings.image_liveness_timeout_ns,
        )
        endpoint.images.add(self)

    def hand_over(self) -> None:
        """Give it to the receiver, once the first subscribers are linked."""
        self.is_handed_over = True
        self.services.plane.add_image(self.native)

    @property
    def accepts_subscribers(self) -> bool:
        if not self.links:
            return False
        if self.state is State.ACTIVE:
            return True
        return self.state is State.DRAINING and not self.native.is_drained

    def untethered_limit(self) -> int:
        positions = [self.services.counters.value(position_id) for position_id in self.links]
        return max(positions) - self.window_length + self.window_length // 4

    def reject(self, reason: str) -> None:
        self.services.count(SystemCounter.IMAGES_REJECTED)
        self.native.reject(reason.encode())

    # ---- timers ---------------------------------------------------------------------------------

    def on_time_event(self, endpoints: Endpoints) -> None:
        if self.state is State.ACTIVE:
            self._check_active()
        elif self.state is State.DRAINING:
            self._drain(endpoints)
        elif self.state is State.LINGER:
            self.state = State.DONE

    @property
    def is_done(self) -> bool:
        """The receiver has let go and nobody is linked any more."""
        return self.state is State.DONE and self.is_released and not self.links

    def _check_active(self) -> None:
        native = self.native
        services = self.services
        self.check_untethered()
        if native.end_state == _REVOKED:
            services.count(SystemCounter.IMAGES_REVOKED)
        silence_ns = services.now_ns - native.last_packet_ns
        if (
            not self.links
            or native.end_state == _REVOKED
            or silence_ns > services.settings.image_liveness_timeout_ns
            or (native.end_state and native.is_complete)
        ):
            self.state = State.DRAINING
            self.state_ns = services.now_ns
            native.set_mode(1)

    def _drain(self, endpoints: Endpoints) -> None:
        native = self.native
        services = self.services
        drain_ns = _EOS_STATUS_MESSAGES * services.settings.status_message_timeout_ns
        is_over = native.is_drained and services.now_ns > self.state_ns + drain_ns
        if not is_over and native.end_state != _REVOKED:
            return
        self.state = State.LINGER
        self.state_ns = services.now_ns
        allows_rejoin = any(
            subscription.params.rejoin
            for subscription in self.endpoint.subscriptions
            if subscription.wants(self.stream_id, self.session_id)
        )
        self.unlink_all(announce=True)
        services.plane.remove_image(native, not native.end_state and not allows_rejoin)
        self.endpoint.images.discard(self)
        endpoints.close_unused_receive(self.endpoint)


class Images:
    """Every image of the driver, and how a set-up frame becomes one."""

    def __init__(self, services: Services, endpoints: Endpoints) -> None:
        self.services = services
        self.endpoints = endpoints
        self.streams: list[ImageStream] = []
        self._by_native: dict[object, ImageStream] = {}

    def by_native(self, native: object) -> ImageStream | None:
        return self._by_native.get(native)

    def by_registration(self, registration_id: int) -> ImageStream | None:
        for stream in self.streams:
            if stream.registration_id == registration_id:
                return stream
        return None

    def matching(self, subscription: Subscription) -> list[ImageStream]:
        return [
            stream
            for stream in self.streams
            if stream.endpoint is subscription.endpoint
            and subscription.wants(stream.stream_id, stream.session_id)
            and stream.accepts_subscribers
        ]

    def create(self, native_endpoint: object, setup: SetUp) -> Generator[Any, Any, None]:
        """Steps from a set-up frame to an image; a refusal lets the next set-up try again."""
        services = self.services
        endpoint = self.endpoints.receiver_of(native_endpoint)
        if endpoint is None or endpoint.is_closing or endpoint.native is None:
            return
        try:
            subscriptions = self._subscriptions(endpoint, setup)
            if not subscriptions:
                raise _NotWanted
            self._check(endpoint, setup)
            spec = self._spec(endpoint, setup, subscriptions)
            log, available = yield partial(
                services.log_files.create, "images", spec.correlation_id, spec
            )
            services.log_was_created(len(log.file), available, log.path)
            # Time has passed: whoever wanted the stream may be gone.
            subscriptions = self._subscriptions(endpoint, setup)
            if endpoint.is_closing or not subscriptions:
                services.delete_log(log.path, len(log.file), [log])
                raise _NotWanted
            try:
                stream = ImageStream(services, endpoint, setup, subscriptions[0], log)
            except Exception:
                services.delete_log(log.path, len(log.file), [log])
                raise
        except _NotWanted:
            self._refuse(endpoint, setup)
            return
        except Exception as error:
            services.record_failure(error)
            self._refuse(endpoint, setup)
            return
        self.streams.append(stream)
        self._by_native[stream.native] = stream
        for subscription in subscriptions:
            stream.link(subscription)
        stream.hand_over()

    def _refuse(self, endpoint: ReceiveChannelEndpoint, setup: SetUp) -> None:
        if endpoint.native is not None:
            self.services.plane.setup_refused(endpoint.native, setup.stream_id, setup.session_id)

    def _subscriptions(
        self, endpoint: ReceiveChannelEndpoint, setup: SetUp
    ) -> list[Subscription]:
        return [
            subscription
            for subscription in endpoint.subscriptions
            if subscription.wants(setup.stream_id, setup.session_id)
        ]

    def _check(self, endpoint: ReceiveChannelEndpoint, setup: SetUp) -> None:
        window = endpoint.subscriptions[0].params.window_length
        where = f"session {setup.session_id} stream {setup.stream_id} on {endpoint.channel_text}"
        mtu = setup.mtu_length
        if not _MIN_MTU <= mtu <= MAX_MTU_LENGTH or mtu % 32:
            raise generic(f"sender's mtu={mtu} is no multiple of 32 in 32..{MAX_MTU_LENGTH}: {where}")
        if mtu > window:
            raise generic(f"sender's mtu={mtu} is larger than the receiver window {window}: {where}")
        room = self.endpoints.rcvbuf(endpoint.channel.uri) or self.endpoints.buffers.default_rcvbuf
        if mtu > room:
            raise generic(f"sender's mtu={mtu} is larger than so-rcvbuf={room}: {where}")
        limit = self.services.settings.stream_session_limit
        count = sum(
            1 for image in endpoint.images if image.stream_id == setup.stream_id
        )
        if count >= limit:
            raise generic(f"exceeded session limit, streamId={setup.stream_id} limit={limit}: {where}")

    def _spec(
        self, endpoint: ReceiveChannelEndpoint, setup: SetUp, subscriptions: list[Subscription]
    ) -> LogSpec:
        services = self.services
        oldest = min(subscriptions, key=lambda each: each.registration_id).params
        params = endpoint.subscriptions[0].params
        uri = endpoint.channel.uri
        buffers = self.endpoints.buffers
        registration_id: int = services.cnc.to_driver_ring.next_correlation_id()
        return LogSpec(
            term_length=setup.term_length,
            mtu_length=setup.mtu_length,
            initial_term_id=setup.initial_term_id,
            session_id=setup.session_id,
            stream_id=setup.stream_id,
            correlation_id=registration_id,
            log_type=LOG_IMAGE,
            page_size=services.settings.file_page_size,
            receiver_window_length=params.window_length,
            socket_sndbuf_length=uri.get_size("so-sndbuf", 0),
            socket_rcvbuf_length=uri.get_size("so-rcvbuf", 0),
            os_default_socket_sndbuf_length=buffers.default_sndbuf,
            os_default_socket_rcvbuf_length=buffers.default_rcvbuf,
            os_max_socket_sndbuf_length=buffers.max_sndbuf,
            os_max_socket_rcvbuf_length=buffers.max_rcvbuf,
            entity_tag=0,
            response_correlation_id=0,
            untethered_window_limit_timeout_ns=params.untethered.window_limit_ns,
            untethered_resting_timeout_ns=params.untethered.resting_ns,
            untethered_linger_timeout_ns=params.untethered.linger_ns,
            rejoin=oldest.rejoin,
            reliable=oldest.reliable,
            tether=oldest.tether,
            sparse=oldest.sparse,
        )

    def on_released(self, native: object) -> bool:
        """The receiver let an image go; False if `native` is none of ours."""
        stream = self._by_native.get(native)
        if stream is None:
            return False
        stream.is_released = True
        return True

    def on_first_loss(self, native: object, length: int) -> None:
        """Make the loss report's entry of an image."""
        stream = self._by_native.get(native)
        if stream is None:
            return
        services = self.services
        entry = services.loss_report.create_entry(
            length,
            services.now_ms,
            stream.session_id,
            stream.stream_id,
            stream.endpoint.channel_text,
            stream.source_identity,
        )
        if entry is not None:
            stream.native.set_loss_entry(entry)

    def free_done(self) -> None:
        """Free the images that nobody has any more."""
        for stream in [stream for stream in self.streams if stream.is_done]:
            self.streams.remove(stream)
            self._by_native.pop(stream.native, None)
            stream.release()


class _NotWanted(Exception):
    """No subscription wants the stream (any more)."""


def check_reason(reason: str) -> None:
    if len(reason.encode()) > MAX_REASON_LENGTH:
        raise generic(
            f"a reason of {len(reason.encode())} bytes, the largest is {MAX_REASON_LENGTH}"
        )
