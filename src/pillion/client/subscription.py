"""Subscriptions: the reader's end of a stream, with one image for each publisher."""

from __future__ import annotations

import time

import cython
from cython.cimports.pillion.client.image import Image

from pillion.errors import ClosedError

if not cython.compiled:
    raise ImportError("pillion.client.subscription must be compiled: run `pip install .`")


class Subscription:
    """Polls its images in turn. One thread polls a subscription at a time.

    The images are an immutable tuple which the conductor replaces, so a poll that is under way keeps the ones it began
    with; an image that went away meanwhile gives nothing.
    """

    def __init__(self, conductor, channel: str, stream_id: int, registration_id: int, status_id: int,
                 on_available_image=None, on_unavailable_image=None):
        self.conductor = conductor
        self.channel = channel
        self.stream_id = stream_id
        self.registration_id = registration_id
        self.channel_status_id = status_id
        self.on_available_image = on_available_image
        self.on_unavailable_image = on_unavailable_image
        self._images = ()
        self.next_image = 0
        self.closed = False

    def _check_open(self):
        if self.closed:
            raise ClosedError(f"the subscription on {self.channel} stream {self.stream_id} is closed")

    def poll(self, handler, fragment_limit=10):
        """Deliver up to `fragment_limit` fragments to `handler(buffer, header)`; how many were.

        Messages longer than a frame come in fragments: wrap the handler in a `FragmentAssembler` for whole ones.
        Raises `ClosedError`, and whatever the handler raises.
        """
        if self.closed:
            self._check_open()
        images: tuple = self._images
        count: cython.int = len(images)
        if count == 0:
            return 0
        total: cython.int = 0
        start: cython.int = self.next_image
        index: cython.int
        if start >= count:
            start = 0
        # Another image first each time, so that a fast one does not starve the rest.
        self.next_image = start + 1
        for index in range(count):
            if total >= fragment_limit:
                break
            total += cython.cast(Image, images[(start + index) % count]).poll(handler, fragment_limit - total)
        return total

    def controlled_poll(self, handler, fragment_limit: int = 10) -> int:
        """`poll` with a handler that returns ABORT, BREAK, COMMIT or CONTINUE."""
        self._check_open()
        total = 0
        images = self._images
        if images:
            self.next_image = (self.next_image + 1) % len(images)
            for index in range(len(images)):
                if total >= fragment_limit:
                    break
                image = images[(self.next_image + index) % len(images)]
                total += image.controlled_poll(handler, fragment_limit - total)
        return total

    def bounded_poll(self, handler, limit_position: int, fragment_limit: int = 10) -> int:
        """`poll` that delivers nothing that ends beyond `limit_position`, on any image."""
        self._check_open()
        total = 0
        for image in self._images:
            if total >= fragment_limit:
                break
            total += image.bounded_poll(handler, limit_position, fragment_limit - total)
        return total

    def block_poll(self, handler, block_length_limit: int) -> int:
        """Blocks of whole frames of every image, `handler(buffer, session_id, term_id)`; the bytes delivered."""
        self._check_open()
        return sum([image.block_poll(handler, block_length_limit) for image in self._images])

    def messages(self, timeout: float | None = None, fragment_limit: int = 64):
        """Iterate over whole messages as `bytes`. Ends after `timeout` seconds without one, or when closed."""
        from pillion.client.assembler import FragmentAssembler

        found: list = []
        assembler = FragmentAssembler(lambda buffer, header: found.append(bytes(buffer)))
        idle = 0
        last = time.monotonic()
        while not self.closed:
            if self.poll(assembler, fragment_limit):
                idle = 0
                taken, found[:] = list(found), []
                yield from taken
                last = time.monotonic()
                continue
            if timeout is not None and time.monotonic() - last > timeout:
                return
            idle += 1
            self.conductor.idle(idle)

    @property
    def images(self) -> tuple:
        """The images there are now."""
        return self._images

    @property
    def image_count(self) -> int:
        return len(self._images)

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
        """1 active, 0 initialising, -1 errored, 2 closing; always 1 for IPC."""
        return self.conductor.channel_status(self.channel_status_id)

    @property
    def local_socket_addresses(self) -> list:
        """Addresses the channel's sockets are bound to, e.g. to learn the port of an endpoint with port 0."""
        return self.conductor.local_socket_addresses(self.channel_status_id)

    @property
    def resolved_endpoint(self) -> str | None:
        """The address an endpoint with port 0 was bound to."""
        addresses = self.local_socket_addresses
        return addresses[0] if addresses else None

    def add_destination(self, channel: str) -> int:
        """Add a destination to a `control-mode=manual` subscription; its registration id."""
        self._check_open()
        return self.conductor.destination(self, "add_rcv_destination", channel)

    def remove_destination(self, channel: str) -> None:
        self._check_open()
        self.conductor.destination(self, "remove_rcv_destination", channel)

    def _reject_image(self, image_id: int, position: int, reason: str):
        self.conductor.reject_image(image_id, position, reason)

    def _add_image(self, image):
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
        """Give the subscription and its images back. Again does nothing. Polling it from now on raises."""
        if not self.closed:
            self.conductor.release_subscription(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = "closed" if self.closed else f"{len(self._images)} images"
        return f"Subscription({self.channel!r}, stream {self.stream_id}, {state})"
