#include "http_curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LIBRARY "libcurl.so.4"

struct curl_functions curl;

/* The functions by name: a pointer to a function goes into its place as bytes, because C has no cast
 * from what dlsym() returns. */
#define FUNCTION(name)                                                                             \
  { "curl_" #name, offsetof(struct curl_functions, name) }

static const struct {
  const char *name;
  size_t place;
} functions[] = {
    FUNCTION(global_init),         FUNCTION(slist_append),        FUNCTION(slist_free_all),
    FUNCTION(easy_init),           FUNCTION(easy_setopt),         FUNCTION(easy_getinfo),
    FUNCTION(easy_pause),          FUNCTION(easy_strerror),       FUNCTION(easy_cleanup),
    FUNCTION(multi_init),          FUNCTION(multi_setopt),        FUNCTION(multi_add_handle),
    FUNCTION(multi_remove_handle), FUNCTION(multi_socket_action), FUNCTION(multi_assign),
    FUNCTION(multi_info_read),     FUNCTION(multi_cleanup),
};

/* Returns the name of what is missing, or NULL. */
static const char *look_up(void *library, struct curl_functions *found) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *function = dlsym(library, functions[i].name);
    if (function == NULL) return functions[i].name;
    memcpy((char *)found + functions[i].place, &function, sizeof function);
  }
  return NULL;
}

static void *at(uintptr_t address) {
  /* NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are numbers to the loader */
  return (void *)address;
}

/* Whether the loader has written into its code. */
static bool has_text_relocations(const struct dl_phdr_info *object) {
  for (int i = 0; i < object->dlpi_phnum; i++) {
    if (object->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const ElfW(Dyn) *entry = at(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; entry++)
      if (entry->d_tag == DT_TEXTREL ||
          (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_TEXTREL))
        return true;
  }
  return false;
}

/* What of a library is never written to. Of what this fails for (the vDSO) nothing is lost. */
static int give_back(struct dl_phdr_info *object, size_t size, void *page) {
  (void)size;
  if (object->dlpi_name[0] == '\0' || has_text_relocations(object)) return 0;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || segment->p_flags & PF_W) continue;
    uintptr_t begin = (object->dlpi_addr + segment->p_vaddr) & ~(*(uintptr_t *)page - 1);
    uintptr_t end = object->dlpi_addr + segment->p_vaddr + segment->p_memsz;
    (void)madvise(at(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

/* Loading and initialising goes once through thirty libraries, and most of what it has touched is not
 * used again: 5 MB of pages that nobody has written to. What is used comes back from the page cache.
 * (A breakpoint that a debugger has set there does not.) */
static void give_pages_back(void) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  (void)dl_iterate_phdr(give_back, &page);
}

int http_curl_load(struct failure *failure) {
  if (curl.global_init) return 0;
  void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL)
    return fail(failure, "http", ENOSYS, "%s is not installed: apt-get install libcurl4 (%s)",
                LIBRARY, dlerror());
  struct curl_functions found;
  const char *missing = look_up(library, &found);
  if (missing) {
    (void)dlclose(library);
    return fail(failure, "http", ENOSYS, "%s is too old, it has no %s: install a newer one",
                LIBRARY, missing);
  }
  if (found.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return fail(failure, "http", ENOSYS, "%s cannot be initialised", LIBRARY);
  curl = found;
  give_pages_back();
  return 0;
}
