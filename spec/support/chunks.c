/* Tells on stderr of each chunk that LuaJIT's allocator takes from the kernel, and whether its pages come with it: to be
 * loaded by LD_PRELOAD. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK ((size_t)128 * 1024)

static void tell(const char *text, size_t size) {
  (void)!write(STDERR_FILENO, text, size);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {
  if (size == CHUNK && fd < 0) {
    if (flags & MAP_POPULATE) {
      tell("chunk filled\n", sizeof "chunk filled\n" - 1);
    } else {
      tell("chunk\n", sizeof "chunk\n" - 1);
    }
  }
  return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
