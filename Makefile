# luapilot: `make run` shows it working, `make test` proves it, `make help` lists the rest.

VERSION = 0.1.0

PREFIX = /usr/local
BINDIR = $(PREFIX)/bin
LUADIR = $(PREFIX)/share/lua/5.1

# Everything made goes below one directory; the sanitized and the clang build have their own.
B = build

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

all: $(B)/luapilot $(B)/lib/luapilot/rt.so ## build the program and its runtime as a Lua module (default)

# --- what to build, with what -----------------------------------------------------------------------

ifeq ($(origin CC),default)
CC = gcc
endif
LUAJIT  = luajit
CFLAGS  = -O2 -g
LDFLAGS =
HARDEN  = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
# A (void) in front of a call says that its result does not matter. clang understands that, and lint builds
# with it; gcc does not.
WARN    = -Wall -Wextra -Werror $(if $(findstring clang,$(CC)),,-Wno-unused-result)

luajit_cflags  := $(shell pkg-config --cflags luajit 2>/dev/null)
luajit_libdir  := $(shell pkg-config --variable=libdir luajit 2>/dev/null)
luajit_version := $(shell pkg-config --modversion luajit 2>/dev/null)

# The static libraries where the system has them (Debian does): the result then needs libc and libm only.
# All of LuaJIT goes in, and -Wl,-E exports it: rocks written in C find the Lua API in the program itself.
luajit_static  := $(wildcard $(luajit_libdir)/libluajit-5.1.a)
cjson_static   := $(wildcard $(luajit_libdir)/liblua5.1-cjson.a)
luajit_link     = $(if $(luajit_static),-Wl$(,)--whole-archive $(luajit_static) -Wl$(,)--no-whole-archive,$\
                    $(shell pkg-config --libs luajit))
, := ,

# An include names a file from src/ on, also of its own wing: "http/http.h" and "port/http.c" are two.
cflags = -std=gnu11 -fPIC -Isrc -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DLUAPILOT_VERSION='"$(VERSION)"' $(if $(cjson_static),-DLUAPILOT_STATIC_CJSON) \
         $(if $(luajit_static),-DLUAPILOT_STATIC_LUAJIT) \
         $(luajit_cflags) $(WARN) $(HARDEN) $(CFLAGS)

sources := $(wildcard src/*.c src/*/*.c)
headers := $(wildcard src/*.h src/*/*.h)
objects  = $(sources:src/%.c=$(B)/obj/%.o)
modules := $(shell find lua -name '*.lua' 2>/dev/null | LC_ALL=C sort)

# V=1 shows the commands instead of one short line for each.
ifeq ($(V),1)
say = @:
else
Q   = @
say = @printf '  %-6s %s\n'
endif

# --- the program ------------------------------------------------------------------------------------

$(B)/luapilot: $(objects) $(B)/obj/embedded.o
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -static-libgcc -Wl,-E $(if $(luajit_static),-Wl$(,)--wrap=mmap64) -o $@ $(filter %.o,$^) $(cjson_static) $(luajit_link) -lm -ldl

# The same objects without main, for specs that drive the runtime from LuaJIT. Lua's own symbols come from there.
# Never unloaded: a thread that looks a name up may outlive the Lua state that loaded it.
$(B)/lib/luapilot/rt.so: $(filter-out %/main.o,$(objects))
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-z,nodelete -o $@ $(filter %.o,$^) -lm -ldl

$(B)/obj/%.o: src/%.c $(B)/flags
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -MMD -MP -c -o $@ $<

$(B)/obj/embedded.o: $(B)/embedded.c src/embedded.h $(B)/flags
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O0 -g0 -U_FORTIFY_SOURCE -c -o $@ $<

$(B)/embedded.c: tools/embed.lua tools/presize.lua $(modules) $(B)/flags $(B)/files
	$(say) EMBED $@
	$(Q)$(LUAJIT) tools/embed.lua $@ $(modules)

# Two files that change only when what they record does: other flags rebuild all, a removed source relinks.
$(B)/flags: export record = $(CC) $(cflags) $(LDFLAGS) $(luajit_version) $(luajit_link) $(cjson_static)
$(B)/files: export record = $(sources) $(modules)
$(B)/flags $(B)/files: FORCE
	@test -n "$(luajit_cflags)" || { echo "LuaJIT is not found by pkg-config; make deps installs it" >&2; exit 1; }
	@mkdir -p $(@D); printf '%s\n' "$$record" | cmp -s - $@ || printf '%s\n' "$$record" >$@
$(B)/luapilot $(B)/lib/luapilot/rt.so: $(B)/files

FORCE:

-include $(objects:.o=.d)

# --- to try it --------------------------------------------------------------------------------------

# The last line replaces the shell: a Ctrl-C reaches the pilot itself, and make waits for its orderly end.
run: ## install what is missing, build, and run examples/quickstart
	@tools/deps build run
	@$(MAKE) all
	@exec $(B)/luapilot run examples/quickstart/pilot.lua

deps: ## install the Debian packages to build, test and lint with
	@tools/deps build run test lint

# --- to prove it ------------------------------------------------------------------------------------

integration = $(sort $(wildcard spec/integration/*_spec.lua))
soak_actor  = build/soak/actor
contracts   = $(sort $(wildcard spec/contract/*_spec.lua))
SPECS       = spec/unit $(contracts) $(integration)

test: ## install what is missing, build, run every spec, or SPECS="FILE..."
	@tools/deps build run test
	@$(MAKE) all replay have-consul $(soak_actor)
	@tools/specs $(SPECS)

fresh: ## `make run` and some of `make test` in a new Debian with nothing on it, below build/fresh
	@tools/fresh

unit: ## the specs that need no process and no clock
	@tools/specs spec/unit

contract: all have-consul ## one spec of the port, against the real and the simulated one
	@tools/specs $(contracts)

integration: all replay have-consul $(soak_actor) ## real processes, one spec file at a time in each of two lanes
	@LUAPILOT_BINARY=$(B)/luapilot tools/specs $(integration)

consul: ## fetch the Consul agent that specs talk to, build/consul/consul
	@tools/consul

have-consul:
	@tools/consul || echo "  without Consul: specs that need one are skipped"

asan: ## the same program with AddressSanitizer and UBSan: build/asan/luapilot
	@$(MAKE) B=build/asan HARDEN= CFLAGS='-O1 -g -fno-omit-frame-pointer $(sanitize)' all replay

sanitize = -fsanitize=address,undefined -fno-sanitize-recover=undefined

# The second half loads the sanitized rt.so into a plain LuaJIT, whose leaks are not ours; the library gets
# into the jobs as well, where it must not catch signals.
test-asan: asan have-consul $(soak_actor) ## the integration and contract specs with it
	@tools/deps run test
	@status=0; tools/sanitized tools/specs $(integration) || status=1; \
	  ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0 \
	  LUAJIT="env LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) $(LUAJIT)" \
	  tools/sanitized tools/specs $(contracts) || status=1; \
	  exit $$status

# Harnesses for libFuzzer (spec/fuzz/): the output, where limits.h makes the bounds small, and what is sent to a
# NOTIFY_SOCKET, both with system calls of the harness's; what of a job's lines is JSON; and two parts of the Lua core. With
# replay.c in libFuzzer's place they run their corpus in the specs.
harnesses     = output notify parse load values
fuzz_output   = $(addprefix spec/fuzz/,output.c input.c lines.c object.c) \
                $(addprefix src/,base/buffer.c base/names.c file/place.c loop/loop.c) \
                $(wildcard src/output/*.c)
fuzz_notify   = $(addprefix spec/fuzz/,notify.c input.c) $(addprefix src/,loop/loop.c net/passed.c process/notify.c)
fuzz_parse    = $(addprefix spec/fuzz/,parse.c object.c input.c lines.c) $(addprefix src/,base/buffer.c output/format.c output/parse.c output/utf8.c)
fuzz_core     = spec/fuzz/core.c $(filter-out src/main.c,$(sources))
fuzz_headers := $(headers) $(wildcard spec/fuzz/*.h)
wrap_output   = -include spec/fuzz/limits.h -lm $(foreach call,write read send open realloc,-Wl$(,)--wrap=$(call))
wrap_notify   = $(foreach call,recvmsg getsid,-Wl$(,)--wrap=$(call))
wrap_parse    = -lm
wrap_core     = -DSCRIPT='"spec/fuzz/$(@F).lua"' -Wl,-E -Wl,--wrap=lua_sethook
link_core     = $(luajit_link) -lm -ldl
fuzz_cflags   = -std=gnu11 -Isrc -D_GNU_SOURCE -DLUAPILOT_VERSION='"$(VERSION)"' $(luajit_cflags) -Wall -Wextra -Werror

fuzz: $(harnesses:%=build/fuzz/%) ## the fuzz harnesses, with clang's libFuzzer: build/fuzz/
replay: $(harnesses:%=$(B)/replay/%)

build/fuzz/output: $(fuzz_output)
build/fuzz/notify: $(fuzz_notify)
build/fuzz/parse: $(fuzz_parse)
build/fuzz/output build/fuzz/notify build/fuzz/parse: $(fuzz_headers)
	$(say) FUZZ $@
	@mkdir -p $(@D)
	$(Q)clang $(fuzz_cflags) -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $(wrap_$(@F)) \
	  -o $@ $(fuzz_$(@F))

# LuaJIT has no sanitizer's code in it, and ASan's memory makes it ten times slower.
build/fuzz/load build/fuzz/values: $(fuzz_core) $(fuzz_headers)
	$(say) FUZZ $@
	@mkdir -p $(@D)
	$(Q)clang $(fuzz_cflags) -O1 -g -fsanitize=fuzzer,undefined -fno-sanitize-recover=undefined $(wrap_core) \
	  -o $@ $(fuzz_core) $(link_core)

$(B)/replay/output: $(fuzz_output)
$(B)/replay/notify: $(fuzz_notify)
$(B)/replay/parse: $(fuzz_parse)
$(B)/replay/output $(B)/replay/notify $(B)/replay/parse: spec/fuzz/replay.c $(fuzz_headers) $(B)/flags
	$(say) REPLAY $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(fuzz_cflags) $(CFLAGS) $(wrap_$(@F)) -o $@ spec/fuzz/replay.c $(fuzz_$(@F))

$(B)/replay/load $(B)/replay/values: spec/fuzz/replay.c $(fuzz_core) $(fuzz_headers) $(B)/flags
	$(say) REPLAY $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(fuzz_cflags) $(if $(findstring clang,$(CC)),,-Wno-unused-result) $(CFLAGS) $(wrap_core) \
	  -o $@ spec/fuzz/replay.c $(fuzz_core) $(link_core)

SECONDS = 60
fuzz-run: fuzz ## fuzz for SECONDS (60), each harness by itself; what is found stays in build/fuzz/found/
	@tools/fuzz $(SECONDS) $(harnesses)

valgrind: all ## a small pilot's whole life under valgrind
	@tools/deps lint
	@tools/memcheck $(B)/luapilot

# Chaos by a seed around a pilot that is PID 1, and its judges (spec/soak/). The hour is `make soak SECONDS=3600`.
SEED = 1

soak: all $(soak_actor) ## storms of chaos by SEED (1) for SECONDS (60), and whether all is well after each
	@tools/soak --seconds $(SECONDS) --seed $(SEED)

soak-asan: asan $(soak_actor) ## the same with sanitizers
	@tools/sanitized tools/soak --seconds $(SECONDS) --seed $(SEED)

$(soak_actor): $(wildcard spec/soak/*.c spec/soak/*.h)
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -static -o $@ $(filter %.c,$^)

# Programs of the benchmarks' own: static, so that what is measured is not the dynamic linker.
bench_programs = $(patsubst bench/programs/%.c,build/bench/%,$(wildcard bench/programs/*.c))
bench_bare     = build/bench/job build/bench/true

bench: ## side by side with tini, dumb-init, s6, runit, supervisord, dinit if it is there, and Consul: an hour
	@tools/deps build bench
	@$(MAKE) all bench-programs
	@bench/run

bench-smoke: all bench-programs ## that each benchmark works, in seconds
	@bench/run --smoke

bench-programs: $(bench_programs)

$(bench_bare): bench_cflags = -nostdlib -ffreestanding -fno-stack-protector

build/bench/%: bench/programs/%.c bench/programs/stamp.h bench/programs/freestanding.h
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -static $(bench_cflags) -o $@ $<

MODULES = job/machine task/task task/bus job/trigger job/starter schema/restart pilot/shutdown service/reconciler
SEEDS   = 60
SAMPLE  =

mutate: ## which altered lines of MODULES neither the laws nor specs notice, or of SAMPLE each: half an hour
	@nice tools/mutate --seeds $(SEEDS) $(SAMPLE:%=--sample %) $(MODULES)

linters = lint-luacheck lint-clang lint-clang-tidy lint-clang-format lint-cppcheck lint-shellcheck lint-version

lint: ## luacheck, clang with -Werror, clang-tidy, clang-format, cppcheck, shellcheck
	@tools/deps build run test lint
	@$(MAKE) --keep-going $(linters)

linters: # their names, for .ci/run
	@echo $(linters)

lint-luacheck:
	$(say) LINT Lua
	$(Q)luacheck --quiet --no-color $(wildcard lua spec tools examples bench) tools/laws tools/mutate tools/soak bench/run \
	  .luacheckrc luapilot-$(VERSION)-1.rockspec

lint-clang:
	@$(MAKE) B=build/clang CC=clang all
	@$(MAKE) fuzz
	@for file in bench/programs/*.c spec/soak/*.c spec/support/*.c; do clang -std=gnu11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Werror $$file || exit 1; done

lint-clang-tidy: $(sources:src/%.c=build/tidy/%)

build/tidy/%: src/%.c $(headers) .clang-tidy
	$(say) TIDY $<
	@mkdir -p $(@D)
	$(Q)clang-tidy --quiet $< -- $(filter-out -Werror,$(cflags)) >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@

lint-clang-format:
	$(say) LINT clang-format
	$(Q)clang-format --dry-run -Werror $(sources) $(headers) $(wildcard bench/programs/*.[ch] spec/fuzz/*.[ch] spec/soak/*.[ch] spec/support/*.c)

format: ## rewrite the C files in the house style (.clang-format)
	clang-format -i $(sources) $(headers) $(wildcard bench/programs/*.[ch] spec/fuzz/*.[ch] spec/soak/*.[ch] spec/support/*.c)

lint-cppcheck:
	$(say) LINT cppcheck
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	  --suppress=missingIncludeSystem -Isrc -D_GNU_SOURCE -DLUAPILOT_VERSION='""' --error-exitcode=1 src

lint-shellcheck:
	$(say) LINT shellcheck
	$(Q)shellcheck tools/consul tools/deps tools/fresh tools/mirror tools/specs tools/sanitized tools/memcheck tools/fuzz .ci/run

# The version is written above; the rockspec and the changelog must agree.
lint-version:
	$(say) LINT version
	@grep -q '^version = "$(VERSION)-1"$$' luapilot-$(VERSION)-1.rockspec || \
	  { echo "luapilot-$(VERSION)-1.rockspec does not say version = \"$(VERSION)-1\""; exit 1; }
	@grep -q '^## \[$(VERSION)\]' CHANGELOG.md || { echo "CHANGELOG.md has no entry for $(VERSION)"; exit 1; }

# --- to keep it -------------------------------------------------------------------------------------

# The Lua files serve plain busted: `require "luapilot.sim"` without the program.
install: all ## install the program and, for specs of a pilot.lua, the Lua files (DESTDIR, PREFIX)
	$(say) INST '$(DESTDIR)$(BINDIR)/luapilot'
	$(Q)install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LUADIR)'
	$(Q)install -m 755 $(B)/luapilot '$(DESTDIR)$(BINDIR)/luapilot'
	$(say) INST '$(DESTDIR)$(LUADIR)/luapilot'
	$(Q)for file in $(modules); do install -D -m 644 "$$file" '$(DESTDIR)$(LUADIR)'"/$${file#lua/}" || exit 1; done

# The Consul agent was fetched, not made.
clean: ## remove all that was made: build/ but for build/consul
	$(Q)[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name consul -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo; echo "  V=1 shows the commands; JOBS=1 runs spec files one after the other"

.PHONY: all run deps test fresh unit contract integration consul have-consul asan test-asan valgrind mutate fuzz fuzz-run replay soak soak-asan bench bench-smoke bench-programs lint format linters $(linters) install clean help FORCE
