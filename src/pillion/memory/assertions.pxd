# Assertions of the data plane: nothing at all unless the module is compiled with PILLION_ASSERT (`make test-assert`);
# then a broken one names itself and its place and ends the process.
#
# What is asserted is what we ourselves guarantee: that an offset we computed lies in its term, that a position we keep
# only grows. What another process or the network can write is checked by ordinary code and never asserted: hostile
# bytes must not end anybody.
#
# A condition is one comparison without side effects and without a loop. Calls of `inline` functions are fine, `and` and
# `or` are not: Cython computes those before the statement, with and without the macro.
cdef extern from *:
    """
    #ifdef PILLION_ASSERT
    #include <stdio.h>
    #include <stdlib.h>
    static void pillion_broken(const char *what, const char *file, int line, const char *function)
    {
        fprintf(stderr, "pillion: broken invariant, please report it: %s (%s:%d, %s)\\n", what, file, line, function);
        fflush(stderr);
        abort();
    }
    #define pillion_assert(holds, what) \\
        ((holds) ? (void)0 : pillion_broken((what), __FILE__, __LINE__, __func__))
    #else
    #define pillion_assert(holds, what) ((void)sizeof((holds) ? 1 : 0))
    #endif
    """
    void pillion_assert(bint holds, const char* what) noexcept nogil
