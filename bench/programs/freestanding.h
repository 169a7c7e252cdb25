/* A program without a C library. glibc asks the processor about itself at every start (some dozen CPUID);
 * in a virtual machine that alone can take 0.6 ms, ten times what the exec costs, and would be measured
 * as if it were the supervisor's. */
#ifndef BENCH_FREESTANDING_H
#define BENCH_FREESTANDING_H

#include <stddef.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c, long d) {
#if defined __x86_64__
  long result;
  register long fourth __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                   : "rcx", "r11", "memory");
  return result;
#elif defined __aarch64__
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
#else
#  error "the benchmarks' programs know x86-64 and ARM64"
#endif
}

/* What the program is: gets the environment, returns its exit code. */
static int body(char **environment);

__attribute__((noreturn, used)) static void enter(long *stack) {
  int code = body((char **)(stack + 1 + stack[0] + 1));
  for (;;) (void)call(SYS_exit_group, code, 0, 0, 0);
}

#if defined __x86_64__
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call enter\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\n bl enter\n");
#endif

#endif
