"""Frames of the wire protocol: sizes asserted, numbers for the control plane.

The structs and constants live in `frames.pxd`, for the data plane. What ordinary Python needs of them is repeated
here by name, taken from the same constants.
"""

import cython

if not cython.compiled:
    raise ImportError("pillion.protocol.frames must be compiled: run `pip install .`")


def _check(name: str, size: int, expected: int) -> None:
    if size != expected:
        raise ImportError(f"struct {name} is {size} bytes, the protocol says {expected}: report it")


_check("FrameHeader", cython.sizeof(FrameHeader), 8)
_check("DataHeader", cython.sizeof(DataHeader), DATA_HEADER_LENGTH)
_check("SetupFrame", cython.sizeof(SetupFrame), SETUP_LENGTH)
_check("StatusMessage", cython.sizeof(StatusMessage), SM_LENGTH_WITH_GROUP_TAG)
_check("NakFrame", cython.sizeof(NakFrame), NAK_LENGTH)
_check("ErrorFrame", cython.sizeof(ErrorFrame), ERR_HEADER_LENGTH)
_check("RttFrame", cython.sizeof(RttFrame), RTTM_LENGTH)
_check("ResponseSetupFrame", cython.sizeof(ResponseSetupFrame), RSP_SETUP_LENGTH)
_check("ResolutionEntry", cython.sizeof(ResolutionEntry), RES_ENTRY_LENGTH)
_check("ResolutionEntry6", cython.sizeof(ResolutionEntry6), RES_ENTRY6_LENGTH)

#: Frame types by name, as `pillion stat` and tests print them.
FRAME_TYPES: dict = {
    "PAD": TYPE_PAD,
    "DATA": TYPE_DATA,
    "NAK": TYPE_NAK,
    "SM": TYPE_SM,
    "ERR": TYPE_ERR,
    "SETUP": TYPE_SETUP,
    "RTTM": TYPE_RTTM,
    "RES": TYPE_RES,
    "RSP_SETUP": TYPE_RSP_SETUP,
}

#: Flags of data frames by name.
DATA_FLAGS: dict = {
    "BEGIN": FLAG_BEGIN,
    "END": FLAG_END,
    "EOS": FLAG_EOS,
    "REVOKED": FLAG_REVOKED,
    "UNFRAGMENTED": FLAGS_UNFRAGMENTED,
}


@cython.cfunc
def _field(base: cython.p_void, field: cython.p_void, size: cython.size_t) -> tuple:
    return cython.cast(cython.size_t, field) - cython.cast(cython.size_t, base), size


def frame_layouts() -> dict:
    """Offset and size of every field of the frame structs, as the compiler laid them out; by frame type and field."""
    data: DataHeader
    setup: SetupFrame
    sm: StatusMessage
    nak: NakFrame
    err: ErrorFrame
    rttm: RttFrame
    rsp_setup: ResponseSetupFrame
    res: ResolutionEntry
    res6: ResolutionEntry6
    return {
        "DATA": {
            "frame_length": _field(cython.address(data), cython.address(data.frame_length), cython.sizeof(data.frame_length)),
            "version": _field(cython.address(data), cython.address(data.version), cython.sizeof(data.version)),
            "flags": _field(cython.address(data), cython.address(data.flags), cython.sizeof(data.flags)),
            "type": _field(cython.address(data), cython.address(data.type), cython.sizeof(data.type)),
            "term_offset": _field(cython.address(data), cython.address(data.term_offset), cython.sizeof(data.term_offset)),
            "session_id": _field(cython.address(data), cython.address(data.session_id), cython.sizeof(data.session_id)),
            "stream_id": _field(cython.address(data), cython.address(data.stream_id), cython.sizeof(data.stream_id)),
            "term_id": _field(cython.address(data), cython.address(data.term_id), cython.sizeof(data.term_id)),
            "reserved_value": _field(cython.address(data), cython.address(data.reserved_value), cython.sizeof(data.reserved_value)),
        },
        "SETUP": {
            "frame_length": _field(cython.address(setup), cython.address(setup.frame_length), cython.sizeof(setup.frame_length)),
            "version": _field(cython.address(setup), cython.address(setup.version), cython.sizeof(setup.version)),
            "flags": _field(cython.address(setup), cython.address(setup.flags), cython.sizeof(setup.flags)),
            "type": _field(cython.address(setup), cython.address(setup.type), cython.sizeof(setup.type)),
            "term_offset": _field(cython.address(setup), cython.address(setup.term_offset), cython.sizeof(setup.term_offset)),
            "session_id": _field(cython.address(setup), cython.address(setup.session_id), cython.sizeof(setup.session_id)),
            "stream_id": _field(cython.address(setup), cython.address(setup.stream_id), cython.sizeof(setup.stream_id)),
            "initial_term_id": _field(cython.address(setup), cython.address(setup.initial_term_id), cython.sizeof(setup.initial_term_id)),
            "active_term_id": _field(cython.address(setup), cython.address(setup.active_term_id), cython.sizeof(setup.active_term_id)),
            "term_length": _field(cython.address(setup), cython.address(setup.term_length), cython.sizeof(setup.term_length)),
            "mtu": _field(cython.address(setup), cython.address(setup.mtu), cython.sizeof(setup.mtu)),
            "ttl": _field(cython.address(setup), cython.address(setup.ttl), cython.sizeof(setup.ttl)),
        },
        "SM": {
            "frame_length": _field(cython.address(sm), cython.address(sm.frame_length), cython.sizeof(sm.frame_length)),
            "version": _field(cython.address(sm), cython.address(sm.version), cython.sizeof(sm.version)),
            "flags": _field(cython.address(sm), cython.address(sm.flags), cython.sizeof(sm.flags)),
            "type": _field(cython.address(sm), cython.address(sm.type), cython.sizeof(sm.type)),
            "session_id": _field(cython.address(sm), cython.address(sm.session_id), cython.sizeof(sm.session_id)),
            "stream_id": _field(cython.address(sm), cython.address(sm.stream_id), cython.sizeof(sm.stream_id)),
            "consumption_term_id": _field(cython.address(sm), cython.address(sm.consumption_term_id), cython.sizeof(sm.consumption_term_id)),
            "consumption_term_offset": _field(cython.address(sm), cython.address(sm.consumption_term_offset), cython.sizeof(sm.consumption_term_offset)),
            "receiver_window": _field(cython.address(sm), cython.address(sm.receiver_window), cython.sizeof(sm.receiver_window)),
            "receiver_id": _field(cython.address(sm), cython.address(sm.receiver_id), cython.sizeof(sm.receiver_id)),
            "group_tag": _field(cython.address(sm), cython.address(sm.group_tag), cython.sizeof(sm.group_tag)),
        },
        "NAK": {
            "frame_length": _field(cython.address(nak), cython.address(nak.frame_length), cython.sizeof(nak.frame_length)),
            "version": _field(cython.address(nak), cython.address(nak.version), cython.sizeof(nak.version)),
            "flags": _field(cython.address(nak), cython.address(nak.flags), cython.sizeof(nak.flags)),
            "type": _field(cython.address(nak), cython.address(nak.type), cython.sizeof(nak.type)),
            "session_id": _field(cython.address(nak), cython.address(nak.session_id), cython.sizeof(nak.session_id)),
            "stream_id": _field(cython.address(nak), cython.address(nak.stream_id), cython.sizeof(nak.stream_id)),
            "term_id": _field(cython.address(nak), cython.address(nak.term_id), cython.sizeof(nak.term_id)),
            "term_offset": _field(cython.address(nak), cython.address(nak.term_offset), cython.sizeof(nak.term_offset)),
            "length": _field(cython.address(nak), cython.address(nak.length), cython.sizeof(nak.length)),
        },
        "ERR": {
            "frame_length": _field(cython.address(err), cython.address(err.frame_length), cython.sizeof(err.frame_length)),
            "version": _field(cython.address(err), cython.address(err.version), cython.sizeof(err.version)),
            "flags": _field(cython.address(err), cython.address(err.flags), cython.sizeof(err.flags)),
            "type": _field(cython.address(err), cython.address(err.type), cython.sizeof(err.type)),
            "session_id": _field(cython.address(err), cython.address(err.session_id), cython.sizeof(err.session_id)),
            "stream_id": _field(cython.address(err), cython.address(err.stream_id), cython.sizeof(err.stream_id)),
            "receiver_id": _field(cython.address(err), cython.address(err.receiver_id), cython.sizeof(err.receiver_id)),
            "group_tag": _field(cython.address(err), cython.address(err.group_tag), cython.sizeof(err.group_tag)),
            "error_code": _field(cython.address(err), cython.address(err.error_code), cython.sizeof(err.error_code)),
            "error_length": _field(cython.address(err), cython.address(err.error_length), cython.sizeof(err.error_length)),
        },
        "RTTM": {
            "frame_length": _field(cython.address(rttm), cython.address(rttm.frame_length), cython.sizeof(rttm.frame_length)),
            "version": _field(cython.address(rttm), cython.address(rttm.version), cython.sizeof(rttm.version)),
            "flags": _field(cython.address(rttm), cython.address(rttm.flags), cython.sizeof(rttm.flags)),
            "type": _field(cython.address(rttm), cython.address(rttm.type), cython.sizeof(rttm.type)),
            "session_id": _field(cython.address(rttm), cython.address(rttm.session_id), cython.sizeof(rttm.session_id)),
            "stream_id": _field(cython.address(rttm), cython.address(rttm.stream_id), cython.sizeof(rttm.stream_id)),
            "echo_timestamp": _field(cython.address(rttm), cython.address(rttm.echo_timestamp), cython.sizeof(rttm.echo_timestamp)),
            "reception_delta": _field(cython.address(rttm), cython.address(rttm.reception_delta), cython.sizeof(rttm.reception_delta)),
            "receiver_id": _field(cython.address(rttm), cython.address(rttm.receiver_id), cython.sizeof(rttm.receiver_id)),
        },
        "RSP_SETUP": {
            "frame_length": _field(cython.address(rsp_setup), cython.address(rsp_setup.frame_length), cython.sizeof(rsp_setup.frame_length)),
            "version": _field(cython.address(rsp_setup), cython.address(rsp_setup.version), cython.sizeof(rsp_setup.version)),
            "flags": _field(cython.address(rsp_setup), cython.address(rsp_setup.flags), cython.sizeof(rsp_setup.flags)),
            "type": _field(cython.address(rsp_setup), cython.address(rsp_setup.type), cython.sizeof(rsp_setup.type)),
            "session_id": _field(cython.address(rsp_setup), cython.address(rsp_setup.session_id), cython.sizeof(rsp_setup.session_id)),
            "stream_id": _field(cython.address(rsp_setup), cython.address(rsp_setup.stream_id), cython.sizeof(rsp_setup.stream_id)),
            "response_session_id": _field(cython.address(rsp_setup), cython.address(rsp_setup.response_session_id), cython.sizeof(rsp_setup.response_session_id)),
        },
        # The entries of a RES frame, counted from their own start; an address is bytes, no number.
        "RES": {
            "res_type": _field(cython.address(res), cython.address(res.res_type), cython.sizeof(res.res_type)),
            "res_flags": _field(cython.address(res), cython.address(res.res_flags), cython.sizeof(res.res_flags)),
            "udp_port": _field(cython.address(res), cython.address(res.udp_port), cython.sizeof(res.udp_port)),
            "age_in_ms": _field(cython.address(res), cython.address(res.age_in_ms), cython.sizeof(res.age_in_ms)),
            "name_length": _field(cython.address(res), cython.address(res.name_length), cython.sizeof(res.name_length)),
        },
        "RES6": {
            "res_type": _field(cython.address(res6), cython.address(res6.res_type), cython.sizeof(res6.res_type)),
            "res_flags": _field(cython.address(res6), cython.address(res6.res_flags), cython.sizeof(res6.res_flags)),
            "udp_port": _field(cython.address(res6), cython.address(res6.udp_port), cython.sizeof(res6.udp_port)),
            "age_in_ms": _field(cython.address(res6), cython.address(res6.age_in_ms), cython.sizeof(res6.age_in_ms)),
            "name_length": _field(cython.address(res6), cython.address(res6.name_length), cython.sizeof(res6.name_length)),
        },
    }
