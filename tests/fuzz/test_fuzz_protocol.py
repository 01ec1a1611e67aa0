"""Commands, events and channels from anybody: they decode, or raise what is documented, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from fuzzing import Fuzz, attempt
from mutate import mutate, number
from test_channel import ACCEPTED, REFUSED, VALUES
from test_commands import ENCODED, EVENTS

from pillion.channel import ChannelUri
from pillion.errors import ChannelError, MalformedCommandError
from pillion.parameters import PARAMETERS, format_parameter
from pillion.protocol.commands import decode_command, decode_event


@pytest.mark.parametrize(("decode", "rows"), [(decode_command, ENCODED), (decode_event, EVENTS)])
def test_decoding(fuzz: Fuzz, decode: Callable[[int, bytes], Any], rows: list[tuple[Any, ...]]) -> None:
    for random in fuzz.rounds():
        for kind, encoded, _, _ in rows:
            message = random.randbytes(random.randrange(120)) if random.random() < 0.1 else mutate(random, encoded)
            kind = number(random, 32) if random.random() < 0.1 else kind
            decoded, error = attempt(partial(decode, kind, message), MalformedCommandError, KeyError)
            assert isinstance(decoded, tuple) or isinstance(error, MalformedCommandError) or error.args == (kind,)


def channel(random: Random) -> str:
    if random.random() < 0.3:
        text = random.choice(ACCEPTED + REFUSED)[0].encode()
        return mutate(random, text).decode("utf-8", "surrogateescape")
    pieces = []
    for _ in range(random.randrange(6)):
        name = random.choice(list(PARAMETERS))
        right, wrong = VALUES[name]
        value = str(random.choice([value for _, value in right] + wrong))
        if random.random() < 0.2:
            value = mutate(random, value.encode()).decode("utf-8", "surrogateescape")
        pieces.append(random.choice((f"{name}={value}", name, f"={value}", "", f"{name}=")) if random.random() < 0.1
                      else f"{name}={value}")  # fmt: skip
    prefix = random.choice(("aeron:udp?", "aeron:udp?", "aeron:ipc?", "aeron-spy:aeron:udp?", "aeron:"))
    return prefix + "|".join(pieces)


def look_at_everything(uri: ChannelUri) -> None:
    """Every property and typed getter, as driver and client use them."""
    properties = ("endpoint", "control", "interface", "control_mode", "channel_tag", "entity_tag")
    looks: list[Callable[[], Any]] = [lambda name=name: getattr(uri, name) for name in properties]
    getters = (uri.get_size, uri.get_duration_ns, uri.get_bool, uri.get_int32, uri.get_int64)
    looks += [lambda get=get, name=name: get(name) for get in getters for name in list(uri.params)[:8]]
    looks += [
        uri.validate,
        uri.check_addressing,
        uri.timestamp_offsets,
        lambda: uri.initial_position(65_536),
        lambda: uri.destination("localhost:1"),
        lambda: uri.with_resolved_port("127.0.0.1:5"),
        lambda: ChannelUri.spy_of(uri),
    ]
    for look in looks:
        _, error = attempt(look, ChannelError)
        assert error is None or 0 < len(str(error)) < 20_000


def test_channels(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        text = channel(random)
        uri, error = attempt(partial(ChannelUri.parse, text), ChannelError)
        if error is not None:
            assert str(error)
            continue
        assert ChannelUri.parse(str(uri)) == uri
        look_at_everything(uri)


def test_parameter_values(fuzz: Fuzz) -> None:
    for random in fuzz.rounds():
        name = random.choice(list(PARAMETERS))
        value = random.choice([
            number(random, 64), random.random(), None, True, b"bytes", (1, 2, 3), [], "",
            mutate(random, str(random.choice(VALUES[name][0])[0]).encode()).decode("latin-1"),
        ])  # fmt: skip
        text, error = attempt(partial(format_parameter, name, value), ChannelError)
        if error is not None:
            assert error.parameter == name
            continue
        assert ChannelUri.parse("aeron:ipc").put(name, text).get(name) == text
