// PostgreSQL's headers, as every C++ file of this extension includes them.
//
// Runs in: every process. Include this first, before any other PostgreSQL header. C++ headers
// come before postgres.h on purpose: postgres.h redefines printf, snprintf, strerror and friends
// as macros, which breaks <cstdio> and <string> when they are seen later.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

extern "C" {
#include <postgres.h>

#include <access/xact.h>
#include <fmgr.h>
#include <miscadmin.h>
#include <port/atomics.h>
#include <storage/ipc.h>
#include <storage/latch.h>
#include <storage/lwlock.h>
#include <storage/proc.h>
#include <storage/shmem.h>
#include <storage/spin.h>
#include <utils/builtins.h>
#include <utils/elog.h>
#include <utils/guc.h>
#include <utils/memutils.h>
}

// postgres.h turns these into macros; C++ code means the standard ones.
#undef printf
#undef fprintf
#undef sprintf
#undef snprintf
#undef vprintf
#undef vfprintf
#undef vsprintf
#undef vsnprintf
#undef strerror
#undef strerror_r
#undef gettext
#undef dgettext
#undef ngettext
#undef dngettext

#include "pg/compat.hpp"
