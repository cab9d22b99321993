# make            the programs            make test    unit, simulator and integration tests
# make run        a world on this machine make bench   bots against a cluster of its own
# Variants sit side by side: `make SAN=address,undefined test` fills build/address-undefined/.
comma  := ,
BUILD  ?= build
B      := $(BUILD)/$(if $(SAN),$(subst $(comma),-,$(SAN)),release)
PKGS   := libevent libevent_openssl hiredis libpq libprotobuf-c sqlite3 libcrypto libssl
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

CFLAGS ?= -O2 -g
WARN   := -Wall -Wextra -Wshadow -Wconversion $(if $(WERROR),-Werror)
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -pthread -ffp-contract=off -I. -I$(B)/gen $(WARN) \
              -isystem $(shell pg_config --includedir 2>/dev/null || echo /usr/include/postgresql) \
              $(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -DFAULTS) \
              $(if $(FAULTS),-DFAULTS) $(if $(BUG),-DBUG_$(BUG)) $(CFLAGS)
ALL_LDFLAGS = -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LDLIBS      = $(shell pkg-config --libs $(PKGS)) -lm

obj     = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c)))
GEN    := $(patsubst proto/schema/%.proto,$(B)/gen/%.pb-c.c,$(wildcard proto/schema/*.proto))
LUA    := $(patsubst proto/redis/%.lua,$(B)/gen/%.lua.h,$(wildcard proto/redis/*.lua))
SQL    := $(patsubst ops/migrations/%.sql,$(B)/gen/%.sql.h,$(wildcard ops/migrations/*.sql))
LIBS   := $(B)/libgateway.a $(B)/libnode.a $(B)/libproto.a
UNIT   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
INTEG  := $(patsubst tests/integration/%.c,$(B)/tests/integration/%,$(wildcard tests/integration/test_*.c))

.PHONY: all test unit sim integration run bench fuzz format check-format help clean tests-build
.SECONDARY:
.DELETE_ON_ERROR:
all: $(B)/node/node $(B)/gateway/gateway

help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(B)/libproto.a: $(call obj,proto) $(GEN:.c=.o)
$(B)/libnode.a: $(call obj,node)
$(B)/libgateway.a: $(call obj,gateway)
$(B)/libtest.a: $(call obj,tests/lib)
$(B)/%.a:
	@rm -f $@ && ar rcs $@ $^
$(B)/node/node: $(B)/node/main.o $(B)/libnode.a $(B)/libproto.a
$(B)/gateway/gateway: $(B)/gateway/main.o $(B)/libgateway.a $(B)/libproto.a
$(B)/tests/unit/% $(B)/tests/integration/%: LDLIBS += -lcmocka
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libtest.a $(LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/integration/%: $(B)/tests/integration/%.o $(B)/libtest.a $(LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/node/node $(B)/gateway/gateway:
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/gen/%.pb-c.c: proto/schema/%.proto
	@mkdir -p $(@D)
	protoc-c --proto_path=proto/schema --c_out=$(B)/gen $<
$(B)/gen/%.lua.h: proto/redis/%.lua
	@mkdir -p $(@D)
	sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n"/' $< > $@
$(B)/gen/%.sql.h: ops/migrations/%.sql
	@mkdir -p $(@D)
	sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n"/' $< > $@
$(B)/gen/%.o: $(B)/gen/%.c
	$(CC) $(ALL_CFLAGS) -w -c -o $@ $<
$(B)/%.o: %.c | $(GEN) $(LUA) $(SQL)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)
