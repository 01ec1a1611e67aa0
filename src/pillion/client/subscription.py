# cython: auto_pickle=False
"""Subscriptions: the reader's end of a stream, with one image for each publisher."""

from __future__ import annotations

import time
from collections import deque

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.pillion.client.image import Image

from pillion.errors import ClosedError, ForkedError

if not cython.compiled:
    raise ImportError("pillion.client.subscription must be compiled: run `pip install .`")

_NO_LIMIT = cython.declare(int64_t, 9223372036854775807)


def new_subscription(
    conductor: object,
    channel: str,
    stream_id: int,
    registration_id: int,
    status_id: int,
    on_available_image: object,
    on_unavailable_image: object,
) -> Subscription:
    """The subscription the driver has accepted."""
    self: Subscription = Subscription.__new__(Subscription)
    self.conductor = conductor
    self.channel = channel
    self.stream_id = stream_id
    self.registration_id = registration_id
    self.channel_status_id = status_id
    self.status_registration_id = conductor.registration_of_counter(status_id)
    self.on_available_image = on_available_image
    self.on_unavailable_image = on_unavailable_image
    self.closed = False
    return self


class Subscription:
    """Polls its images in turn; made by `Client.add_subscription`. One thread polls it at a time.

    The images are an immutable tuple which the conductor replaces, so a poll that is under way
    keeps the ones it began with; an image that went away meanwhile gives nothing.
    """

    def __cinit__(self, *args, **kwargs):
        self.closed = True
        self.channel = ""
        self._images = ()

    def __init__(self):
        raise TypeError("a Subscription comes from Client.add_subscription")

    def _check_open(self):
        if self.closed:
            reason = None if self.conductor is None else self.conductor.closed
            if isinstance(reason, ForkedError):
                raise ForkedError(str(reason))
            why = "" if reason is None else f": {reason}"
            raise ClosedError(
                f"the subscription on {self.channel} stream {self.stream_id} is closed{why}"
            )

    def _check_client(self):
        """Raises if it was not the application that closed the client."""
        if self.conductor is not None:
            self.conductor.check_alive()

    @cython.binding(False)
    @cython.embedsignature.format('clinic')
    def poll(self, handler, fragment_limit: cython.int = 10):
        """Deliver up to `fragment_limit` fragments to `handler(buffer, header)`; how many were.

        Messages longer than a frame come in fragments: wrap the handler in a `FragmentAssembler`
        for whole ones. Raises `ClosedError`, `TypeError` if `handler` cannot be called, and
        whatever the handler raises.
        """
        return self._poll_images(handler, fragment_limit, _NO_LIMIT, False)

    def controlled_poll(self, handler, fragment_limit: int = 10) -> int:
        """`poll` with a handler that returns ABORT, BREAK, COMMIT or CONTINUE.

        They concern the image the fragment came from: see `Image.controlled_poll`.
        """
        return self._poll_images(handler, fragment_limit, _NO_LIMIT, True)

    def bounded_poll(self, handler, limit_position: int, fragment_limit: int = 10) -> int:
        """`poll` without fragments that begin at or beyond `limit_position`, on any image."""
        return self._poll_images(handler, fragment_limit, limit_position, False)

    def _poll_images(self, handler, limit, limit_position, controlled):
        if self.closed:
            self._check_open()
        images: tuple = self._images
        count: cython.int = len(images)
        if count == 0:
            if not callable(handler):
                raise TypeError(f"handler {handler!r} is not callable")
            return 0
        total: cython.int = 0
        start: cython.int = self.next_image
        index: cython.int
        if start >= count:
            start = 0
        # Another image first each time, so that a fast one does not starve the rest.
        self.next_image = start + 1
        for index in range(count):
            if total >= limit:
                break
            total += cython.cast(Image, images[(start + index) % count]).walk(
                handler, limit - total, limit_position, controlled
            )
        return total

    def block_poll(self, handler, block_length_limit: int) -> int:
        """Blocks of whole frames of every image: see `Image.block_poll`; the bytes delivered."""
        self._check_open()
        return sum([image.block_poll(handler, block_length_limit) for image in self._images])

    def messages(self, timeout: float | None = None, fragment_limit: int = 64):
        """Iterate over whole messages as `bytes`.

        Ends after `timeout` seconds without one (None: never), or when the subscription is closed.
        What a loop that was left early has not taken, the next one gets. Raises `ClosedError` when
        the client had to end, because its driver died for example.
        """
        if self.assembler is None:
            from pillion.client.assembler import FragmentAssembler

            waiting = self.waiting = deque()
            self.assembler = FragmentAssembler(
                lambda buffer, header: waiting.append(bytes(buffer))
            )
        return _messages(self, self.waiting, self.assembler, timeout, fragment_limit)

    def _idle(self, attempt: int):
        self.conductor.idle(attempt)

    @property
    def images(self) -> tuple:
        """The images there are now."""
        return self._images

    @property
    def image_count(self) -> int:
        return len(self._images)

    @property
    def has_no_images(self) -> bool:
        return not self._images

    def image_by_session_id(self, session_id: int):
        """The image of that publisher, or None."""
        for image in self._images:
            if image.session_id == session_id:
                return image
        return None

    @property
    def is_connected(self) -> bool:
        """True while there is an image."""
        return not self.closed and len(self._images) > 0

    @property
    def is_closed(self) -> bool:
        return self.closed

    @property
    def channel_status(self) -> int:
        """1 active, 0 initialising, -1 errored or closed, 2 closing; always 1 for IPC."""
        if self.closed:
            return -1
        return self.conductor.channel_status(self.channel_status_id, self.status_registration_id)

    @property
    def local_socket_addresses(self) -> list:
        """Addresses the sockets are bound to, e.g. to learn the port of an endpoint with port 0."""
        if self.closed:
            return []
        return self.conductor.local_socket_addresses(
            self.channel_status_id, self.status_registration_id
        )

    @property
    def resolved_endpoint(self) -> str | None:
        """The address an endpoint was bound to; None before that, for IPC and when closed."""
        addresses = self.local_socket_addresses
        return addresses[0] if addresses else None

    def try_resolve_channel_endpoint_port(self) -> str | None:
        """The channel with the port its endpoint of port 0 was bound to, for a publisher to use.

        None while it is not bound. A channel whose endpoint has a port, or none, is returned as
        it is.
        """
        from pillion.channel import ChannelUri, ControlMode

        uri = ChannelUri.parse(self.channel)
        endpoint = uri.get("endpoint")
        is_manual = uri.control_mode == ControlMode.MANUAL
        if endpoint is None or not endpoint.endswith(":0") or is_manual:
            return self.channel
        resolved = self.resolved_endpoint
        return None if resolved is None else str(uri.with_resolved_port(resolved))

    def add_destination(self, channel: str) -> int:
        """Add a destination to a `control-mode=manual` subscription; its registration id."""
        self._check_open()
        return self.conductor.destination(self, "add_rcv_destination", channel)

    def remove_destination(self, channel: str) -> None:
        """Take a destination away again. Raises as `add_destination`."""
        self._check_open()
        self.conductor.destination(self, "remove_rcv_destination", channel)

    def async_add_destination(self, channel: str) -> int:
        """Ask only; `Client.poll_async` with the number returned says when it is done."""
        self._check_open()
        return self.conductor.submit_destination(self, "add_rcv_destination", channel)

    def async_remove_destination(self, channel: str) -> int:
        """Ask only; `Client.poll_async` with the number returned says when it is done."""
        self._check_open()
        return self.conductor.submit_destination(self, "remove_rcv_destination", channel)

    def _reject_image(self, image_id: int, position: int, reason: str):
        self.conductor.reject_image(self, image_id, position, reason)

    def _add_image(self, image: Image):
        self._images = (*self._images, image)

    def _remove_image(self, image):
        self._images = tuple([other for other in self._images if other is not image])

    def _close(self):
        self.closed = True
        images = self._images
        self._images = ()
        for image in images:
            image._close()
        return images

    def close(self) -> None:
        """Give the subscription and its images back. Again does nothing.

        Polling it from now on raises `ClosedError`; closing it in a handler ends that poll.
        """
        if not self.closed:
            self.conductor.release_subscription(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = "closed" if self.closed else f"{len(self._images)} images"
        return f"Subscription({self.channel!r}, stream {self.stream_id}, {state})"


def _messages(subscription: Subscription, waiting, assembler, timeout, fragment_limit):
    attempt = 0
    last = time.monotonic()
    while True:
        while waiting:
            yield waiting.popleft()
            attempt, last = 0, time.monotonic()
        if subscription.is_closed:
            subscription._check_client()
            return
        if subscription.poll(assembler, fragment_limit):
            attempt = 0
        elif timeout is not None and time.monotonic() - last >= timeout:
            return
        else:
            attempt += 1
            subscription._idle(attempt)
