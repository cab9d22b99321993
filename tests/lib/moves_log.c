#include "tests/lib/moves_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t log_number(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void read_log(const struct member *m, struct moves *out)
{
    char path[LAB_PATH_MAX], line[1024];
    FILE *f = fopen(lab_path(m->cluster->lab, path, "%s.log", m->name), "r");
    while (f && fgets(line, sizeof line, f)) {
        out->aborted += strstr(line, "handoff_aborted ") != NULL;
        if (!strstr(line, "cell_moved "))
            continue;
        out->moved++;
        out->rows += log_number(line, " rows=");
        latency_add(out->freeze, log_number(line, " freeze_us="));
        latency_add(out->handoff, log_number(line, " ms=") * 1000);
    }
    if (f)
        fclose(f);
}

struct moves moves_read(const struct cluster *c)
{
    struct moves m = {.freeze = latency_new(), .handoff = latency_new()};
    for (unsigned k = 0; k < c->n_nodes; k++)
        read_log(&c->node[k], &m);
    return m;
}

void moves_free(struct moves *m)
{
    latency_free(m->freeze);
    latency_free(m->handoff);
}

uint64_t moves_count(const struct cluster *c)
{
    struct moves m = moves_read(c);
    moves_free(&m);
    return m.moved;
}
