# Memory ordering, explicit, for every field that two threads or two processes share. The names follow the
# specification: `ld.acq`, `st.rel`, `cas`, `xadd`, `fence`. All operands are naturally aligned; each is one machine
# access, so a reader in another process never sees half a value.
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline int32_t pillion_load_i32(const void *p) { return __atomic_load_n((const int32_t *)p, __ATOMIC_ACQUIRE); }
    static inline int64_t pillion_load_i64(const void *p) { return __atomic_load_n((const int64_t *)p, __ATOMIC_ACQUIRE); }
    static inline uint8_t pillion_load_u8(const void *p) { return __atomic_load_n((const uint8_t *)p, __ATOMIC_ACQUIRE); }
    static inline void pillion_store_i32(void *p, int32_t v) { __atomic_store_n((int32_t *)p, v, __ATOMIC_RELEASE); }
    static inline void pillion_store_i64(void *p, int64_t v) { __atomic_store_n((int64_t *)p, v, __ATOMIC_RELEASE); }
    static inline void pillion_store_u8(void *p, uint8_t v) { __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELEASE); }
    static inline int32_t pillion_plain_i32(const void *p) { return __atomic_load_n((const int32_t *)p, __ATOMIC_RELAXED); }
    static inline int64_t pillion_plain_i64(const void *p) { return __atomic_load_n((const int64_t *)p, __ATOMIC_RELAXED); }
    static inline void pillion_put_i32(void *p, int32_t v) { __atomic_store_n((int32_t *)p, v, __ATOMIC_RELAXED); }
    static inline void pillion_put_i64(void *p, int64_t v) { __atomic_store_n((int64_t *)p, v, __ATOMIC_RELAXED); }
    static inline int64_t pillion_xadd_i64(void *p, int64_t d) { return __atomic_fetch_add((int64_t *)p, d, __ATOMIC_SEQ_CST); }
    static inline int32_t pillion_xadd_i32(void *p, int32_t d) { return __atomic_fetch_add((int32_t *)p, d, __ATOMIC_SEQ_CST); }
    static inline int pillion_cas_i64(void *p, int64_t e, int64_t d)
    { return __atomic_compare_exchange_n((int64_t *)p, &e, d, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline int pillion_cas_i32(void *p, int32_t e, int32_t d)
    { return __atomic_compare_exchange_n((int32_t *)p, &e, d, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline void pillion_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
    static inline void pillion_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
    static inline void pillion_prefetch_write(const void *p) { __builtin_prefetch(p, 1, 3); }
    #if defined(__x86_64__) || defined(__i386__)
    static inline void pillion_pause(void) { __builtin_ia32_pause(); }
    #elif defined(__aarch64__)
    static inline void pillion_pause(void) { __asm__ __volatile__("yield"); }
    #else
    static inline void pillion_pause(void) { }
    #endif
    """
    int32_t load_acquire_i32 "pillion_load_i32"(const void *p) noexcept nogil
    int64_t load_acquire_i64 "pillion_load_i64"(const void *p) noexcept nogil
    uint8_t load_acquire_u8 "pillion_load_u8"(const void *p) noexcept nogil
    void store_release_i32 "pillion_store_i32"(void *p, int32_t value) noexcept nogil
    void store_release_i64 "pillion_store_i64"(void *p, int64_t value) noexcept nogil
    void store_release_u8 "pillion_store_u8"(void *p, uint8_t value) noexcept nogil
    # One undivided access without ordering.
    int32_t load_plain_i32 "pillion_plain_i32"(const void *p) noexcept nogil
    int64_t load_plain_i64 "pillion_plain_i64"(const void *p) noexcept nogil
    void store_plain_i32 "pillion_put_i32"(void *p, int32_t value) noexcept nogil
    void store_plain_i64 "pillion_put_i64"(void *p, int64_t value) noexcept nogil
    # Sequentially consistent read-modify-write; `xadd_*` return the value before.
    int64_t xadd_i64 "pillion_xadd_i64"(void *p, int64_t delta) noexcept nogil
    int32_t xadd_i32 "pillion_xadd_i32"(void *p, int32_t delta) noexcept nogil
    bint cas_i64 "pillion_cas_i64"(void *p, int64_t expected, int64_t desired) noexcept nogil
    bint cas_i32 "pillion_cas_i32"(void *p, int32_t expected, int32_t desired) noexcept nogil
    void fence_acquire "pillion_fence_acquire"() noexcept nogil
    void fence_release "pillion_fence_release"() noexcept nogil
    void cpu_pause "pillion_pause"() noexcept nogil
    # A hint: any address will do.
    void prefetch_write "pillion_prefetch_write"(const void *p) noexcept nogil
