"""Requests of a client: each answer is taken once, and what nobody wants is given back."""

from __future__ import annotations

import pytest

from pillion.client.handlers import HandlerList, PublicationErrorFrame
from pillion.client.requests import Request, Requests
from pillion.errors import DriverTimeoutError, ErrorCode, LogFileError, RegistrationError
from pillion.protocol.commands import ErrorEvent, IdEvent, PublicationErrorEvent


def asked(requests: Requests, given_back: list[int], correlation_id: int = 5) -> Request:
    request = Request(
        "add publication",
        lambda event: f"made {event.correlation_id}",
        given_back.append,
        "aeron:ipc",
        10,
        deadline_ns=100,
    )
    requests.add(correlation_id, request)
    return request


def test_answer_is_taken_once() -> None:
    requests, given_back = Requests(), []
    asked(requests, given_back)
    assert requests.is_active(5)
    assert requests.has_active
    assert requests.take(5, 100) is None
    requests.on_answer(IdEvent(5))
    assert not requests.is_active(5)
    assert requests.is_known(5)
    assert requests.take(5, 1000) == "made 5"
    assert requests.take(5, 1000) is None
    assert not requests.is_known(5)
    assert given_back == []


def test_refusal_names_what_was_asked() -> None:
    requests = Requests()
    asked(requests, [])
    requests.on_answer(ErrorEvent(5, ErrorCode.STORAGE_SPACE, "no room"))
    with pytest.raises(RegistrationError) as info:
        requests.take(5, 0)
    expected = "add publication aeron:ipc stream 10: STORAGE_SPACE (12): no room"
    assert str(info.value) == expected
    assert requests.take(5, 0) is None


def test_time_out_then_late_answer_is_given_back() -> None:
    requests, given_back = Requests(), []
    asked(requests, given_back)
    with pytest.raises(DriverTimeoutError, match="add publication aeron:ipc stream 10"):
        requests.take(5, 101)
    assert not requests.is_known(5)
    requests.on_answer(IdEvent(5))
    assert given_back == [5]
    assert requests.take(5, 1000) is None


def test_abandoned() -> None:
    requests, given_back = Requests(), []
    asked(requests, given_back)
    assert requests.abandon(5)
    assert not requests.abandon(5)
    assert not requests.has_active
    requests.on_answer(IdEvent(5))
    assert given_back == [5]


def test_abandoned_and_refused() -> None:
    requests, given_back = Requests(), []
    asked(requests, given_back)
    requests.abandon(5)
    requests.on_answer(ErrorEvent(5, 11, "no"))
    assert given_back == []
    assert requests.take(5, 0) is None


def test_what_cannot_be_made_is_given_back() -> None:
    requests, given_back = Requests(), []

    def make(event: object) -> object:
        raise LogFileError("not a log")

    requests.add(5, Request("add publication", make, given_back.append, deadline_ns=100))
    requests.on_answer(IdEvent(5))
    assert given_back == [5]
    with pytest.raises(LogFileError):
        requests.take(5, 0)


def test_answers_to_others() -> None:
    requests = Requests()
    requests.on_answer(IdEvent(6))
    assert requests.take(6, 0) is None


def test_handler_list() -> None:
    handlers = HandlerList(print)
    assert handlers.add(7, repr) == 7
    assert handlers.all() == [print, repr]
    assert handlers.remove(print)
    assert not handlers.remove(print)
    assert handlers.remove(7)
    assert not handlers.remove(7)
    with pytest.raises(TypeError):
        handlers.add(8, "no handler")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "address", "text"),
    [
        (1, b"\x7f\0\0\x01" + bytes(12), "127.0.0.1:40123"),
        (2, bytes(15) + b"\x01", "[::1]:40123"),
        (0, bytes(16), ""),
    ],
)
def test_publication_error_frame(kind: int, address: bytes, text: str) -> None:
    event = PublicationErrorEvent(1, -1, 2, 3, 4, -1, (kind, 40123, address), 13, "rejected")
    frame = PublicationErrorFrame.of("publication", event)
    assert frame.source_address == text
    assert frame.error_code == ErrorCode.IMAGE_REJECTED
    assert frame.message == "rejected"
    unknown = PublicationErrorFrame.of("publication", event._replace(error_code=99))
    assert (unknown.error_code, unknown.error_code_value) == (ErrorCode.UNKNOWN, 99)
