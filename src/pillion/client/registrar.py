"""Asking the driver for things: publications, subscriptions, counters, destinations, session ids.

Everything that is asked for goes through `submit` and is answered through `Requests`; the blocking
calls are `submit` and `wait`. Made for the application's threads; the conductor's lock guards it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from pillion.client.conductor import ClientConductor
from pillion.client.counter import Counter
from pillion.client.publication import ExclusivePublication, Publication, new_publication
from pillion.client.requests import Request
from pillion.client.settings import UNSET, Handler, Unset
from pillion.client.subscription import Subscription, new_subscription
from pillion.errors import DriverTimeoutError, ErrorCode, PillionError, RegistrationError
from pillion.memory.log_buffer import LogBuffer
from pillion.protocol import commands
from pillion.protocol.commands import (
    CounterEvent,
    NextSessionId,
    PublicationReady,
    SubscriptionReady,
)
from pillion.protocol.ids import CommandType, CounterType, SystemCounter

_DESTINATION_COMMANDS = {
    "add_destination": CommandType.ADD_DESTINATION,
    "remove_destination": CommandType.REMOVE_DESTINATION,
    "add_rcv_destination": CommandType.ADD_RCV_DESTINATION,
    "remove_rcv_destination": CommandType.REMOVE_RCV_DESTINATION,
}
_CONTROL_PROTOCOL_1_0_0 = 1 << 16
_ACTIVE = 1
_CLOSED_STATUS = -1
# Of a type-14 counter: the channel's status counter id, the length of the address, the address.
_ADDRESS_AT = 8
_MAX_ADDRESS_LENGTH = 104
_FIRST_PAUSE = 20e-6
_LONGEST_PAUSE = 1e-3


class Registrar(ClientConductor):
    """The conductor, with everything that can be asked of the driver."""

    def submit(self, command: CommandType, encode: Callable[[int], bytes], request: Request) -> int:
        """Send a command with a fresh correlation id, which it returns."""
        with self.lock:
            self.check_open()
            correlation_id = self.proxy.next_correlation_id()
            message = encode(correlation_id)
            request.deadline_ns = self._clock.nano() + self.settings.driver_timeout_ns
            self.requests.add(correlation_id, request)
            try:
                self.proxy.send(command, message)
            except BaseException:
                self.requests.drop(correlation_id)
                raise
            return correlation_id

    def poll_answer(self, correlation_id: int) -> Any:
        """The result of a command if it is there, None if not; raises what it was refused with."""
        self.do_work()
        with self.lock:
            result = self.requests.take(correlation_id, self._clock.nano())
            if result is None:
                self.check_open()
            return result

    def wait(self, correlation_id: int) -> Any:
        """Wait for the answer of a command, at most the driver timeout."""
        pause = _FIRST_PAUSE
        try:
            while (result := self.poll_answer(correlation_id)) is None:
                with self.lock:
                    if not self.requests.is_known(correlation_id):
                        raise PillionError(f"command {correlation_id} was cancelled meanwhile")
                if self.settings.driver_agent_invoker is not None:
                    self.settings.driver_agent_invoker()
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        except DriverTimeoutError as error:
            raise DriverTimeoutError(
                f"{error}; waited {self.settings.driver_timeout_ns / 1e9:.1f} s for {self.driver_name}"
            ) from None
        except BaseException:
            self.cancel(correlation_id)  # an interrupt: what comes late is given back
            raise
        return result

    def obtain(self, submit: Callable[[], int]) -> Any:
        """What `submit` asks for: again, within the driver timeout, while an endpoint of before is being closed."""
        deadline_ns = self._clock.nano() + self.settings.driver_timeout_ns
        while True:
            try:
                return self.wait(submit())
            except RegistrationError as error:
                is_passing = error.error_code == ErrorCode.RESOURCE_TEMPORARILY_UNAVAILABLE
                if not is_passing or self._clock.nano() >= deadline_ns:
                    raise
            time.sleep(_LONGEST_PAUSE)

    def is_active(self, correlation_id: int) -> bool:
        with self.lock:
            return self.requests.is_active(correlation_id)

    def cancel(self, correlation_id: int) -> bool:
        """Give up a command, or close what it made; False if it is neither."""
        with self.lock:
            if self.requests.abandon(correlation_id):
                return True
            self.requests.forget(correlation_id)
            made = (
                self.publications.get(correlation_id)
                or self.subscriptions.get(correlation_id)
                or self.own_counters.get(correlation_id)
            )
        if made is None:
            return False
        made.close()
        return True

    # Publications, subscriptions, counters.

    def submit_publication(self, channel: str, stream_id: int, exclusive: bool) -> int:
        def make(event: PublicationReady) -> Publication | ExclusivePublication:
            log = LogBuffer.open(event.log_file_name, pre_touch=self.settings.pre_touch_mapped_memory)
            publication: Publication | ExclusivePublication = new_publication(
                exclusive,
                self,
                log,
                self.counters,
                channel,
                event.correlation_id,
                event.registration_id,
                event.limit_counter_id,
                event.status_counter_id,
            )
            self.publications[event.correlation_id] = publication
            return publication

        kind = "exclusive publication" if exclusive else "publication"
        return self.submit(
            CommandType.ADD_EXCLUSIVE_PUBLICATION if exclusive else CommandType.ADD_PUBLICATION,
            lambda correlation_id: commands.encode_add_publication(self.client_id, correlation_id, stream_id, channel),
            Request(f"add {kind}", make, self.proxy.remove_publication, channel, stream_id),
        )

    def submit_subscription(
        self,
        channel: str,
        stream_id: int,
        on_available: Handler | Unset | None,
        on_unavailable: Handler | Unset | None,
    ) -> int:
        settings = self.settings
        available = settings.on_available_image if on_available is UNSET else on_available
        unavailable = settings.on_unavailable_image if on_unavailable is UNSET else on_unavailable
        for handler in (available, unavailable):
            if handler is not None and not callable(handler):
                raise TypeError(f"handler {handler!r} is not callable")

        def make(event: SubscriptionReady) -> Subscription:
            subscription: Subscription = new_subscription(
                self,
                channel,
                stream_id,
                event.correlation_id,
                event.status_counter_id,
                available,
                unavailable,
            )
            self.subscriptions[event.correlation_id] = subscription
            return subscription

        return self.submit(
            CommandType.ADD_SUBSCRIPTION,
            lambda correlation_id: commands.encode_add_subscription(self.client_id, correlation_id, stream_id, channel),
            Request("add subscription", make, self.proxy.remove_subscription, channel, stream_id),
        )

    def submit_counter(self, type_id: int, key: bytes, label: str) -> int:
        def make(event: CounterEvent) -> Counter:
            own_id = event.correlation_id
            counter = Counter(self, self.counters_writer, own_id, own_id, event.counter_id)
            self.own_counters[own_id] = counter
            return counter

        return self.submit(
            CommandType.ADD_COUNTER,
            lambda correlation_id: commands.encode_add_counter(self.client_id, correlation_id, type_id, key, label),
            Request(f"add counter {label!r}", make, self.proxy.remove_counter),
        )

    def submit_static_counter(self, registration_id: int, type_id: int, key: bytes, label: str) -> int:
        def make(event: CounterEvent) -> Counter:
            own_id = event.correlation_id
            counter = Counter(self, self.counters_writer, registration_id, own_id, event.counter_id, is_static=True)
            self.own_counters[own_id] = counter
            return counter

        return self.submit(
            CommandType.ADD_STATIC_COUNTER,
            lambda correlation_id: commands.encode_add_static_counter(
                self.client_id, correlation_id, registration_id, type_id, key, label
            ),
            Request(f"add static counter {label!r}", make),
        )

    # Session ids, destinations, rejection.

    def next_session_id(self, stream_id: int) -> int:
        version_id = SystemCounter.CONTROL_PROTOCOL_VERSION
        is_there = (
            self.counters.is_allocated(version_id)
            and self.counters.type_id(version_id) == CounterType.SYSTEM
            and self.counters.registration_id(version_id) == version_id
        )
        if not is_there or self.counters.value(version_id) < _CONTROL_PROTOCOL_1_0_0:
            self.check_open()
            return random.randint(-(2**31), 2**31 - 1)
        correlation_id = self.submit(
            CommandType.GET_NEXT_SESSION_ID,
            lambda correlation_id: commands.encode_get_next_session_id(self.client_id, correlation_id, stream_id),
            Request("get next session id", lambda event: event, stream_id=stream_id),
        )
        event: NextSessionId = self.wait(correlation_id)
        return event.session_id

    def submit_destination(self, owner: Any, action: str, destination: object) -> int:
        """Add or remove a destination of a publication or subscription; the id of the command."""
        owner_id = getattr(owner, "original_registration_id", owner.registration_id)
        what = action.replace("_", " ")
        if isinstance(destination, bool):
            raise TypeError(f"{what} needs a channel or a registration id, not {destination}")
        if isinstance(destination, int):
            if action != "remove_destination":
                raise TypeError(f"{what} needs a channel, not the number {destination}")
            if not -(2**63) <= destination < 2**63:
                raise ValueError(f"{what}: the registration id {destination} does not fit 64 bits")
            destination_id = destination
            return self.submit(
                CommandType.REMOVE_DESTINATION_BY_ID,
                lambda correlation_id: commands.encode_remove_destination_by_id(
                    self.client_id, correlation_id, owner_id, destination_id
                ),
                Request(f"{what} {destination}", lambda event: event.correlation_id),
            )
        channel = str(destination)
        return self.submit(
            _DESTINATION_COMMANDS[action],
            lambda correlation_id: commands.encode_destination(self.client_id, correlation_id, owner_id, channel),
            Request(what, lambda event: event.correlation_id, channel=channel),
        )

    def destination(self, owner: Any, action: str, destination: object) -> int:
        """`submit_destination`, and wait until it is done."""
        result: int = self.wait(self.submit_destination(owner, action, destination))
        return result

    def reject_image(self, subscription: Subscription, image_id: int, position: int, reason: str) -> None:
        length = len(reason.encode())
        if length > commands.MAX_REASON_LENGTH:
            raise ValueError(f"reason of {length} bytes, the largest is {commands.MAX_REASON_LENGTH}")
        if subscription.channel.startswith("aeron-spy:"):
            raise PillionError(f"a spy cannot reject images: {subscription!r}")
        correlation_id = self.submit(
            CommandType.REJECT_IMAGE,
            lambda correlation_id: commands.encode_reject_image(
                self.client_id, correlation_id, image_id, position, reason
            ),
            Request("reject image", lambda event: event),
        )
        self.wait(correlation_id)

    # What channels say of themselves.

    def registration_of_counter(self, counter_id: int) -> int:
        """Whose the counter is now, so that its reuse can be told later; -1 for no counter."""
        if not 0 <= counter_id < self.counters.capacity:
            return -1
        registration_id: int = self.counters.registration_id(counter_id)
        return registration_id

    def channel_status(self, status_id: int, registration_id: int) -> int:
        """Of IPC, which has no endpoint: active. Of a counter that is not the channel's: closed."""
        if status_id < 0:
            return _ACTIVE
        if status_id == 0:
            return 0
        is_ours = self.counters.is_allocated(status_id) and (
            self.counters.registration_id(status_id) == registration_id
        )
        value: int = self.counters.value(status_id) if is_ours else _CLOSED_STATUS
        return value

    def local_socket_addresses(self, status_id: int, registration_id: int) -> list[str]:
        """The addresses of the type-14 counters that belong to a channel status counter."""
        if status_id < 0 or self.channel_status(status_id, registration_id) != _ACTIVE:
            return []
        found = []
        for record in self.counters.scan():
            if record.type_id != CounterType.LOCAL_SOCKET_ADDRESS or record.value != _ACTIVE:
                continue
            owner_id = int.from_bytes(record.key[:4], "little", signed=True)
            length = int.from_bytes(record.key[4:_ADDRESS_AT], "little", signed=True)
            if owner_id == status_id and 0 < length <= _MAX_ADDRESS_LENGTH:
                text = record.key[_ADDRESS_AT : _ADDRESS_AT + length]
                found.append(text.decode("utf-8", "replace"))
        return found
