#include "base/reclaim.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Of what this fails for (the vDSO) nothing is lost. */
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

void reclaim_linked(void) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  (void)dl_iterate_phdr(give_back, &page);
}
