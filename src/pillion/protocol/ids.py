"""Numbers both sides agree on: commands, events, counter types, channel states, system counters."""

from __future__ import annotations

from enum import IntEnum

NULL_VALUE = -1


class CommandType(IntEnum):
    """Commands a client writes into the to-driver ring."""

    ADD_PUBLICATION = 0x01
    REMOVE_PUBLICATION = 0x02
    ADD_EXCLUSIVE_PUBLICATION = 0x03
    ADD_SUBSCRIPTION = 0x04
    REMOVE_SUBSCRIPTION = 0x05
    CLIENT_KEEPALIVE = 0x06
    ADD_DESTINATION = 0x07
    REMOVE_DESTINATION = 0x08
    ADD_COUNTER = 0x09
    REMOVE_COUNTER = 0x0A
    CLIENT_CLOSE = 0x0B
    ADD_RCV_DESTINATION = 0x0C
    REMOVE_RCV_DESTINATION = 0x0D
    TERMINATE_DRIVER = 0x0E
    ADD_STATIC_COUNTER = 0x0F
    REJECT_IMAGE = 0x10
    REMOVE_DESTINATION_BY_ID = 0x11
    GET_NEXT_SESSION_ID = 0x12


class ResponseType(IntEnum):
    """Events the driver transmits to its clients."""

    ERROR = 0x0F01
    AVAILABLE_IMAGE = 0x0F02
    PUBLICATION_READY = 0x0F03
    OPERATION_SUCCESS = 0x0F04
    UNAVAILABLE_IMAGE = 0x0F05
    EXCLUSIVE_PUBLICATION_READY = 0x0F06
    SUBSCRIPTION_READY = 0x0F07
    COUNTER_READY = 0x0F08
    UNAVAILABLE_COUNTER = 0x0F09
    CLIENT_TIMEOUT = 0x0F0A
    STATIC_COUNTER = 0x0F0B
    PUBLICATION_ERROR = 0x0F0C
    NEXT_SESSION_ID = 0x0F0D


class CounterType(IntEnum):
    """Types of the counters a driver allocates."""

    SYSTEM = 0
    PUBLISHER_LIMIT = 1
    SENDER_POSITION = 2
    RECEIVER_HWM = 3
    SUBSCRIBER_POSITION = 4
    RECEIVER_POSITION = 5
    SEND_CHANNEL_STATUS = 6
    RECEIVE_CHANNEL_STATUS = 7
    SENDER_LIMIT = 9
    CLIENT_HEARTBEAT = 11
    PUBLISHER_POSITION = 12
    SENDER_BACK_PRESSURE = 13
    LOCAL_SOCKET_ADDRESS = 14
    SENDER_NAKS_RECEIVED = 19
    RECEIVER_NAKS_SENT = 20


class ChannelStatus(IntEnum):
    """Values of a channel status counter."""

    ERRORED = -1
    INITIALIZING = 0
    ACTIVE = 1
    CLOSING = 2


class SystemCounter(IntEnum):
    """Ids of the system counters, which are also their counter ids."""

    BYTES_SENT = 0
    BYTES_RECEIVED = 1
    RECEIVER_PROXY_FAILS = 2
    SENDER_PROXY_FAILS = 3
    CONDUCTOR_PROXY_FAILS = 4
    NAKS_SENT = 5
    NAKS_RECEIVED = 6
    STATUS_MESSAGES_SENT = 7
    STATUS_MESSAGES_RECEIVED = 8
    HEARTBEATS_SENT = 9
    HEARTBEATS_RECEIVED = 10
    RETRANSMITS_SENT = 11
    FLOW_CONTROL_UNDER_RUNS = 12
    FLOW_CONTROL_OVER_RUNS = 13
    INVALID_PACKETS = 14
    ERRORS = 15
    SHORT_SENDS = 16
    FREE_FAILS = 17
    SENDER_FLOW_CONTROL_LIMITS = 18
    UNBLOCKED_PUBLICATIONS = 19
    UNBLOCKED_COMMANDS = 20
    POSSIBLE_TTL_ASYMMETRY = 21
    CONTROLLABLE_IDLE_STRATEGY = 22
    LOSS_GAP_FILLS = 23
    CLIENT_TIMEOUTS = 24
    RESOLUTION_CHANGES = 25
    CONDUCTOR_MAX_CYCLE_TIME = 26
    CONDUCTOR_CYCLE_TIME_EXCEEDED = 27
    SENDER_MAX_CYCLE_TIME = 28
    SENDER_CYCLE_TIME_EXCEEDED = 29
    RECEIVER_MAX_CYCLE_TIME = 30
    RECEIVER_CYCLE_TIME_EXCEEDED = 31
    NAME_RESOLVER_MAX_TIME = 32
    NAME_RESOLVER_TIME_EXCEEDED = 33
    AERON_VERSION = 34
    BYTES_MAPPED = 35
    RETRANSMITTED_BYTES = 36
    RETRANSMIT_OVERFLOW = 37
    ERROR_FRAMES_RECEIVED = 38
    ERROR_FRAMES_SENT = 39
    PUBLICATIONS_REVOKED = 40
    IMAGES_REVOKED = 41
    IMAGES_REJECTED = 42
    CONTROL_PROTOCOL_VERSION = 43
    STATUS_MESSAGES_REJECTED = 44
    RESOURCE_PROXY_FAILS = 45


CONTROL_PROTOCOL_VERSION = 1 << 16


def system_counter_labels(
    mode: str, version: str, threshold: str = "100ms", resolver_threshold: str = "5s"
) -> list[str]:
    """Labels of the 46 system counters in the order of their ids."""
    return [
        "Bytes sent",
        "Bytes received",
        "Failed offers to ReceiverProxy",
        "Failed offers to SenderProxy",
        "Failed offers to DriverConductorProxy",
        "NAKs sent",
        "NAKs received",
        "Status Messages sent",
        "Status Messages received",
        "Heartbeats sent",
        "Heartbeats received",
        "Retransmits sent",
        "Flow control under runs",
        "Flow control over runs",
        "Invalid packets",
        f"Errors: version={version} commit=",
        "Short sends",
        "Failed attempts to free log buffers",
        "Sender flow control limits, i.e. back-pressure events",
        "Unblocked Publications",
        "Unblocked Control Commands",
        "Possible TTL Asymmetry",
        "ControllableIdleStrategy status",
        "Loss gap fills",
        "Client liveness timeouts",
        "Resolution changes: driverName=",
        f"Conductor max cycle time doing its work in ns: {mode}",
        f"Conductor work cycle exceeded threshold count: threshold={threshold} {mode}",
        f"Sender max cycle time doing its work in ns: {mode}",
        f"Sender work cycle exceeded threshold count: threshold={threshold} {mode}",
        f"Receiver max cycle time doing its work in ns: {mode}",
        f"Receiver work cycle exceeded threshold count: threshold={threshold} {mode}",
        "NameResolver max time in ns",
        f"NameResolver exceeded threshold count: threshold={resolver_threshold}",
        f"Aeron software: version={version} commit=",
        "Bytes currently mapped",
        "Retransmitted bytes",
        "Retransmit Pool Overflow count",
        "Error Frames received",
        "Error Frames sent",
        "Publications Revoked",
        "Publication Images Revoked",
        "Images rejected",
        "Control protocol version",
        "Status Messages rejected",
        "Failed offers to NativeResourceAgentProxy",
    ]
