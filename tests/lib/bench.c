#include "tests/lib/bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

void bench_begin(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
}

unsigned bench_number(const char *text, const char *option, unsigned long min, unsigned long max)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || end == text || v < min || v > max) {
        fprintf(stderr, "--%s takes a number from %lu to %lu, not '%s'\n", option, min, max, text);
        exit(2);
    }
    return (unsigned)v;
}
