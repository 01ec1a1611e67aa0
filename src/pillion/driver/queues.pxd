from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.driver.udp.transport cimport Address

cdef struct Item:
    int32_t kind
    int32_t flags
    void* target
    void* other                    # a subscriber's position
    int64_t numbers[8]
    Address source
    int32_t text_length
    uint8_t text[1024]

cdef struct Queue:                 # one producer, one consumer
    int64_t tail
    uint8_t padding_0[120]
    int64_t head
    uint8_t padding_1[120]
    int64_t mask
    Item* items

cdef bint queue_init(Queue* queue, int64_t capacity) noexcept nogil
cdef void queue_free(Queue* queue) noexcept nogil
cdef Item* queue_claim(Queue* queue) noexcept nogil
cdef void queue_publish(Queue* queue) noexcept nogil
cdef Item* queue_peek(Queue* queue) noexcept nogil
cdef bint queue_has_items(Queue* queue) noexcept nogil
cdef void queue_release(Queue* queue) noexcept nogil

# Carry out a command: False if it must wait for memory. `event.kind` is 0 if there is nothing to report.
ctypedef bint (*CommandHandler)(void* agent, Item* command, Item* event) noexcept nogil

cdef int queue_serve(Queue* commands, Queue* events, CommandHandler handle, void* agent) noexcept nogil
