/* fault.h - places where a test build can be told to fail.
 *
 *   FAULT("journal.after_append");   armed by FAULTS=journal.after_append=crash@3
 *
 * Actions: crash (SIGKILL to itself), stop (SIGSTOP to itself), each at the n-th time the place is reached. Compiled to
 * nothing unless built with -DFAULTS. */
#ifndef PROTO_BASE_FAULT_H
#define PROTO_BASE_FAULT_H

#ifdef FAULTS
void fault_hit(const char *name);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) ((void)0)
#endif

#endif
