/* spotctl - looks at the nodes of a running world, and commands them. */
#include <string.h>

#include "ops/ctl/ctl.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

#define CONF_THIS struct ctl_conf
static const struct conf_field fields[] = {CTL_CONF(CONF_FIELD)};
static const char *const others[] = {NODE_CONF(CONF_NAME) GATEWAY_CONF(CONF_NAME) NULL};

static const char about[] =
    "looks at the nodes of a world, and commands them\n\n"
    "  spotctl status [--watch]     every node: state, pool, instance, load, cells, players, flush lag, journal\n"
    "  spotctl cells                who owns which cell: a list, and a map of a letter a node\n"
    "  spotctl move I,J NODE        hand a cell over to a node, while it is played in\n"
    "  spotctl drain NODE           hand everything over to the others; the node stays, and takes nothing\n"
    "  spotctl undrain NODE         take part again\n\n"
    "NODE is an id, or the start of one that no other has. Nodes are found through Redis; they obey whoever\n"
    "proves the world's secret. Ends with 0: done, 1: failed, 2: not understood, 3: Redis or a node is not reachable.";

enum { WORDS_MAX = 4 };

struct words {
    const char *word[WORDS_MAX];
    int n;
};

static bool same_flag(const char *field, const char *flag)
{
    for (; *field && *flag; field++, flag++) {
        if (*field != (*flag == '-' ? '_' : *flag))
            return false;
    }
    return !*field && !*flag;
}

/* Does this flag take the next argument? conf.c judges whether it is one at all. */
static bool takes_value(const char *flag)
{
    if (same_flag("config", flag))
        return true;
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
        if (same_flag(fields[k].name, flag))
            return fields[k].type != CONF_BOOL;
    }
    return false;
}

/* The command's words, wherever the flags stand; what is left in argv are the flags. */
static int split(int argc, char **argv, struct words *out)
{
    int kept = 1;
    for (int k = 1; k < argc; k++) {
        bool flag = strncmp(argv[k], "--", 2) == 0 || strcmp(argv[k], "-h") == 0;
        if (!flag) {
            if (out->n < WORDS_MAX)
                out->word[out->n] = argv[k];
            out->n++;
            continue;
        }
        argv[kept++] = argv[k];
        if (strncmp(argv[k], "--", 2) == 0 && takes_value(argv[k] + 2) && k + 1 < argc)
            argv[kept++] = argv[++k];
    }
    argv[kept] = NULL;
    return kept;
}

static enum ctl_exit run(struct ctl *c, const struct words *w)
{
    const char *command = w->n ? w->word[0] : "";
    enum ctl_exit e = ctl_open(c);
    if (e != CTL_OK)
        return e;
    if (strcmp(command, "status") == 0)
        return show_status(c);
    if (strcmp(command, "cells") == 0)
        return show_cells(c);
    if (strcmp(command, "move") == 0)
        return act_move(c, w->word[1], w->word[2]);
    if (strcmp(command, "drain") == 0)
        return act_drain(c, w->word[1]);
    return act_undrain(c, w->word[1]);
}

/* What is wrong with the command, before anything is asked; NULL: nothing. */
static const char *misuse(const struct words *w, const struct ctl_conf *conf)
{
    static const struct {
        const char *name, *usage;
        int words;
    } commands[] = {{"status", "spotctl status [--watch]", 1},
                    {"cells", "spotctl cells", 1},
                    {"move", "spotctl move I,J NODE", 3},
                    {"drain", "spotctl drain NODE", 2},
                    {"undrain", "spotctl undrain NODE", 2}};
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
        if (!w->n || strcmp(w->word[0], commands[k].name) != 0)
            continue;
        if (w->n != commands[k].words || (w->n > 1 && !w->word[w->n - 1][0]))
            return commands[k].usage;
        return conf->watch && k > 0 ? "only status can be watched" : NULL;
    }
    return "a command: status, cells, move, drain or undrain; --help tells more";
}

static void tell(const struct ctl *c)
{
    fflush(stdout);
    if (c->code == CTL_OK)
        return;
    fprintf(stderr, "spotctl: %s\n", c->error);
    if (!c->conf.json)
        return;
    printf("{\"ok\":false,\"code\":%d,\"error\":", c->code);
    ctl_print_json_text(c->error);
    printf("}\n");
}

int main(int argc, char **argv)
{
    static struct ctl c;
    static const struct conf_table table = {.program = "spotctl",
                                            .version = VERSION,
                                            .about = about,
                                            .fields = fields,
                                            .n_fields = sizeof fields / sizeof *fields,
                                            .settings_bytes = sizeof(struct ctl_conf),
                                            .others = others};
    char why[CONF_WHY_BYTES] = "";
    extern char **environ;
    struct words w = {.n = 0};
    argc = split(argc, argv, &w);
    enum conf_result r = conf_read(&table, &c.conf, argc, argv, environ, stdout, why);
    if (r == CONF_EXIT_OK)
        return CTL_OK;
    log_set_level(c.conf.verbose ? LOG_INFO : LOG_ERROR);
    const char *wrong = r == CONF_EXIT_BAD ? why : misuse(&w, &c.conf);
    if (wrong)
        ctl_fail(&c, CTL_USAGE, "%s", wrong);
    else
        run(&c, &w);
    tell(&c);
    ctl_close(&c);
    metrics_free();
    return ferror(stdout) || fflush(stdout) ? CTL_FAILED : (int)c.code;
}
