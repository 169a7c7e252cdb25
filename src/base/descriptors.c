#include "base/descriptors.h"

bool descriptors_raise(struct rlimit *before) {
  if (getrlimit(RLIMIT_NOFILE, before) != 0) return false;
  struct rlimit raised = *before;
  raised.rlim_cur = raised.rlim_max < DESCRIPTORS_WANTED ? raised.rlim_max : DESCRIPTORS_WANTED;
  return raised.rlim_cur > before->rlim_cur && setrlimit(RLIMIT_NOFILE, &raised) == 0;
}
