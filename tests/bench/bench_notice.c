/* bench_notice - how long until a node acts on its machine's notice, as JSON.
 *
 * One node with a player in its world, so that it has something to leave and nobody to leave it to; its metadata are
 * those of spotcraft-imds. The notice is given at any moment between two looks, and withdrawn once the node says that
 * it leaves. Measured from before the notice is readable until /status says so. The exit code says whether it never
 * took longer than a look's interval and 100 ms. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "tests/lib/bench.h"
#include "tests/lib/latency.h"
#include "tests/lib/party.h"

enum { SLACK_MS = 100, WAIT_MS = 70000, STEP_NS = 1000000 };

static void pass(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static bool is(struct member *node, const char *state)
{
    char want[64], *status = member_status(node);
    snprintf(want, sizeof want, "\"state\":\"%s\"", state);
    bool found = status && strstr(status, want);
    free(status);
    return found;
}

/* False: not within WAIT_MS. */
static bool becomes(struct member *node, const char *state)
{
    static const struct timespec step = {.tv_nsec = STEP_NS};
    for (uint64_t start = clock_mono_ms(); !is(node, state);) {
        if (clock_mono_ms() - start > WAIT_MS) {
            fprintf(stderr, "it did not become %s\n", state);
            return false;
        }
        nanosleep(&step, NULL);
    }
    return true;
}

static bool one_notice(struct party *p, struct latency *took, uint64_t after_ms)
{
    struct member *node = &p->cluster->node[0];
    pass(after_ms);
    uint64_t start = clock_mono_us();
    if (!imds_say(&p->cluster->imds, "node0/itn?in_ms=120000") || !becomes(node, "leaving"))
        return false;
    latency_add(took, clock_mono_us() - start);
    return imds_say(&p->cluster->imds, "node0/withdraw?what=itn") && becomes(node, "running");
}

static bool run(unsigned poll_ms, unsigned rounds)
{
    char poll[16];
    snprintf(poll, sizeof poll, "%u", poll_ms);
    const struct cluster_conf conf = {
        .nodes = 1, .gateways = 1, .imds = true, .node_args = {"--imds-poll-ms", poll, NULL}};
    struct party *p = party_new("bench-notice", &conf);
    struct latency *took = latency_new();
    struct rng rng;
    rng_seed(&rng, 1);
    bool good = p && party_join(p, "", 1);
    for (unsigned k = 0; good && k < rounds; k++)
        good = one_notice(p, took, rng_below(&rng, poll_ms));
    if (good) {
        good = latency_ms(took, 1) <= poll_ms + SLACK_MS;
        printf("{\"bench\":\"notice\",\"poll_ms\":%u,\"notices\":%llu,\"p50_ms\":%.0f,\"max_ms\":%.0f,\"allowed_ms\":%"
               "u}\n",
               poll_ms, (unsigned long long)latency_count(took), latency_ms(took, 0.5), latency_ms(took, 1),
               poll_ms + SLACK_MS);
        party_passed(p);
    }
    latency_free(took);
    party_free(p);
    return good;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"poll-ms", 1, NULL, 'p'}, {"notices", 1, NULL, 'n'}, {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
    unsigned poll_ms = 2000, notices = 30;
    int c, at = 0;
    while ((c = getopt_long(argc, argv, "", longs, &at)) != -1) {
        if (c == 'p')
            poll_ms = bench_number(optarg, "poll-ms", 20, 60000);
        else if (c == 'n')
            notices = bench_number(optarg, "notices", 1, 100000);
        else {
            fputs("usage: bench_notice [--poll-ms N (2000)] [--notices N (30)]\n", c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    bench_begin();
    return run(poll_ms, notices) ? 0 : 1;
}
