# make            the programs            make test    unit, simulator and integration tests
# make run        a world on this machine make bench   bots against a cluster of its own
# Variants sit side by side: `make SAN=address,undefined test` fills build/address-undefined/.
comma  := ,
BUILD  ?= build
B      := $(BUILD)/$(if $(SAN),$(subst $(comma),-,$(SAN)),release)$(if $(FAULTS),-faults)$(if $(BUG),-$(BUG))
PKGS   := libevent libevent_openssl hiredis libpq libprotobuf-c sqlite3 libcrypto libssl
RELEASE := 0.1.0
COMMIT  := $(shell git describe --always --dirty --exclude='*' 2>/dev/null)
VERSION := $(RELEASE)$(if $(COMMIT),-g$(COMMIT))

CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null))
WARN   := -Wall -Wextra -Wshadow -Wconversion $(if $(WERROR),-Werror)
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -pthread -ffp-contract=off -I. -I$(B)/gen $(WARN) \
              $(PKG_CFLAGS) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -DFAULTS) \
              $(if $(FAULTS),-DFAULTS) $(if $(BUG),-DBUG_$(BUG)) $(CFLAGS)
ALL_LDFLAGS = -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LDLIBS      = $(shell $(PKG_CONFIG) --libs $(PKGS)) -lm

obj     = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c)))
GEN    := $(patsubst proto/schema/%.proto,$(B)/gen/%.pb-c.c,$(wildcard proto/schema/*.proto))
LUA    := $(patsubst proto/redis/%.lua,$(B)/gen/%.lua.h,$(wildcard proto/redis/*.lua))
SQL    := $(patsubst ops/migrations/%.sql,$(B)/gen/%.sql.h,$(wildcard ops/migrations/*.sql))
LIBS   := $(B)/libctl.a $(B)/libreport.a $(B)/libimds.a $(B)/libgateway.a $(B)/libnode.a $(B)/libproto.a
UNIT   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
INTEG  := $(patsubst tests/integration/%.c,$(B)/tests/integration/%,$(wildcard tests/integration/test_*.c))
SIM    := $(patsubst tests/sim/%.c,$(B)/tests/sim/%,$(wildcard tests/sim/test_*.c))
SIMLIB := $(filter-out $(SIM:=.o),$(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c)))
UPGRADE := $(patsubst tests/upgrade/%.c,$(B)/tests/upgrade/%,$(wildcard tests/upgrade/test_*.c))
# The last commit with the schema before this one, and where its programs are built.
OLDER_COMMIT := 0be389bf8fab60aaebd211d6e5620c78e7848061
OLDER  := $(BUILD)/older/$(OLDER_COMMIT)
FUZZ   := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH  := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/bench_*.c))
SOURCES = $(wildcard proto/*/*.[ch] node/*.[ch] node/*/*.[ch] gateway/*.[ch] ops/*/*.[ch] tests/*/*.[ch])
RUN    := ops/run-tests.sh $(if $(STRICT),--strict)

.PHONY: all docs test unit sim sim-bugs sim-bug integration run bench bench-handoff bench-notice fuzz fuzz-run image-test arm64-test format check-format help clean tests-build upgrade-test
.SECONDARY:
.DELETE_ON_ERROR:
all: $(B)/node/node $(B)/gateway/gateway $(B)/ops/spotctl $(B)/ops/spotcraft-imds $(B)/ops/spotcraft-report

help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 16
tests-build: all $(UNIT) $(SIM) $(INTEG) $(BENCH) $(UPGRADE) ## everything that the tests run
test: tests-build ## unit, simulator and integration tests, with their counts
	@$(RUN) --jobs=$(shell nproc) $(SIM) $(UNIT) --jobs=1 $(INTEG)
unit: $(UNIT) ## one binary per module, milliseconds each
	@$(RUN) $^
sim: $(SIM) ## whole clusters on a fake clock; SEED=n replays one
	@$(RUN) $^
sim-bugs: ## the simulator must find the bugs that are built in on purpose
	@for bug in skip_epoch_check ack_before_append; do $(MAKE) --no-print-directory BUG=$$bug sim-bug || exit 1; done
sim-bug: $(SIM)
	@for t in $^; do SIM_EXPECT=bug $$t >$(B)/sim-bug.log 2>&1 || { echo "$(BUG): not found"; exit 1; }; done; echo "$(BUG): found"
integration: all $(INTEG) $(B)/tests/bench/bench_players ## the real programs, killed and cut
	@$(RUN) $(INTEG)
upgrade-test: all $(UPGRADE) $(OLDER)/built ## this version beside the older one, which is built from the git history
	@OLDER=$(OLDER)/build/release $(RUN) $(UPGRADE)
$(OLDER)/built:
	@git cat-file -e '$(OLDER_COMMIT)^{commit}' 2>/dev/null || { echo "upgrade-test: commit $(OLDER_COMMIT) is not in this" \
	    "checkout's history, and the older version is built from it: fetch the whole history first" >&2; exit 1; }
	@rm -rf $(OLDER) && mkdir -p $(OLDER) && git archive $(OLDER_COMMIT) | tar -x -C $(OLDER)
	@$(MAKE) --no-print-directory -s -C $(OLDER) BUILD=build SAN= FAULTS= BUG= WERROR= VERSION=$(OLDER_COMMIT) all
	@touch $@
run: all ## a world on this machine; ARGS="--nodes 5": see ops/up.sh --help
	@ops/up.sh --no-install $(ARGS)
bench: all $(BENCH) ## bots against a cluster of its own; ARGS="--bots 500": see --help
	@$(B)/tests/bench/bench_players $(ARGS)
bench-handoff: all $(BENCH) ## cells that change hands under players; ARGS="--rounds 3 --only drains": see --help
	@$(B)/tests/bench/bench_handoff $(ARGS)
bench-notice: all $(BENCH) ## how long until a node acts on its machine's notice
	@$(B)/tests/bench/bench_notice $(ARGS)
fuzz: ## every parser of outside bytes, FUZZ_S=30 seconds each (clang)
	@$(MAKE) --no-print-directory CC=clang SAN=fuzzer,address,undefined fuzz-run
fuzz-run: $(FUZZ)
	@for f in $(notdir $^); do mkdir -p $(B)/corpus/$$f; echo "== $$f"; $(B)/tests/fuzz/$$f -verbosity=0 -timeout=5 \
	    -print_final_stats=1 -max_total_time=$(or $(FUZZ_S),30) $(B)/corpus/$$f tests/fuzz/corpus/$$f || exit 1; done
image-test: ## ops/Dockerfile carried out in a fresh Debian, and played in (root)
	@ops/image/test.sh --dir $(BUILD)/image
arm64-test: ## cross-built; unit tests and a join under qemu's user emulation, about three minutes
	@ops/arm64-test.sh --dir $(BUILD)/arm64
docs: all ## the README's tables of settings and metrics, from the programs
	@ops/docs.sh
format: ## clang-format everything in place
	clang-format -i $(SOURCES)
check-format: ## fails where clang-format would change something
	clang-format --dry-run -Werror $(SOURCES)
clean: ## removes what was built
	rm -rf $(BUILD)

$(B)/libproto.a: $(call obj,proto) $(GEN:.c=.o)
$(B)/libnode.a: $(call obj,node)
$(B)/libgateway.a: $(call obj,gateway)
$(B)/libctl.a: $(call obj,ops/ctl)
$(B)/libreport.a: $(call obj,ops/report)
$(B)/libimds.a: $(call obj,ops/imds)
$(B)/libtest.a: $(call obj,tests/lib)
$(B)/%.a:
	@rm -f $@ && $(AR) rcs $@ $^
$(B)/node/node: $(B)/node/main.o $(B)/libnode.a $(B)/libproto.a
$(B)/gateway/gateway: $(B)/gateway/main.o $(B)/libgateway.a $(B)/libproto.a
$(B)/ops/spotctl: $(B)/ops/ctl/main.o $(B)/libctl.a $(B)/libproto.a
$(B)/ops/spotcraft-imds: $(B)/ops/imds/main.o $(B)/libimds.a $(B)/libproto.a
$(B)/ops/spotcraft-report: $(B)/ops/report/main.o $(B)/libreport.a $(B)/libproto.a
$(UNIT) $(SIM) $(INTEG) $(BENCH) $(UPGRADE): LDLIBS += -lcmocka
$(FUZZ): %: %.o $(B)/libproto.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
$(UNIT) $(INTEG) $(BENCH) $(UPGRADE): %: %.o $(B)/libtest.a $(LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
$(SIM): %: %.o $(SIMLIB) $(B)/libtest.a $(LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/node/node $(B)/gateway/gateway $(B)/ops/spotctl $(B)/ops/spotcraft-imds $(B)/ops/spotcraft-report:
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

$(B)/node/main.o $(B)/gateway/main.o $(B)/ops/ctl/main.o $(B)/ops/imds/main.o: ALL_CFLAGS += -DVERSION='"$(VERSION)"'

-include $(shell find $(B) -name '*.d' 2>/dev/null)
