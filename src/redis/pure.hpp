// Include last in every file of this folder: refuses to compile where a PostgreSQL header was seen.
//
// Runs in: nothing, it is a check at compile time. This folder knows no PostgreSQL, which is what
// lets it be unit-tested, sanitized and fuzzed without a server, and what keeps PostgreSQL's
// longjmp out of frames with destructors.

#pragma once

#if defined(POSTGRES_H) || defined(C_H) || defined(FMGR_H)
#error "a PostgreSQL header was included before or by a file of src/redis"
#endif
