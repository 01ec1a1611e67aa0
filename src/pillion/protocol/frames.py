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
