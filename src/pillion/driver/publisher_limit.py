"""A log's writers may go as far as their limit: it follows the slowest reader, behind what was zeroed.

The agent that owns a stream moves its limit along. The terms of a log come around: before the limit lets anybody write
where the last round's frames are, these are zeroed, and before that everybody has read them.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import load_acquire_i64, store_release_i64, store_release_u8
from cython.cimports.pillion.memory.log_buffer import log_clean, log_producer_position

if not cython.compiled:
    raise ImportError("pillion.driver.publisher_limit must be compiled: run `pip install .`")


def limit_init(limit, log, pub_pos, pub_lmt, window):
    """Closed, at the position where the log begins."""
    position: int64_t = log_producer_position(log)
    limit.log = log
    limit.pub_pos = pub_pos
    limit.pub_lmt = pub_lmt
    limit.window = window
    limit.position = position
    limit.highest = position
    limit.clean_position = position
    store_release_i64(pub_pos, position)
    store_release_i64(pub_lmt, position)


def limit_producer(limit, at_least):
    """Where the next message goes, for the agent and the conductor.

    The tail lies in memory that a client writes. An honest one is at most a term beyond the highest limit ever given,
    since whoever runs over the end of a term stops there, and not behind what was done with the stream (`at_least`).
    """
    position: int64_t = max(log_producer_position(limit.log), at_least)
    bound: int64_t = load_acquire_i64(cython.address(limit.highest)) + limit.log.term_length
    return min(position, bound) & ~cython.cast(int64_t, 31)


def limit_observe(limit, at_least):
    """`limit_producer`, told to whoever reads the counter."""
    producer: int64_t = limit_producer(limit, at_least)
    store_release_i64(limit.pub_pos, producer)
    return producer


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _set(limit: cython.pointer(PublisherLimit), position: int64_t) -> cython.void:
    pillion_assert(position & 31 == 0, b"a publisher's limit is where a frame can begin")
    limit.position = position
    if position > limit.highest:
        store_release_i64(cython.address(limit.highest), position)
    # Release: the terms that this opens for writing were zeroed before.
    store_release_i64(limit.pub_lmt, position)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _clean(limit: cython.pointer(PublisherLimit), target: int64_t, read: int64_t) -> cython.void:
    # One call stops at the end of a term. Two reach the target, unless a hostile position leapt there; then the
    # test on the limit waits for the next cycles.
    limit.clean_position = log_clean(limit.log, limit.clean_position, target)
    limit.clean_position = log_clean(limit.log, limit.clean_position, target)
    pillion_assert(limit.clean_position <= read, b"nothing is zeroed that was not read or sent")


def limit_open(limit, slowest, clean_target):
    """Zero up to the target and let writers go a window beyond the slowest reader. False: zeroing is behind."""
    position: int64_t = slowest + limit.window
    bits: int32_t = limit.log.position_bits
    terms: int64_t
    _clean(limit, clean_target, slowest)
    # A writer below the limit fills its term, which had its place three terms ago: that one must be zero.
    terms = (position >> bits) - (limit.clean_position >> bits)
    if terms > 2 or (terms == 2 and (limit.clean_position & (limit.log.term_length - 1)) == 0):
        return False
    pillion_assert((limit.clean_position >> bits) >= ((position - 1) >> bits) - 2,
                   b"the publisher's limit stays behind what is zeroed")
    _set(limit, position)
    return True


def limit_shut(limit, position, clean_target):
    """Nobody reads: writers stop at `position`, up to which everything was read."""
    _set(limit, position)
    _clean(limit, clean_target, position)


def limit_end(limit, producer, revoked):
    """The stream ends at the producer's position, which its readers see in the log."""
    _set(limit, producer)
    store_release_i64(cython.address(limit.log.metadata.end_of_stream_position), producer)
    if revoked:
        store_release_u8(cython.address(limit.log.metadata.is_publication_revoked), 1)
