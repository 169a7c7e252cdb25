/* The Lua core inside the program.
 *
 * tools/embed.lua compiles every file of lua/luapilot (and argparse, which the command line needs) to
 * LuaJIT bytecode and writes it as build/embedded.c. main.c's `require` of
 * the core loads from here: one file runs on a machine that has no Lua at all.
 *
 * The bytecode keeps its line information, so that a traceback reads luapilot/job/machine.lua:17, but not the
 * names of locals and upvalues. It belongs to the LuaJIT it was compiled with, which is the one that is
 * linked.
 *
 * LuaJIT copies what it loads, so the bytecode is read once. It fills pages of its own, which can be given back when
 * a pilot has started: what is loaded later reads them from the file again.
 *
 * Owns nothing that lives: constant data, in the binary only (rt.so is loaded by a LuaJIT that finds the
 * same files in lua/). */

#ifndef LUAPILOT_EMBEDDED_H
#define LUAPILOT_EMBEDDED_H

#include <stddef.h>

#define EMBEDDED_PAGE 4096

struct embedded_module {
  const char *name; /* as required: "luapilot", "luapilot.job.machine", "argparse" */
  size_t offset;    /* in embedded_code */
  size_t size;
};

extern const unsigned char embedded_code[];
extern const size_t embedded_size;

/* Sorted by name, in the order of strcmp. */
extern const struct embedded_module embedded_modules[];
extern const size_t embedded_count;

#endif
