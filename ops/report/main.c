/* spotcraft-report - follows a world while it is rehearsed, and says what came of it. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/report/outcome.h"
#include "ops/report/page.h"
#include "ops/report/print.h"
#include "ops/report/watch.h"

enum { EXIT_BAD = 1, EXIT_USAGE = 2, EVERY_MS_MIN = 50, EVERY_MS_MAX = 60000 };

static const char usage[] =
    "usage: spotcraft-report watch --dir DIR --out FILE [--every-ms 1000] [--from-start]\n"
    "                                     appends to FILE what becomes of the world in DIR, until SIGTERM\n"
    "       spotcraft-report text FILE    what came of it, for a terminal\n"
    "       spotcraft-report json FILE    the same for programs\n"
    "       spotcraft-report page FILE    the same as a page of HTML, on stdout\n"
    "Exit code of the last three: 0 when all was good, 1 when not, 2 when FILE cannot be read.\n"
    "ops/reclaim.sh and ops/gameday.sh call this; their files can be read again later.\n";

static int bad_usage(const char *why)
{
    fprintf(stderr, "spotcraft-report: %s\n%s", why, usage);
    return EXIT_USAGE;
}

static int watch(int argc, char **argv)
{
    static const struct option longs[] = {
        {"dir", 1, NULL, 'd'}, {"out", 1, NULL, 'o'}, {"every-ms", 1, NULL, 'e'}, {"from-start", 0, NULL, 's'}, {0}};
    struct watch_conf conf = {.every_ms = 1000};
    int c;
    char *end = NULL;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'd')
            conf.dir = optarg;
        else if (c == 'o')
            conf.out = optarg;
        else if (c == 's')
            conf.from_start = true;
        else if (c == 'e')
            conf.every_ms = (unsigned)strtoul(optarg, &end, 10);
        else
            return EXIT_USAGE;
        if (c == 'e' && (*end || conf.every_ms < EVERY_MS_MIN || conf.every_ms > EVERY_MS_MAX))
            return bad_usage("--every-ms takes a number from 50 to 60000");
    }
    if (!conf.dir || !conf.out || optind < argc)
        return bad_usage("watch takes --dir and --out");
    return watch_run(&conf);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(const struct timeline *l, const struct outcomes *o, FILE *out);
    } ways[] = {{"text", print_text}, {"json", print_json}, {"page", page_print}};
    struct timeline l;
    struct outcomes o;
    char why[512];
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "watch") == 0)
        return watch(argc - 1, argv + 1);
    if (argc != 3)
        return bad_usage("a command and a file are needed");
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        if (strcmp(argv[1], ways[k].name) != 0)
            continue;
        if (!timeline_read(argv[2], &l, why, sizeof why)) {
            fprintf(stderr, "spotcraft-report: %s\n", why);
            timeline_free(&l);
            return EXIT_USAGE;
        }
        outcomes_of(&l, &o);
        ways[k].print(&l, &o, stdout);
        bool written = fflush(stdout) == 0 && !ferror(stdout), good = o.good;
        outcomes_free(&o);
        timeline_free(&l);
        if (!written)
            fprintf(stderr, "spotcraft-report: stdout: %s\n", strerror(errno));
        return written && good ? 0 : EXIT_BAD;
    }
    return bad_usage("no such command");
}
