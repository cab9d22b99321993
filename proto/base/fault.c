#include "proto/base/fault.h"

#ifdef FAULTS
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

enum { FAULTS_MAX = 16, NAME_BYTES = 64 };

static struct armed {
    char name[NAME_BYTES];
    int signal;
    atomic_uint until; /* reached so many times more; 0: spent */
} armed[FAULTS_MAX];
static unsigned n_armed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A fault that is not armed as its test believes would make a test that tests nothing: stop. */
static void bad(const char *spec)
{
    log_error("bad_fault spec=%s want=NAME=crash|stop[@N][,...]", spec);
    abort();
}

static void arm(void)
{
    const char *env = getenv("FAULTS");
    char *specs = env ? strdup(env) : NULL, *rest = specs;
    for (char *spec; rest && (spec = strsep(&rest, ",")) != NULL;) {
        char action[8], more;
        unsigned at = 1;
        if (n_armed == FAULTS_MAX)
            bad(spec);
        struct armed *a = &armed[n_armed++];
        int n = sscanf(spec, "%63[^=]=%7[a-z]@%u%c", a->name, action, &at, &more);
        if (n < 2 || n > 3 || at == 0 || (n == 2 && strchr(spec, '@')))
            bad(spec);
        if (strcmp(action, "crash") == 0)
            a->signal = SIGKILL;
        else if (strcmp(action, "stop") == 0)
            a->signal = SIGSTOP;
        else
            bad(spec);
        atomic_init(&a->until, at);
    }
    free(specs);
}

void fault_hit(const char *name)
{
    pthread_once(&once, arm);
    for (unsigned i = 0; i < n_armed; i++) {
        struct armed *a = &armed[i];
        if (strcmp(a->name, name) != 0 || atomic_load(&a->until) == 0)
            continue;
        if (atomic_fetch_sub(&a->until, 1) == 1) {
            log_warn("fault name=%s signal=%d", name, a->signal);
            raise(a->signal);
        }
    }
}
#endif
