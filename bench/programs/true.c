/* true: a check that passes, and costs no more than a process. */
int main(void) {
  return 0;
}
