# Making an object once and not once a message, where nobody but its maker holds it any more. Macros of ours, because
# an object argument would count as one more holder.
from libc.stdint cimport int64_t

cdef extern from *:
    """
    static inline int pillion_is_held_by_more(void *object, Py_ssize_t holders) { return Py_REFCNT((PyObject *) object) > holders; }

    /* Making the int of a position, and unmaking it, is half the time of an offer. An int that one holder has may be
     * changed: nobody can see that it was another number. (The interpreter's own small ints have more.) That needs the
     * layout of CPython's ints and, for the count to mean what it says, the GIL. */
    #if !defined(Py_GIL_DISABLED) && CYTHON_COMPILING_IN_CPYTHON && PyLong_SHIFT == 30
      #if PY_VERSION_HEX >= 0x030C0000
        #define PILLION_DIGITS(o) (((PyLongObject *) (o))->long_value.ob_digit)
        #define PILLION_HAS_DIGITS(o, count) (((PyLongObject *) (o))->long_value.lv_tag == ((count) << 3))
      #else
        #define PILLION_DIGITS(o) (((PyLongObject *) (o))->ob_digit)
        #define PILLION_HAS_DIGITS(o, count) (Py_SIZE(o) == (count))
      #endif
      static inline int pillion_become(void *object, int64_t value)
      {
          uint64_t upper = (uint64_t) value >> PyLong_SHIFT;
          if (!PyLong_CheckExact((PyObject *) object) || Py_REFCNT((PyObject *) object) != 1)
              return 0;
          if (upper == 0) {
              if (!PILLION_HAS_DIGITS(object, 1))
                  return 0;
          } else {
              if (!PILLION_HAS_DIGITS(object, 2) || upper > PyLong_MASK)
                  return 0;
              PILLION_DIGITS(object)[1] = (digit) upper;
          }
          PILLION_DIGITS(object)[0] = (digit) (value & PyLong_MASK);
          return 1;
      }
    #else
      static inline int pillion_become(void *object, int64_t value) { (void) object; (void) value; return 0; }
    #endif

    /* What `handler(first, second)` comes to, without looking the handler up and the result over each time. */
    static inline PyObject *pillion_call_two(vectorcallfunc call, PyObject *handler, PyObject *first, PyObject *second)
    {
        PyObject *arguments[3] = {NULL, first, second};
        if (call == NULL)
            return PyObject_Vectorcall(handler, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        return call(handler, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    """
    ctypedef void* vectorcallfunc
    vectorcallfunc PyVectorcall_Function(object handler)
    object call_two "pillion_call_two"(vectorcallfunc call, object handler, object first, object second)
    # Whether the object has more holders than so many.
    bint is_held_by_more "pillion_is_held_by_more"(void* object, Py_ssize_t holders)
    # Make the int, held by the attribute it was read from alone, this number above 0. False: it stays what it is.
    bint become "pillion_become"(void* object, int64_t value)
