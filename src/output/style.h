/* style: how lines look, as the pilot.lua asks for it. What is made of it: output/format.h. */
#ifndef LUAPILOT_OUTPUT_STYLE_H
#define LUAPILOT_OUTPUT_STYLE_H

#include <stdbool.h>

enum output_format { OUTPUT_DEFAULT, OUTPUT_TEXT, OUTPUT_JSON };

/* How one job's lines look and where they go. The strings are copied. */
struct output_style {
  const char *name;       /* the job's */
  const char *level;      /* label of its lines */
  bool prefix;            /* false: the bare line, in the default format */
  bool parse;             /* lines that are JSON objects are told apart: output/parse.h */
  const char *level_from; /* the key in them that names the level; NULL: none does */
};

#endif
