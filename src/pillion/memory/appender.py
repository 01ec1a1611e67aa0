"""Appending to a log: the writers' side of `Publication` and `ExclusivePublication`.

Concurrent writers reserve space with one atomic add on the tail and then own it; whoever runs over the end of a term
pads what is left and rotates. An exclusive writer keeps its tail privately and publishes it. Only `position < limit`
gates an append, so a message may end beyond the limit; the limit is far enough from the reader for that.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    fence_release,
    load_acquire_i32,
    load_acquire_i64,
    prefetch_write,
    store_release_i32,
    store_release_i64,
    xadd_i64,
)
from cython.cimports.pillion.memory.log_buffer import (
    Log,
    compute_position,
    log_rotate,
    offset_of_tail,
    pack_tail,
    term_id_of_tail,
    wrap_add,
    wrap_subtract,
)
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    FLAG_BEGIN,
    FLAG_END,
    FLAGS_UNFRAGMENTED,
    FRAME_VERSION,
    TYPE_DATA,
    TYPE_PAD,
    DataHeader,
    align_frame,
)

if not cython.compiled:
    raise ImportError("pillion.memory.appender must be compiled: run `pip install .`")


# Bytes. A small message goes to a line that no cache has, and a writer that waits for it with each message waits longer
# than it works; asked for eight lines early it is there.
_AHEAD = cython.declare(int32_t, 512)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _begin_frame(log: cython.pointer(Log), at: cython.pointer(uint8_t), length: int32_t, flags: uint8_t,
                 frame_type: int32_t, offset: int32_t, term_id: int32_t, reserved: int64_t) -> cython.void:
    frame: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), at)
    pillion_assert(length >= DATA_HEADER_LENGTH, b"a frame has a header")
    pillion_assert(offset >= 0, b"a frame begins in its term")
    pillion_assert(length <= log.term_length - offset, b"a frame ends in its term")
    # Negative length first, and visible first: a writer that dies from here on can be unblocked exactly.
    store_release_i32(at, -length)
    fence_release()
    frame.version = FRAME_VERSION
    frame.flags = flags
    frame.type = frame_type
    frame.term_offset = offset
    frame.session_id = log.session_id
    frame.stream_id = log.stream_id
    frame.term_id = term_id
    frame.reserved_value = reserved


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _write_fragments(log: cython.pointer(Log), term: cython.pointer(uint8_t), offset: int32_t, term_id: int32_t,
                     parts: cython.pointer(cython.const[Part]), total: int64_t, reserved: int64_t) -> cython.void:
    """Copy the parts into one frame or, above the largest payload, into fragments committed in order."""
    part: int32_t = 0
    used: int64_t = 0
    left: int64_t = total
    end: int64_t = offset + _required(log, total)
    payload: int64_t
    copied: int64_t
    chunk: int64_t
    flags: uint8_t = FLAG_BEGIN
    at: cython.pointer(uint8_t)
    while True:
        payload = left if left < log.max_payload_length else log.max_payload_length
        if payload == left:
            flags = flags | FLAG_END
        at = term + offset
        _begin_frame(log, at, cython.cast(int32_t, payload + DATA_HEADER_LENGTH), flags, TYPE_DATA, offset, term_id,
                     reserved)
        copied = 0
        while copied < payload:
            chunk = parts[part].length - used
            if chunk > payload - copied:
                chunk = payload - copied
            memcpy(at + DATA_HEADER_LENGTH + copied, parts[part].data + used, chunk)
            copied += chunk
            used += chunk
            if used == parts[part].length:
                part += 1
                used = 0
        store_release_i32(at, cython.cast(int32_t, payload + DATA_HEADER_LENGTH))     # commits
        left -= payload
        offset += cython.cast(int32_t, align_frame(payload + DATA_HEADER_LENGTH))
        flags = 0
        if left <= 0:
            break
    # The other half of `_reserve`: what was reserved is what was written.
    pillion_assert(left == 0, b"a message was written whole")
    pillion_assert(offset == end, b"a message fills what was reserved for it")


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _write(log: cython.pointer(Log), term: cython.pointer(uint8_t), offset: int32_t, term_id: int32_t,
           parts: cython.pointer(cython.const[Part]), count: int32_t, total: int64_t, reserved: int64_t) -> cython.void:
    """A message of one part and one frame, as most are, in line; any other by `_write_fragments`."""
    at: cython.pointer(uint8_t) = term + offset
    if count == 1 and total <= log.max_payload_length:
        _begin_frame(log, at, cython.cast(int32_t, total + DATA_HEADER_LENGTH), FLAGS_UNFRAGMENTED, TYPE_DATA, offset,
                     term_id, reserved)
        memcpy(at + DATA_HEADER_LENGTH, parts[0].data, total)
        store_release_i32(at, cython.cast(int32_t, total + DATA_HEADER_LENGTH))     # commits
        prefetch_write(at + total + _AHEAD)
    else:
        _write_fragments(log, term, offset, term_id, parts, total, reserved)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _required(log: cython.pointer(Log), total: int64_t) -> int64_t:
    if total <= log.max_payload_length:
        return align_frame(total + DATA_HEADER_LENGTH)
    whole: int64_t = total // log.max_payload_length
    rest: int64_t = total - whole * log.max_payload_length
    tail: int64_t = align_frame(rest + DATA_HEADER_LENGTH) if rest else 0
    return whole * (log.max_payload_length + DATA_HEADER_LENGTH) + tail


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _refused(log: cython.pointer(Log), at: int64_t, total: int64_t) -> int64_t:
    if at + align_frame(total + DATA_HEADER_LENGTH) >= cython.cast(int64_t, log.term_length) << 31:
        return MAX_POSITION_EXCEEDED
    if load_acquire_i32(cython.address(log.metadata.is_connected)) == 1:
        return BACK_PRESSURED
    return NOT_CONNECTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _pad_rest(log: cython.pointer(Log), term: cython.pointer(uint8_t), offset: int32_t,
              term_id: int32_t) -> cython.void:
    length: int32_t = log.term_length - offset
    # An honest rest has room for a header; a tail that somebody else has moved may leave less.
    if length >= DATA_HEADER_LENGTH:
        _begin_frame(log, term + offset, length, FLAGS_UNFRAGMENTED, TYPE_PAD, offset, term_id, 0)
        store_release_i32(term + offset, length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _reserve(log: cython.pointer(Log), limit: int64_t, total: int64_t, need: int64_t,
             term: cython.pointer(cython.pointer(uint8_t)), offset: cython.pointer(int32_t),
             term_id: cython.pointer(int32_t)) -> int64_t:
    """Reserve `need` bytes for a concurrent writer: the position after them, or a negative code."""
    count: int32_t = load_acquire_i32(cython.address(log.metadata.active_term_count))
    index: cython.uint = cython.cast(cython.uint, count) % 3
    tail: cython.pointer(int64_t) = cython.address(log.metadata.term_tail_counters[index])
    raw: int64_t = load_acquire_i64(tail)
    if count != wrap_subtract(term_id_of_tail(raw), log.initial_term_id):
        return ADMIN_ACTION                         # a rotation is half done: look again
    at: int64_t = compute_position(term_id_of_tail(raw), offset_of_tail(raw, log.term_length), log.position_bits,
                                   log.initial_term_id)
    # At the largest position no limit may let anybody add to the tail: it would run over into the term id.
    if at >= limit or at >= cython.cast(int64_t, log.term_length) << 31:
        return _refused(log, at, total)
    # The sum is bounded: each thread adds at most one message beyond the term's end before it sees the end.
    raw = xadd_i64(tail, need)
    term_id[0] = term_id_of_tail(raw)
    offset[0] = offset_of_tail(raw, log.term_length)
    term[0] = log.terms[index]
    end: int64_t = offset[0] + need
    position: int64_t = compute_position(term_id[0], 0, log.position_bits, log.initial_term_id) + end
    if end <= log.term_length:
        pillion_assert(position > at, b"an append moves the stream on")
        return position
    _pad_rest(log, term[0], offset[0], term_id[0])
    if position >= cython.cast(int64_t, log.term_length) << 31:
        return MAX_POSITION_EXCEEDED
    log_rotate(log, wrap_subtract(term_id[0], log.initial_term_id), term_id[0])
    return ADMIN_ACTION


def concurrent_offer(log, limit, parts, count, total, reserved):
    term: cython.pointer(uint8_t)
    offset: int32_t
    term_id: int32_t
    position: int64_t = _reserve(log, limit, total, _required(log, total), cython.address(term), cython.address(offset),
                                 cython.address(term_id))
    if position > 0:
        _write(log, term, offset, term_id, parts, count, total, reserved)
    return position


def concurrent_claim(log, limit, length, frame):
    term: cython.pointer(uint8_t)
    offset: int32_t
    term_id: int32_t
    position: int64_t = _reserve(log, limit, length, align_frame(length + DATA_HEADER_LENGTH), cython.address(term),
                                 cython.address(offset), cython.address(term_id))
    if position > 0:
        frame[0] = term + offset
        _begin_frame(log, frame[0], length + DATA_HEADER_LENGTH, FLAGS_UNFRAGMENTED, TYPE_DATA, offset, term_id, 0)
    return position


def exclusive_init(log, state):
    count: int32_t = load_acquire_i32(cython.address(log.metadata.active_term_count))
    state.partition = cython.cast(int32_t, cython.cast(cython.uint, count) % 3)
    raw: int64_t = load_acquire_i64(cython.address(log.metadata.term_tail_counters[state.partition]))
    state.term_id = term_id_of_tail(raw)
    # Whatever the tail says: frames begin at multiples of 32, and from here on the offset is ours.
    state.term_offset = offset_of_tail(raw, log.term_length) & ~31
    state.term_begin_position = compute_position(state.term_id, 0, log.position_bits, log.initial_term_id)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _rotate_exclusive(log: cython.pointer(Log), state: cython.pointer(ExclusiveState)) -> int64_t:
    if state.term_begin_position + log.term_length >= cython.cast(int64_t, log.term_length) << 31:
        # The rest is padding that readers may have passed already: a smaller message must not go there.
        state.term_offset = log.term_length
        return MAX_POSITION_EXCEEDED
    state.partition = (state.partition + 1) % 3
    state.term_id = wrap_add(state.term_id, 1)
    state.term_offset = 0
    state.term_begin_position += log.term_length
    log.metadata.term_tail_counters[state.partition] = pack_tail(state.term_id, 0)
    # Release: the count moves after the tail it selects.
    store_release_i32(cython.address(log.metadata.active_term_count), wrap_subtract(state.term_id, log.initial_term_id))
    return ADMIN_ACTION


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _reserve_exclusive(log: cython.pointer(Log), state: cython.pointer(ExclusiveState), limit: int64_t, total: int64_t,
                       need: int64_t) -> int64_t:
    at: int64_t = state.term_begin_position + state.term_offset
    pillion_assert(state.term_offset & 31 == 0, b"an exclusive writer is where a frame can begin")
    pillion_assert(cython.cast(cython.uint, state.term_offset) <= cython.cast(cython.uint, log.term_length),
                   b"an exclusive writer is in its term")
    if at >= limit or at >= cython.cast(int64_t, log.term_length) << 31:
        return _refused(log, at, total)
    end: int64_t = state.term_offset + need
    store_release_i64(cython.address(log.metadata.term_tail_counters[state.partition]),
                      pack_tail(state.term_id, cython.cast(int32_t, end)))
    if end <= log.term_length:
        return state.term_begin_position + end
    _pad_rest(log, log.terms[state.partition], state.term_offset, state.term_id)
    return _rotate_exclusive(log, state)


def exclusive_offer(log, state, limit, parts, count, total, reserved):
    need: int64_t = _required(log, total)
    position: int64_t = _reserve_exclusive(log, state, limit, total, need)
    if position > 0:
        _write(log, log.terms[state.partition], state.term_offset, state.term_id, parts, count, total, reserved)
        state.term_offset += cython.cast(int32_t, need)
    return position


def exclusive_claim(log, state, limit, length, frame):
    need: int64_t = align_frame(length + DATA_HEADER_LENGTH)
    position: int64_t = _reserve_exclusive(log, state, limit, length, need)
    if position > 0:
        frame[0] = log.terms[state.partition] + state.term_offset
        _begin_frame(log, frame[0], length + DATA_HEADER_LENGTH, FLAGS_UNFRAGMENTED, TYPE_DATA, state.term_offset,
                     state.term_id, 0)
        state.term_offset += cython.cast(int32_t, need)
    return position


def exclusive_append_padding(log, state, limit, length):
    need: int64_t = align_frame(length + DATA_HEADER_LENGTH)
    position: int64_t = _reserve_exclusive(log, state, limit, length, need)
    at: cython.pointer(uint8_t)
    if position > 0:
        at = log.terms[state.partition] + state.term_offset
        _begin_frame(log, at, length + DATA_HEADER_LENGTH, FLAGS_UNFRAGMENTED, TYPE_PAD, state.term_offset,
                     state.term_id, 0)
        store_release_i32(at, length + DATA_HEADER_LENGTH)
        state.term_offset += cython.cast(int32_t, need)
    return position


def exclusive_offer_block(log, state, limit, block, length):
    """The caller has checked the block's frames against the current term and offset."""
    at: int64_t = state.term_begin_position + state.term_offset
    term: cython.pointer(uint8_t)
    if at >= limit:
        return _refused(log, at, length - DATA_HEADER_LENGTH)
    term = log.terms[state.partition] + state.term_offset
    pillion_assert(length & 31 == 0, b"a block has whole frames")
    pillion_assert(length <= log.term_length - state.term_offset, b"a block ends in its term")
    store_release_i64(cython.address(log.metadata.term_tail_counters[state.partition]),
                      pack_tail(state.term_id, state.term_offset + length))
    # Only the first frame is guarded, so the whole block appears with this store. The caller's memory may lie anywhere.
    first: int64_t
    memcpy(cython.address(first), block, 8)
    memcpy(term + 8, block + 8, length - 8)
    store_release_i64(term, first)
    state.term_offset += length
    return at + length


def claim_commit(frame, length):
    store_release_i32(frame, length + DATA_HEADER_LENGTH)


def claim_abort(frame, length):
    cython.cast(cython.pointer(DataHeader), frame).type = TYPE_PAD
    store_release_i32(frame, length + DATA_HEADER_LENGTH)
