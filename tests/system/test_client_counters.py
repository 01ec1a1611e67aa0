"""Counters of clients, through a driver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.errors import ClosedError, RegistrationError
from pillion.protocol.ids import CounterType
from support import wait_until


def test_a_counter_is_seen_by_everybody(
    driver: MediaDriver, connect: Callable[..., Client]
) -> None:
    seen: list[int] = []
    other = connect(
        driver, on_available_counter=lambda counters, registration, counter_id: seen.append(counter_id)
    )
    client = connect(driver)
    counter = client.add_counter(1101, "orders in flight", key=b"abc")
    counter.value = 5
    assert counter.add(3) == 5
    assert other.counters.value(counter.counter_id) == 8
    assert other.counters.label(counter.counter_id) == "orders in flight"
    assert other.counters.key(counter.counter_id)[:3] == b"abc"
    wait_until(lambda: counter.counter_id in seen, "announced to the other client")


def test_a_removed_counter_is_gone(driver: MediaDriver, connect: Callable[..., Client]) -> None:
    gone: list[int] = []
    client = connect(
        driver, on_unavailable_counter=lambda counters, registration, counter_id: gone.append(counter_id)
    )
    counter = client.add_counter(1101, "short-lived")
    counter.close()
    wait_until(lambda: counter.counter_id in gone, "announced")
    with pytest.raises(ClosedError):
        counter.value = 1
    assert not client.counters.is_allocated(counter.counter_id)


def test_a_static_counter_outlives_its_client(
    driver: MediaDriver, connect: Callable[..., Client]
) -> None:
    first = connect(driver)
    counter = first.add_static_counter(1102, 4242, "static")
    counter.value = 17
    first.close()
    second = connect(driver)
    wait_until(
        lambda: sum(r.type_id == CounterType.CLIENT_HEARTBEAT for r in second.counters) <= 1,
        "the first client is gone",
    )
    again = second.add_static_counter(1102, 4242, "other label")
    assert again.counter_id == counter.counter_id
    assert again.value == 17


def test_a_static_counter_does_not_take_over_a_clients(client: Client) -> None:
    counter = client.add_counter(1103, "mine")
    with pytest.raises(RegistrationError, match="static"):
        client.add_static_counter(1103, counter.registration_id, "clash")


def test_the_client_names_itself_in_its_heartbeat(
    driver: MediaDriver, connect: Callable[..., Client]
) -> None:
    client = connect(driver, client_name="order-router")
    client.add_counter(1104, "any")

    def label() -> str:
        return next(
            (r.label for r in client.counters if r.type_id == CounterType.CLIENT_HEARTBEAT), ""
        )

    wait_until(lambda: "name=order-router" in label(), "named")


def test_session_ids_are_handed_out_once(client: Client) -> None:
    ids = [client.next_session_id(5) for _ in range(20)]
    assert len(set(ids)) == 20
    assert not any(-1 <= session_id <= 1000 for session_id in ids)
