"""Numbers of the control protocol against sections 5.7, 5.9 and 8.1 of the shared-memory format."""

from __future__ import annotations

import pytest

from pillion.errors import ErrorCode
from pillion.protocol.ids import (
    CONTROL_PROTOCOL_VERSION,
    NULL_VALUE,
    ChannelStatus,
    CommandType,
    CounterType,
    ResponseType,
    SystemCounter,
    system_counter_labels,
)

COMMANDS = """add_publication remove_publication add_exclusive_publication add_subscription
remove_subscription client_keepalive add_destination remove_destination add_counter remove_counter
client_close add_rcv_destination remove_rcv_destination terminate_driver add_static_counter
reject_image remove_destination_by_id get_next_session_id"""
EVENTS = """error available_image publication_ready operation_success unavailable_image
exclusive_publication_ready subscription_ready counter_ready unavailable_counter client_timeout
static_counter publication_error next_session_id"""
LABELS = """Bytes sent
Bytes received
Failed offers to ReceiverProxy
Failed offers to SenderProxy
Failed offers to DriverConductorProxy
NAKs sent
NAKs received
Status Messages sent
Status Messages received
Heartbeats sent
Heartbeats received
Retransmits sent
Flow control under runs
Flow control over runs
Invalid packets
Errors: version=1.2.3 commit=
Short sends
Failed attempts to free log buffers
Sender flow control limits, i.e. back-pressure events
Unblocked Publications
Unblocked Control Commands
Possible TTL Asymmetry
ControllableIdleStrategy status
Loss gap fills
Client liveness timeouts
Resolution changes: driverName=
Conductor max cycle time doing its work in ns: SHARED
Conductor work cycle exceeded threshold count: threshold=100ms SHARED
Sender max cycle time doing its work in ns: SHARED
Sender work cycle exceeded threshold count: threshold=100ms SHARED
Receiver max cycle time doing its work in ns: SHARED
Receiver work cycle exceeded threshold count: threshold=100ms SHARED
NameResolver max time in ns
NameResolver exceeded threshold count: threshold=5s
Aeron software: version=1.2.3 commit=
Bytes currently mapped
Retransmitted bytes
Retransmit Pool Overflow count
Error Frames received
Error Frames sent
Publications Revoked
Publication Images Revoked
Images rejected
Control protocol version
Status Messages rejected
Failed offers to NativeResourceAgentProxy"""


def test_commands_and_events() -> None:
    assert [kind.name.lower() for kind in CommandType] == COMMANDS.split()
    assert list(CommandType) == list(range(1, 0x13))
    assert [kind.name.lower() for kind in ResponseType] == EVENTS.split()
    assert list(ResponseType) == list(range(0x0F01, 0x0F0E))


def test_system_counters() -> None:
    labels = system_counter_labels("SHARED", "1.2.3")
    assert labels == LABELS.splitlines()
    assert list(SystemCounter) == list(range(46)) == list(range(len(labels)))
    assert labels[SystemCounter.ERRORS].startswith("Errors:")
    assert labels[SystemCounter.CONTROL_PROTOCOL_VERSION] == "Control protocol version"
    assert labels[SystemCounter.BYTES_MAPPED] == "Bytes currently mapped"
    assert CONTROL_PROTOCOL_VERSION == 65_536


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SYSTEM", 0), ("PUBLISHER_LIMIT", 1), ("SENDER_POSITION", 2), ("RECEIVER_HWM", 3),
        ("SUBSCRIBER_POSITION", 4), ("RECEIVER_POSITION", 5), ("SEND_CHANNEL_STATUS", 6),
        ("RECEIVE_CHANNEL_STATUS", 7), ("SENDER_LIMIT", 9), ("CLIENT_HEARTBEAT", 11),
        ("PUBLISHER_POSITION", 12), ("SENDER_BACK_PRESSURE", 13), ("LOCAL_SOCKET_ADDRESS", 14),
        ("SENDER_NAKS_RECEIVED", 19), ("RECEIVER_NAKS_SENT", 20),
    ],
)  # fmt: skip
def test_counter_types(name: str, value: int) -> None:
    assert CounterType[name] == value


def test_channel_status_and_null() -> None:
    assert [(status.name, int(status)) for status in ChannelStatus] == [
        ("ERRORED", -1), ("INITIALIZING", 0), ("ACTIVE", 1), ("CLOSING", 2),
    ]  # fmt: skip
    assert NULL_VALUE == -1


def test_error_codes() -> None:
    names = """unused invalid_channel unknown_subscription unknown_publication channel_endpoint_error
    unknown_counter unknown_command_type_id malformed_command not_supported unknown_host
    resource_temporarily_unavailable generic_error storage_space image_rejected publication_revoked"""
    assert [code.name.lower() for code in ErrorCode if code >= 0] == names.split()
    assert [int(code) for code in ErrorCode if code >= 0] == list(range(15))
    assert ErrorCode.of(11) is ErrorCode.GENERIC_ERROR
    assert ErrorCode.of(999) is ErrorCode.of(-1) is ErrorCode.UNKNOWN
