/* imds_mock.h - a real spotcraft-imds in a test's lab, and the ways to command it.
 *
 *   imds_mock_start(&m, lab)                   then, before the node starts:
 *   imds_say(&m, "node0?type=m6i.large")       POST /control/node0?...; fails the test's assert when refused
 *   imds_endpoint(&m, node->imds, "node0")     what its --imds shall be
 *
 * Everything blocks, for at most PROBE_MS. */
#ifndef TESTS_LIB_IMDS_MOCK_H
#define TESTS_LIB_IMDS_MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/proc.h"

struct imds_mock {
    struct proc *proc; /* the lab's */
    uint16_t port;
};

bool imds_mock_start(struct imds_mock *m, struct lab *lab,
                     const char *const *more_args); /* more_args: NULL, or flags */
void imds_endpoint(const struct imds_mock *m, char out[128], const char *name);
/* True: the command was taken; else why not is on stderr. */
bool imds_say(const struct imds_mock *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* GET /control/NAME; NULL: no answer. The caller frees. */
char *imds_told(const struct imds_mock *m, const char *name);
/* The first number of that name there; otherwise, where it is null or missing. */
double imds_number(const struct imds_mock *m, const char *name, const char *field, double otherwise);

/* One request, as it stands. The status code, 0: no whole answer in time. *answer: head and body, the caller frees; may
 * be NULL. headers: each with its \r\n. */
int imds_ask(uint16_t port, const char *method, const char *path, const char *headers, char **answer);

#endif
