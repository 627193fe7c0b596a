# pg_weir: build, install, check.  `make help` lists the targets.

EXTENSION  = pg_weir
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)
MODULE_big = pg_weir
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# The install script is these pieces, in this order.
SQL_PIECES = \
	src/sql/schema.sql \
	src/sql/catalog.sql \
	src/sql/window.sql \
	src/sql/worker.sql \
	src/sql/server.sql \
	src/sql/stream.sql \
	src/sql/ingest.sql \
	src/sql/deadletter.sql \
	src/sql/expect.sql \
	src/sql/aggregate.sql \
	src/sql/transform.sql \
	src/sql/upsert.sql \
	src/sql/alert.sql \
	src/sql/status.sql \
	src/sql/alert_stream.sql \
	src/sql/guard_derived.sql \
	src/sql/guard.sql \
	src/sql/check.sql \
	src/sql/check_kind.sql \
	src/sql/check_statistics.sql \
	src/sql/check_define.sql \
	src/sql/check_statement.sql \
	src/sql/check_run.sql \
	src/sql/check_plain.sql \
	src/sql/task.sql \
	src/sql/task_run.sql \
	src/sql/task_api.sql \
	src/sql/schedule.sql \
	src/sql/rights.sql

DATA_built = $(EXTENSION)--$(EXTVERSION).sql

REGRESS      = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --load-extension=pg_weir

PG_CFLAGS   = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CPPFLAGS = -I$(CURDIR)/src $(shell pkg-config --cflags rdkafka)
SHLIB_LINK  = $(shell pkg-config --libs rdkafka)

PG_CONFIG ?= pg_config
PGXS      := $(shell $(PG_CONFIG) --pgxs)

PG_MAJOR := $(shell $(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
ifneq ($(filter-out 15 16 17 18,$(PG_MAJOR)),)
$(error pg_weir needs PostgreSQL 15 to 18, and $(PG_CONFIG) says $(PG_MAJOR))
endif

# No bitcode: nothing of ours is worth inlining into a JIT-compiled query.
override with_llvm = no
include $(PGXS)

# Every object depends on every header: the tree is small, and a stale object
# in a server process is worse than a rebuild.
$(OBJS): $(wildcard src/*.h)

# The version stands in the control file only.
src/version.o: $(EXTENSION).control
src/version.o: override CPPFLAGS += -DWEIR_VERSION='"$(EXTVERSION)"'

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PIECES) $(EXTENSION).control
	(printf '%s\n' '\echo Use "CREATE EXTENSION pg_weir" to load this file. \quit'; cat $(SQL_PIECES)) > $@

clean: clean-generated
clean-generated:
	rm -f $(EXTENSION)--*.sql
.PHONY: clean-generated
