"""The native single-producer queues between the conductor and the agents.

The producer fills a claimed item and publishes it (release of the tail); the consumer looks at an item after loading
the tail (acquire) and gives it back (release of the head).
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import load_acquire_i64, store_release_i64

if not cython.compiled:
    raise ImportError("pillion.driver.queues must be compiled: run `pip install .`")


def queue_init(queue, capacity):
    queue.tail = 0
    queue.head = 0
    queue.mask = capacity - 1
    queue.items = cython.cast(cython.pointer(Item), calloc(capacity, cython.sizeof(Item)))
    return queue.items != cython.NULL


def queue_free(queue):
    free(queue.items)
    queue.items = cython.NULL


def queue_claim(queue):
    tail: int64_t = queue.tail
    pillion_assert(tail - load_acquire_i64(cython.address(queue.head)) <= queue.mask + 1, b"a queue is not overfull")
    if tail - load_acquire_i64(cython.address(queue.head)) > queue.mask:
        return cython.NULL
    return cython.address(queue.items[tail & queue.mask])


def queue_publish(queue):
    pillion_assert(queue.tail - load_acquire_i64(cython.address(queue.head)) <= queue.mask,
                   b"only a claimed item is published")
    store_release_i64(cython.address(queue.tail), queue.tail + 1)


def queue_peek(queue):
    head: int64_t = queue.head
    if load_acquire_i64(cython.address(queue.tail)) == head:
        return cython.NULL
    return cython.address(queue.items[head & queue.mask])


def queue_has_items(queue):
    """For any thread: how it was a moment ago."""
    head: int64_t = load_acquire_i64(cython.address(queue.head))
    return load_acquire_i64(cython.address(queue.tail)) != head


def queue_release(queue):
    pillion_assert(queue.head < load_acquire_i64(cython.address(queue.tail)), b"only a published item is released")
    store_release_i64(cython.address(queue.head), queue.head + 1)


def queue_serve(commands, events, handle, agent):
    """Carry out the commands that have come, each with the event that answers it; how many there were."""
    done: cython.int = 0
    command: cython.pointer(Item)
    event: cython.pointer(Item)
    while True:
        command = queue_peek(commands)
        if command == cython.NULL:
            return done
        event = queue_claim(events)
        if event == cython.NULL:
            return done                             # the conductor is behind: this command waits
        event.kind = 0
        event.target = command.target
        event.numbers[0] = command.numbers[0]
        if not handle(agent, command, event):
            return done
        if event.kind:
            queue_publish(events)
        queue_release(commands)
        done += 1
