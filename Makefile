# inventory_lock: build, install, test.
#
#   make, make install, make installcheck    as for any contrib module (PG_CONFIG=… chooses the server)
#   make DEBUG=1                             without optimization, PostgreSQL's assertions compiled in
#   make INJECTION=1                         with the points where tests stop, kill and fail processes
#   make test-features                       layers that show reliability, once with each feature on
#   make test | demo | bench | load          everything on its own: packages, build, private servers
#   make check-newer [RELEASE=trixie|forky]  test on a newer release of Debian, in a root of its own
#
# `make test`, `make demo` and `make bench` never install into the system's PostgreSQL: they use a
# copy of it (scripts/private_root).

EXTENSION = inventory_lock
EXTVERSION = 1.0
MODULE_big = inventory_lock
PGFILEDESC = "inventory_lock - distributed locks in Redis for stock and orders"

OBJS = $(patsubst %.cpp,%.o,$(sort $(wildcard src/*.cpp src/*/*.cpp)))
BITCODE = $(OBJS:.o=.bc)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CXXFLAGS = -std=c++17 -Wall -Wextra -Wshadow -Wno-register -MMD -MP \
	-fvisibility=hidden -fno-semantic-interposition \
	-D'PGDLLEXPORT=__attribute__((visibility("default")))'
SHLIB_LINK += -lstdc++ -lhiredis

ifdef DEBUG
PG_CXXFLAGS += -O0 -g -U_FORTIFY_SOURCE -DUSE_ASSERT_CHECKING
endif
ifdef INJECTION
PG_CXXFLAGS += -DIL_INJECTION
endif
ifdef WERROR
PG_CXXFLAGS += -Werror
endif

EXTRA_CLEAN = $(OBJS:.o=.d) $(BITCODE:.bc=.bc.d) build results regression.diffs regression.out

# Targets that do not need PostgreSQL's build files, because they install them.
STANDALONE = test test-planted test-features check-valgrind check-points demo bench bench-polling soak load
ifneq ($(filter $(STANDALONE),$(MAKECMDGOALS)),)

.PHONY: $(STANDALONE)
$(filter $(STANDALONE),$(MAKECMDGOALS)):
	@scripts/install_packages
	@MAKEFLAGS= PG_CONFIG=$(PG_CONFIG) DEBUG=$(DEBUG) KEEP=$(KEEP) QUICK=$(QUICK) \
	    MINUTES=$(MINUTES) LAYERS="$(LAYERS)" FEATURES="$(FEATURES)" scripts/in_private_root $@

else ifeq ($(MAKECMDGOALS),check-newer)

.PHONY: check-newer
check-newer:
	@MAKEFLAGS= RELEASE="$(RELEASE)" LAYERS="$(LAYERS)" NEWER_ROOT="$(NEWER_ROOT)" test/newer/run

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS compiles the JIT's bitcode without the module's own flags.
COMPILE.cxx.bc += $(PG_CXXFLAGS) -MF $(@:.bc=.bc.d)

# PGXS knows no header dependencies; the compilers write them down beside each object.
-include $(OBJS:.o=.d) $(BITCODE:.bc=.bc.d)

# Other flags make other objects (-Werror does not).
FLAGS = $(subst ','"'"',$(CXX) $(filter-out -Werror,$(CXXFLAGS)) $(CPPFLAGS))
$(OBJS) $(BITCODE): build/flags
build/flags: FORCE
	@mkdir -p build
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
FORCE:

# The library knows which version it is.
src/inventory_lock.o src/inventory_lock.bc: private override CPPFLAGS += -D'IL_VERSION="$(EXTVERSION)"'
src/inventory_lock.o src/inventory_lock.bc: Makefile

# The install script: its parts in the order of their names.
$(EXTENSION)--$(EXTVERSION).sql: $(sort $(wildcard src/install/*.sql)) Makefile
	@printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit' > $@.new
	cat /dev/null $(filter %.sql,$^) >> $@.new
	mv $@.new $@

.PHONY: FORCE format format-check lint
FORMATTED = $(sort $(wildcard src/*.[ch]pp src/*/*.[ch]pp test/*/*.[ch]pp bench/*.[ch]pp))
CLANG_FORMAT ?= $(firstword $(wildcard /usr/lib/llvm-14/bin/clang-format) clang-format)
format:
	$(CLANG_FORMAT) -i $(FORMATTED)
format-check:
	$(CLANG_FORMAT) --dry-run --Werror $(FORMATTED)
lint: format-check
	scripts/check_sources

endif
