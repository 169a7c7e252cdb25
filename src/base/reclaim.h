/* reclaim: memory that the dynamic linker has touched, and nobody needs any more.
 *
 * To link a library is to go once through it: through its tables of names, and, where a function has
 * several versions for several processors, through its code. Those pages are the page cache's, but they
 * count as ours for as long as we live. It gives back what was never written to, of libraries only; what
 * is used again comes back from the page cache. It never gives back what could not come back: a segment
 * that is writable, or into whose code the linker has written. (A breakpoint that a debugger has set in
 * a library is lost.) */
#ifndef LUAPILOT_BASE_RECLAIM_H
#define LUAPILOT_BASE_RECLAIM_H

void reclaim_linked(void);

#endif
