// Injection points: places where a test stops, kills or fails a process.
//
// Runs in: every process, but only in builds with -DIL_INJECTION (make INJECTION=1); a release
// build contains nothing of it. PostgreSQL 15 has no injection points of its own. A test writes a
// file injection/<point> in the data directory; its first word says what happens there:
//
//   wait   stays until the file is gone (answering interrupts where they are allowed)
//   error  raises an ERROR         stop   SIGSTOP to itself
//   kill   SIGKILL to itself       exit   ends the process with code 1
//
// `kill` and `exit` remove the file first, so that one process ends and not its successors too.
// Every process that gets there appends its pid, a line, to injection/<point>.reached, if that file
// exists.

#pragma once

#ifdef IL_INJECTION
namespace inventory_lock::pg {
void ReachInjectionPoint(const char *name);
}
#define IL_INJECT(name) ::inventory_lock::pg::ReachInjectionPoint(name)
#else
#define IL_INJECT(name) ((void)0)
#endif
