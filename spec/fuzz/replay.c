/* replay: a harness without libFuzzer: each file that is named, or that lies in a directory that is named, once.
 * For the specs, with any compiler. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

/* Nobody mutates here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most) {
  (void)data;
  return size < most ? size : most;
}

static int count;

/* Memory of just that size, so that sanitizers see who reads behind it. */
static void replay(const char *path) {
  struct stat info;
  FILE *file = fopen(path, "rb");
  if (file == NULL || fstat(fileno(file), &info) != 0) {
    perror(path);
    exit(1);
  }
  size_t size = (size_t)info.st_size;
  uint8_t *data = malloc(size + (size == 0));
  if (data == NULL || fread(data, 1, size, file) != size) abort();
  (void)fclose(file);
  (void)fprintf(stderr, "%s\n", path);
  (void)LLVMFuzzerTestOneInput(data, size);
  free(data);
  count++;
}

static void replay_all(const char *directory) {
  struct dirent **entries;
  int found = scandir(directory, &entries, NULL, alphasort);
  if (found < 0) {
    replay(directory);
    return;
  }
  for (int i = 0; i < found; i++) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.') replay(path);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  (void)LLVMFuzzerInitialize(&argc, &argv);
  for (int i = 1; i < argc; i++) replay_all(argv[i]);
  (void)fprintf(stderr, "%d inputs replayed\n", count);
  return 0;
}
