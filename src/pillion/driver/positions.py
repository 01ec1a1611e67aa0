"""Growable lists of pointers, and the subscriber positions an agent follows.

A list belongs to one agent. It grows when a command adds to it, never while streams are served.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import load_acquire_i64

if not cython.compiled:
    raise ImportError("pillion.driver.positions must be compiled: run `pip install .`")


def list_add(list, item):
    """False only if there is no memory."""
    grown: cython.pointer(cython.p_void)
    if list.count == list.capacity:
        grown = cython.cast(cython.pointer(cython.p_void),
                            realloc(list.items, (list.capacity * 2 + 8) * cython.sizeof(cython.p_void)))
        if grown == cython.NULL:
            return False
        list.items = grown
        list.capacity = list.capacity * 2 + 8
    pillion_assert(list.count < list.capacity, b"a list has room for one more")
    list.items[list.count] = item
    list.count += 1
    return True


def list_remove(list, item):
    index: int32_t
    pillion_assert(list.count <= list.capacity, b"a list fits its memory")
    for index in range(list.count):
        if list.items[index] == item:
            list.count -= 1
            list.items[index] = list.items[list.count]
            return True
    return False


def list_free(list):
    free(list.items)
    list.items = cython.NULL
    list.count = 0
    list.capacity = 0


def positions_range(positions, low, high, smallest, largest):
    """Slowest and fastest position; False when nobody consumes.

    A position is a word that a client can write, so it is held to `low..high` and to the start of a frame, where an
    honest one always lies.
    Acquire: what a consumer has read, it has read before it stored its position, so it may be overwritten now.
    """
    index: int32_t
    position: int64_t
    pillion_assert(low <= high, b"positions are held to a range")
    for index in range(positions.count):
        position = load_acquire_i64(positions.items[index]) & ~cython.cast(int64_t, 31)
        if position < low:
            position = low
        if position > high:
            position = high
        if index == 0 or position < smallest[0]:
            smallest[0] = position
        if index == 0 or position > largest[0]:
            largest[0] = position
    return positions.count > 0
