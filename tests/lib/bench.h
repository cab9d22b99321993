/* bench.h - what the benchmarks' main functions share. Pure but for what is said to stderr. */
#ifndef TESTS_LIB_BENCH_H
#define TESTS_LIB_BENCH_H

/* As many files as the system allows, since each player is one; a lost connection is an error, not a signal. */
void bench_begin(void);
/* The value of --option. Ends the program with status 2 when it is no number from min to max. */
unsigned bench_number(const char *text, const char *option, unsigned long min, unsigned long max);

#endif
