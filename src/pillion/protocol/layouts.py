"""Layouts of the shared files, sizes and offsets asserted at import."""

import cython

if not cython.compiled:
    raise ImportError("pillion.protocol.layouts must be compiled: run `pip install .`")


def _check(name: str, size: int, expected: int) -> None:
    if size != expected:
        raise ImportError(f"{name} is {size}, the shared-memory format says {expected}: report it")


_check("size of CncMetadata", cython.sizeof(CncMetadata), CNC_METADATA_LENGTH)
_check("size of RecordHeader", cython.sizeof(RecordHeader), RECORD_HEADER_LENGTH)
_check("size of RingTrailer", cython.sizeof(RingTrailer), RING_TRAILER_LENGTH)
_check("size of BroadcastTrailer", cython.sizeof(BroadcastTrailer), BROADCAST_TRAILER_LENGTH)
_check("size of CounterValue", cython.sizeof(CounterValue), COUNTER_VALUE_LENGTH)
_check("size of CounterMetadata", cython.sizeof(CounterMetadata), COUNTER_METADATA_LENGTH)
_check("size of ErrorEntry", cython.sizeof(ErrorEntry), ERROR_HEADER_LENGTH)
_check("size of LossEntry", cython.sizeof(LossEntry), LOSS_ENTRY_HEADER_LENGTH)
_check("size of LogMetadata", cython.sizeof(LogMetadata), LOG_METADATA_LENGTH)


def _check_log_offsets() -> None:
    metadata: LogMetadata
    base: cython.size_t = cython.cast(cython.size_t, cython.address(metadata))
    _check("offset of end_of_stream_position",
           cython.cast(cython.size_t, cython.address(metadata.end_of_stream_position)) - base, 128)
    _check("offset of correlation_id",
           cython.cast(cython.size_t, cython.address(metadata.correlation_id)) - base, 256)
    _check("offset of default_header",
           cython.cast(cython.size_t, cython.address(metadata.default_header)) - base, 320)
    _check("offset of group", cython.cast(cython.size_t, cython.address(metadata.group)) - base, 488)
    _check("offset of untethered_linger_timeout_ns",
           cython.cast(cython.size_t, cython.address(metadata.untethered_linger_timeout_ns)) - base, 500)


_check_log_offsets()
