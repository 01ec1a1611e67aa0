"""Log buffers: create, map, and the operations of driver and client that are not appends.

A frame's length word commits it: everything else of a frame is written before, with the positive length stored last
(release), and readers look at nothing before they loaded it (acquire). Lengths come from memory another process can
write, so every walk checks that a frame stays inside its term before it steps over it.
"""

from __future__ import annotations

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    cas_i32,
    cas_i64,
    load_acquire_i32,
    load_acquire_i64,
    load_acquire_u8,
    store_release_i32,
    store_release_i64,
    store_release_u8,
)
from cython.cimports.pillion.memory.mapped_file import MappedFile
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    FLAGS_UNFRAGMENTED,
    MAX_TERM_LENGTH,
    MIN_TERM_LENGTH,
    TYPE_DATA,
    TYPE_PAD,
    DataHeader,
    align_frame,
)
from cython.cimports.pillion.protocol.layouts import LOG_METADATA_LENGTH, LogMetadata

from pillion.errors import LogFileError

if not cython.compiled:
    raise ImportError("pillion.memory.log_buffer must be compiled: run `pip install .`")

LOG_CONCURRENT = 0
LOG_EXCLUSIVE = 1
LOG_IMAGE = 2
MAX_MESSAGE_LENGTH = 16 * 1024 * 1024
NO_END = 2**63 - 1


class LogSpec:
    """Every constant field of a log's metadata. Lengths in bytes, timeouts in ns."""

    def __init__(
        self,
        *,
        term_length: int,
        mtu_length: int,
        initial_term_id: int,
        session_id: int,
        stream_id: int,
        correlation_id: int,
        log_type: int = LOG_CONCURRENT,
        page_size: int = 4096,
        term_id: int | None = None,
        term_offset: int = 0,
        publication_window_length: int = 0,
        receiver_window_length: int = 0,
        socket_sndbuf_length: int = 0,
        os_default_socket_sndbuf_length: int = 0,
        os_max_socket_sndbuf_length: int = 0,
        socket_rcvbuf_length: int = 0,
        os_default_socket_rcvbuf_length: int = 0,
        os_max_socket_rcvbuf_length: int = 0,
        max_resend: int = 0,
        entity_tag: int = -1,
        response_correlation_id: int = -1,
        linger_timeout_ns: int = 0,
        untethered_window_limit_timeout_ns: int = 0,
        untethered_resting_timeout_ns: int = 0,
        untethered_linger_timeout_ns: int = 0,
        group: bool = False,
        is_response: bool = False,
        rejoin: bool = False,
        reliable: bool = False,
        sparse: bool = True,
        signal_eos: bool = False,
        spies_simulate_connection: bool = False,
        tether: bool = False,
    ):
        self.term_length = term_length
        self.mtu_length = mtu_length
        self.initial_term_id = initial_term_id
        self.session_id = session_id
        self.stream_id = stream_id
        self.correlation_id = correlation_id
        self.log_type = log_type
        self.page_size = page_size
        self.term_id = term_id
        self.term_offset = term_offset
        self.publication_window_length = publication_window_length
        self.receiver_window_length = receiver_window_length
        self.socket_sndbuf_length = socket_sndbuf_length
        self.os_default_socket_sndbuf_length = os_default_socket_sndbuf_length
        self.os_max_socket_sndbuf_length = os_max_socket_sndbuf_length
        self.socket_rcvbuf_length = socket_rcvbuf_length
        self.os_default_socket_rcvbuf_length = os_default_socket_rcvbuf_length
        self.os_max_socket_rcvbuf_length = os_max_socket_rcvbuf_length
        self.max_resend = max_resend
        self.entity_tag = entity_tag
        self.response_correlation_id = response_correlation_id
        self.linger_timeout_ns = linger_timeout_ns
        self.untethered_window_limit_timeout_ns = untethered_window_limit_timeout_ns
        self.untethered_resting_timeout_ns = untethered_resting_timeout_ns
        self.untethered_linger_timeout_ns = untethered_linger_timeout_ns
        self.group = group
        self.is_response = is_response
        self.rejoin = rejoin
        self.reliable = reliable
        self.sparse = sparse
        self.signal_eos = signal_eos
        self.spies_simulate_connection = spies_simulate_connection
        self.tether = tether

    @property
    def file_length(self) -> int:
        return log_file_length(self.term_length, self.page_size)


def log_file_length(term_length: int, page_size: int) -> int:
    """Bytes of the file of a log: three terms, the metadata, rounded up to whole pages."""
    return (3 * term_length + LOG_METADATA_LENGTH + page_size - 1) & ~(page_size - 1)


def log_producer_position(log):
    # The tail is read after the count it belongs to (acquire): a rotation in between only makes the position older.
    count: int32_t = load_acquire_i32(cython.address(log.metadata.active_term_count))
    index: cython.uint = cython.cast(cython.uint, count) % 3
    tail: int64_t = load_acquire_i64(cython.address(log.metadata.term_tail_counters[index]))
    return compute_position(term_id_of_tail(tail), offset_of_tail(tail, log.term_length), log.position_bits,
                            log.initial_term_id)


def log_rotate(log, term_count, term_id):
    next_term_id: int32_t = wrap_add(term_id, 1)
    next_count: int32_t = wrap_add(term_count, 1)
    index: cython.uint = cython.cast(cython.uint, next_count) % 3
    tail: cython.pointer(int64_t) = cython.address(log.metadata.term_tail_counters[index])
    expected: int32_t = wrap_add(next_term_id, -3)
    raw: int64_t
    while True:
        raw = load_acquire_i64(tail)
        if term_id_of_tail(raw) != expected:
            break                                   # somebody else rotated already
        if cas_i64(tail, raw, pack_tail(next_term_id, 0)):
            break
    return cas_i32(cython.address(log.metadata.active_term_count), term_count, next_count)


def log_clean(log, clean_position, target):
    # Positions are counted in frames. A subscriber's position is a client's to write: rounding it keeps every call
    # inside its term and every loop over calls moving.
    target = (target + 31) & ~cython.cast(int64_t, 31)
    clean_position &= ~cython.cast(int64_t, 31)
    if target <= clean_position or clean_position < 0:
        return clean_position
    offset: int64_t = clean_position & (log.term_length - 1)
    length: int64_t = target - clean_position
    if length > log.term_length - offset:
        length = log.term_length - offset
    at: cython.pointer(uint8_t) = log.terms[partition_of_position(clean_position, log.position_bits)] + offset
    pillion_assert(length >= DATA_HEADER_LENGTH, b"zeroed by whole frames")
    pillion_assert(offset + length <= log.term_length, b"zeroed inside one term")
    pillion_assert(clean_position + length <= target, b"zeroed no further than asked")
    memset(at + 8, 0, length - 8)
    # Release: who sees the first length word zero sees the rest zero.
    store_release_i64(at, 0)
    return clean_position + length


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _pad(log: cython.pointer(Log), term: cython.pointer(uint8_t), term_id: int32_t, offset: int32_t,
         length: int32_t) -> cython.void:
    frame: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), term + offset)
    header: cython.pointer(uint8_t) = cython.cast(cython.pointer(uint8_t), log.metadata.default_header)
    pillion_assert(offset >= 0, b"padding begins in its term")
    pillion_assert(offset & 31 == 0, b"padding begins where a frame can")
    pillion_assert(offset + DATA_HEADER_LENGTH <= log.term_length, b"the header of padding is inside its term")
    pillion_assert(length > 0, b"padding has a length")
    pillion_assert(length <= log.term_length - offset, b"padding ends in its term")
    memcpy(term + offset + 4, header + 4, DATA_HEADER_LENGTH - 4)
    frame.type = TYPE_PAD
    frame.term_offset = offset
    frame.term_id = term_id
    store_release_i32(term + offset, length)


def log_unblock(log, position):
    bits: int32_t = log.position_bits
    count: int32_t = cython.cast(int32_t, position >> bits)
    offset: int32_t = cython.cast(int32_t, position & (log.term_length - 1))
    index: int32_t = partition_of_position(position, bits)
    term: cython.pointer(uint8_t) = log.terms[index]
    active: int32_t = load_acquire_i32(cython.address(log.metadata.active_term_count))
    raw: int64_t
    if active == count - 1 and offset == 0:
        raw = load_acquire_i64(cython.address(log.metadata.term_tail_counters[cython.cast(cython.uint, active) % 3]))
        log_rotate(log, active, term_id_of_tail(raw))
        return True
    raw = load_acquire_i64(cython.address(log.metadata.term_tail_counters[index]))
    term_id: int32_t = term_id_of_tail(raw)
    tail: int32_t = offset_of_tail(raw, log.term_length)
    if term_id != wrap_add(log.initial_term_id, count) or tail <= offset:
        return False                                # nobody has claimed anything here
    length: int32_t = load_acquire_i32(term + offset)
    if length < 0:
        if length == -2147483648 or -length > log.term_length - offset:
            return False
        _pad(log, term, term_id, offset, -length)
        return True
    if length > 0:
        return False
    at: int32_t = offset + DATA_HEADER_LENGTH
    back: int32_t
    while at < tail:
        if load_acquire_i32(term + at) != 0:
            back = at - DATA_HEADER_LENGTH
            while back >= offset:
                if load_acquire_i32(term + back) != 0:
                    return False
                back -= DATA_HEADER_LENGTH
            _pad(log, term, term_id, offset, at - offset)
            return True
        at += DATA_HEADER_LENGTH
    if at == log.term_length and load_acquire_i32(term + offset) == 0:
        _pad(log, term, term_id, offset, log.term_length - offset)
        log_rotate(log, count, term_id)
        return True
    return False


def log_scan(log, position, max_bytes, padding):
    """Bytes of whole frames from `position`, at most `max_bytes`; a padding frame ends it, its rest in `padding`."""
    offset: int64_t = position & (log.term_length - 1)
    term: cython.pointer(uint8_t) = log.terms[partition_of_position(position, log.position_bits)]
    limit: int64_t = log.term_length - offset
    if max_bytes < limit:
        limit = max_bytes
    available: int64_t = 0
    length: int64_t
    aligned: int64_t
    padding[0] = 0
    while available < limit:
        length = load_acquire_i32(term + offset + available)
        if length <= 0:
            break
        aligned = align_frame(length)
        if aligned > log.term_length - offset - available:
            break                                   # hostile: leads out of the term
        if cython.cast(cython.pointer(DataHeader), term + offset + available).type == TYPE_PAD:
            if available + DATA_HEADER_LENGTH > limit:
                break
            padding[0] = cython.cast(int32_t, aligned - DATA_HEADER_LENGTH)
            available += DATA_HEADER_LENGTH
            break
        if available + aligned > limit:
            break
        available += aligned
    pillion_assert(available & 31 == 0, b"scanned whole frames")
    pillion_assert(offset + available + padding[0] <= log.term_length, b"scanned inside one term")
    return cython.cast(int32_t, available)


def log_insert(log, term_id, term_offset, packet, length):
    position: int64_t = compute_position(term_id, term_offset, log.position_bits, log.initial_term_id)
    if position < 0 or term_offset < 0 or term_offset & 31 or length < DATA_HEADER_LENGTH or (
        length > log.term_length - term_offset
    ):
        return False
    term: cython.pointer(uint8_t) = log.terms[partition_of_position(position, log.position_bits)] + term_offset
    if load_acquire_i32(term) != 0:
        return False                                # a duplicate: what is there stays
    pillion_assert(term_offset + length <= log.term_length, b"a packet is inserted inside its term")
    # The first eight bytes hold the length: one release store makes the whole packet appear. A packet may lie anywhere.
    first: int64_t
    memcpy(cython.address(first), packet, 8)
    memcpy(term + 8, packet + 8, length - 8)
    store_release_i64(term, first)
    return True


def log_fill_gap(log, term_id, term_offset, length):
    position: int64_t = compute_position(term_id, term_offset, log.position_bits, log.initial_term_id)
    if position < 0 or term_offset < 0 or term_offset & 31 or length <= 0 or length > log.term_length - term_offset:
        return False
    term: cython.pointer(uint8_t) = log.terms[partition_of_position(position, log.position_bits)]
    at: int32_t = term_offset
    while at < term_offset + length:
        if load_acquire_i32(term + at) != 0:
            return False
        at += DATA_HEADER_LENGTH
    _pad(log, term, term_id, term_offset, length)
    return True


def log_find_contiguous(log, position, limit):
    """The end of the whole frames that follow `position` without a hole, at most `limit`. Crosses term ends."""
    length: int64_t
    left: int64_t
    while position < limit:
        left = log.term_length - (position & (log.term_length - 1))
        length = load_acquire_i32(
            log.terms[partition_of_position(position, log.position_bits)] + (position & (log.term_length - 1)))
        if length <= 0 or align_frame(length) > left or position + align_frame(length) > limit:
            break
        position += align_frame(length)
    pillion_assert(position & 31 == 0, b"what is contiguous ends with a frame")
    return position


def log_find_gap(log, position, limit):
    """Length of the hole at `position`: to the next frame, to `limit`, or to the end of the term."""
    offset: int64_t = position & (log.term_length - 1)
    term: cython.pointer(uint8_t) = log.terms[partition_of_position(position, log.position_bits)]
    end: int64_t = limit - position + offset
    if end > log.term_length:
        end = log.term_length
    if end <= offset:
        return 0
    at: int64_t = offset
    while at < end and load_acquire_i32(term + at) == 0:
        at += DATA_HEADER_LENGTH
    pillion_assert(end <= log.term_length, b"a gap ends in its term")
    return cython.cast(int32_t, min(at, end) - offset)


class LogBuffer:
    """A mapped log. The mapping lives as long as this object or anything that references its `file`."""

    @staticmethod
    def create(path: str, spec, mode: int = 0o600) -> LogBuffer:
        """Create and initialise the file of a log.

        Raises `DirectoryError` with the bytes that are missing, `OSError`, `ValueError` for a spec that is no log.
        """
        _check_spec(spec)
        file = MappedFile.create(path, log_file_length(spec.term_length, spec.page_size), sparse=spec.sparse, mode=mode)
        self: LogBuffer = LogBuffer.__new__(LogBuffer)
        self.file = file
        metadata: cython.pointer(LogMetadata) = cython.cast(
            cython.pointer(LogMetadata), self.file.address + self.file.length - LOG_METADATA_LENGTH)
        _fill_metadata(metadata, spec)
        self._view()
        return self

    @staticmethod
    def open(path: str, *, pre_touch: bool = False) -> LogBuffer:
        """Map a log another process made. Raises `LogFileError` if it is not what its metadata says."""
        self: LogBuffer = LogBuffer.__new__(LogBuffer)
        try:
            self.file = MappedFile.open(path, populate=pre_touch)
        except (OSError, ValueError) as error:
            raise LogFileError(f"cannot map the log {path}: {error}") from error
        if self.file.length < LOG_METADATA_LENGTH + 3 * MIN_TERM_LENGTH:
            raise LogFileError(f"{path} has {self.file.length} bytes: too short for a log")
        self._view()
        return self

    def __init__(self):
        raise TypeError("use LogBuffer.create or LogBuffer.open")

    def _view(self):
        log: cython.pointer(Log) = cython.address(self.log)
        metadata: cython.pointer(LogMetadata) = cython.cast(
            cython.pointer(LogMetadata), self.file.address + self.file.length - LOG_METADATA_LENGTH)
        length: int64_t = metadata.term_length
        page: int64_t = metadata.page_size
        mtu: int32_t = metadata.mtu_length
        if length < MIN_TERM_LENGTH or length > MAX_TERM_LENGTH or length & (length - 1):
            raise LogFileError(f"{self.file.path}: term length {length} is not a power of two in 64 KiB..1 GiB")
        if page < 4096 or page > MAX_TERM_LENGTH or page & (page - 1):
            raise LogFileError(f"{self.file.path}: page size {page} is not a power of two in 4 KiB..1 GiB")
        if log_file_length(length, page) != self.file.length:
            raise LogFileError(
                f"{self.file.path} has {self.file.length} bytes, its metadata says {log_file_length(length, page)}")
        if mtu <= DATA_HEADER_LENGTH or mtu % 32 or mtu > 65504:
            raise LogFileError(f"{self.file.path}: mtu {mtu} is not a multiple of 32 in 64..65504")
        index: cython.size_t
        for index in range(3):
            log.terms[index] = self.file.address + index * cython.cast(cython.size_t, length)
        header: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), metadata.default_header)
        log.metadata = metadata
        log.term_length = cython.cast(int32_t, length)
        log.position_bits = int(length).bit_length() - 1
        log.initial_term_id = metadata.initial_term_id
        log.mtu_length = mtu
        log.max_payload_length = mtu - DATA_HEADER_LENGTH
        log.max_message_length = min(length // 8, MAX_MESSAGE_LENGTH)
        log.session_id = header.session_id
        log.stream_id = header.stream_id

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def term_length(self) -> int:
        return self.log.term_length

    @property
    def mtu_length(self) -> int:
        return self.log.mtu_length

    @property
    def initial_term_id(self) -> int:
        return self.log.initial_term_id

    @property
    def position_bits(self) -> int:
        return self.log.position_bits

    @property
    def session_id(self) -> int:
        return self.log.session_id

    @property
    def stream_id(self) -> int:
        return self.log.stream_id

    @property
    def correlation_id(self) -> int:
        return self.log.metadata.correlation_id

    @property
    def active_term_count(self) -> int:
        return load_acquire_i32(cython.address(self.log.metadata.active_term_count))

    def raw_tail(self, index: int) -> int:
        if not 0 <= index < 3:
            raise IndexError(f"partition {index} is not in 0..2")
        return load_acquire_i64(cython.address(self.log.metadata.term_tail_counters[index]))

    @property
    def producer_position(self) -> int:
        return log_producer_position(cython.address(self.log))

    @property
    def is_connected(self) -> bool:
        return load_acquire_i32(cython.address(self.log.metadata.is_connected)) == 1

    @is_connected.setter
    def is_connected(self, value: bool):
        store_release_i32(cython.address(self.log.metadata.is_connected), 1 if value else 0)

    @property
    def active_transport_count(self) -> int:
        return load_acquire_i32(cython.address(self.log.metadata.active_transport_count))

    @active_transport_count.setter
    def active_transport_count(self, value: int):
        store_release_i32(cython.address(self.log.metadata.active_transport_count), value)

    @property
    def end_of_stream_position(self) -> int:
        return load_acquire_i64(cython.address(self.log.metadata.end_of_stream_position))

    @end_of_stream_position.setter
    def end_of_stream_position(self, position: int):
        store_release_i64(cython.address(self.log.metadata.end_of_stream_position), position)

    @property
    def is_publication_revoked(self) -> bool:
        return load_acquire_u8(cython.address(self.log.metadata.is_publication_revoked)) != 0

    @is_publication_revoked.setter
    def is_publication_revoked(self, value: bool):
        store_release_u8(cython.address(self.log.metadata.is_publication_revoked), 1 if value else 0)

    def clean(self, clean_position: int, target: int) -> int:
        """Zero from `clean_position` towards `target`, at most to the end of the term; the new clean position."""
        _check_position(clean_position)
        return log_clean(cython.address(self.log), clean_position, target)

    def unblock(self, position: int) -> bool:
        """Pad over what a dead or stuck publisher left at `position`. True if something was unblocked.

        False for a position where no frame can start: it may come from a counter that a client wrote.
        """
        if position % 32:
            return False
        _check_position(position)
        return log_unblock(cython.address(self.log), position)

    def rotate(self, term_count: int, term_id: int) -> bool:
        return log_rotate(cython.address(self.log), term_count, term_id)

    def scan_available(self, position: int, max_bytes: int) -> tuple:
        """Bytes of whole frames at `position`, and the rest of a padding frame behind them."""
        _check_position(position)
        padding: int32_t = 0
        available = log_scan(cython.address(self.log), position, max_bytes, cython.address(padding))
        return available, padding

    def insert_packet(self, term_id: int, term_offset: int, packet: bytes) -> bool:
        source: cython.p_char = packet
        return log_insert(cython.address(self.log), term_id, term_offset,
                             cython.cast(cython.pointer(uint8_t), source), len(packet))

    def fill_gap(self, term_id: int, term_offset: int, length: int) -> bool:
        return log_fill_gap(cython.address(self.log), term_id, term_offset, length)

    def find_contiguous(self, position: int, limit: int) -> int:
        """The end of the whole frames at `position` that follow each other without a hole, at most `limit`."""
        _check_position(position)
        return log_find_contiguous(cython.address(self.log), position, limit)

    def find_gap(self, position: int, limit: int) -> int:
        """Length of the hole at `position`, at most to `limit` and to the end of the term."""
        _check_position(position)
        return log_find_gap(cython.address(self.log), position, limit)

    def __repr__(self) -> str:
        return (f"LogBuffer({self.file.path!r}, session {self.log.session_id}, stream {self.log.stream_id}, "
                f"terms of {self.log.term_length})")


def _check_position(position: int) -> None:
    if position < 0 or position % 32:
        raise ValueError(f"position={position} is not a multiple of 32 from 0 on")


def _check_spec(spec) -> None:
    """Raises `ValueError` before a file is made that could not be read."""
    term_id = spec.initial_term_id if spec.term_id is None else spec.term_id
    if not MIN_TERM_LENGTH <= spec.term_length <= MAX_TERM_LENGTH or spec.term_length & (spec.term_length - 1):
        raise ValueError(f"term_length={spec.term_length} is not a power of two in 64 KiB..1 GiB")
    if not 4096 <= spec.page_size <= MAX_TERM_LENGTH or spec.page_size & (spec.page_size - 1):
        raise ValueError(f"page_size={spec.page_size} is not a power of two in 4 KiB..1 GiB")
    if not 64 <= spec.mtu_length <= 65504 or spec.mtu_length % 32:
        raise ValueError(f"mtu_length={spec.mtu_length} is not a multiple of 32 in 64..65504")
    if (term_id - spec.initial_term_id) & 0x80000000:
        raise ValueError(f"term_id={term_id} is before initial_term_id={spec.initial_term_id}")
    if not 0 <= spec.term_offset <= spec.term_length or spec.term_offset % 32:
        raise ValueError(f"term_offset={spec.term_offset} is not a multiple of 32 in 0..{spec.term_length}")


@cython.cfunc
def _fill_metadata(metadata: cython.pointer(LogMetadata), spec) -> cython.void:
    term_id: int32_t = spec.initial_term_id if spec.term_id is None else spec.term_id
    count: int32_t = wrap_subtract(term_id, spec.initial_term_id)
    header: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), metadata.default_header)
    if spec.log_type != LOG_IMAGE:
        # An inactive partition holds the term id it had one cycle before its next use.
        active: cython.uint = cython.cast(cython.uint, count) % 3
        metadata.term_tail_counters[active] = pack_tail(term_id, spec.term_offset)
        metadata.term_tail_counters[(active + 1) % 3] = pack_tail(wrap_add(term_id, -2), 0)
        metadata.term_tail_counters[(active + 2) % 3] = pack_tail(wrap_add(term_id, -1), 0)
        metadata.active_term_count = count
    metadata.end_of_stream_position = NO_END
    metadata.correlation_id = spec.correlation_id
    metadata.initial_term_id = spec.initial_term_id
    metadata.default_frame_header_length = DATA_HEADER_LENGTH
    metadata.mtu_length = spec.mtu_length
    metadata.term_length = spec.term_length
    metadata.page_size = spec.page_size
    metadata.publication_window_length = spec.publication_window_length
    metadata.receiver_window_length = spec.receiver_window_length
    metadata.socket_sndbuf_length = spec.socket_sndbuf_length
    metadata.os_default_socket_sndbuf_length = spec.os_default_socket_sndbuf_length
    metadata.os_max_socket_sndbuf_length = spec.os_max_socket_sndbuf_length
    metadata.socket_rcvbuf_length = spec.socket_rcvbuf_length
    metadata.os_default_socket_rcvbuf_length = spec.os_default_socket_rcvbuf_length
    metadata.os_max_socket_rcvbuf_length = spec.os_max_socket_rcvbuf_length
    metadata.max_resend = spec.max_resend
    header.flags = FLAGS_UNFRAGMENTED
    header.type = TYPE_DATA
    header.session_id = spec.session_id
    header.stream_id = spec.stream_id
    header.term_id = spec.initial_term_id
    metadata.entity_tag = spec.entity_tag
    metadata.response_correlation_id = spec.response_correlation_id
    metadata.linger_timeout_ns = spec.linger_timeout_ns
    metadata.untethered_window_limit_timeout_ns = spec.untethered_window_limit_timeout_ns
    metadata.untethered_resting_timeout_ns = spec.untethered_resting_timeout_ns
    metadata.untethered_linger_timeout_ns = spec.untethered_linger_timeout_ns
    metadata.group = spec.group
    metadata.is_response = spec.is_response
    metadata.rejoin = spec.rejoin
    metadata.reliable = spec.reliable
    metadata.sparse = spec.sparse
    metadata.signal_eos = spec.signal_eos
    metadata.spies_simulate_connection = spec.spies_simulate_connection
    metadata.tether = spec.tether
    metadata.type = spec.log_type
