#include "http/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "base/reclaim.h"

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
  reclaim_linked();
  return 0;
}
