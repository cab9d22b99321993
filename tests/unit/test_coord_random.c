/* Random operations and faults, the same ones to the real server and to the model: SEED=n repeats a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "tests/lib/coord_pair.h"

static struct cell_pos random_cell(struct rng *g)
{
    return (struct cell_pos){(int)rng_below(g, 3) - 1, (int)rng_below(g, 2)};
}

static uint64_t random_node(struct rng *g)
{
    return A + rng_below(g, 3);
}

static struct blob *random_bytes(struct rng *g)
{
    uint8_t data[24];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)rng_below(g, 256);
    return blob_new(data, 1 + rng_below(g, sizeof data - 1));
}

/* Mostly what is so, as a caller would believe it; now and then not. */
static void random_belief(struct pair *p, struct rng *g, uint64_t *me, struct coord_cell *c, enum coord_op op)
{
    uint64_t owned, epoch = 0, n = 0;
    c->cell = random_cell(g);
    if (!model_redis_cell(p->model, c->cell, &owned, &epoch, &n))
        owned = 0;
    if (owned && op != COORD_CLAIM && rng_below(g, 8))
        *me = owned;
    c->believed = rng_below(g, 8) ? owned : random_node(g);
    c->epoch = op == COORD_CLAIM  ? (rng_below(g, 4) ? 0 : rng_below(g, 20))
               : rng_below(g, 10) ? epoch
                                  : rng_below(g, 20);
    c->n = op == COORD_APPEND ? n + 1 : n;
    if (rng_below(g, 8) == 0)
        c->n = rng_below(g, 6);
    if (op == COORD_TRIM && c->n && rng_below(g, 2))
        c->n--;
}

static struct coord_req *random_cells_req(struct pair *p, struct rng *g, enum coord_op op)
{
    uint64_t me = random_node(g);
    struct coord_req *r = new_req(op, me);
    unsigned n = 1 + rng_below(g, 3);
    coord_req_cells(r, n);
    for (unsigned i = 0; i < n; i++) {
        struct coord_cell *c = &r->cells.cells[i];
        random_belief(p, g, &r->me, c, op);
        if (op == COORD_APPEND || (op == COORD_TRIM && rng_below(g, 4) == 0))
            c->batch = random_bytes(g);
    }
    r->cells.target = random_node(g);
    return r;
}

static struct coord_req *random_restore(struct pair *p, struct rng *g)
{
    uint64_t owned = 0, epoch = 0, n = 0;
    struct coord_req *r = new_req(COORD_RESTORE, random_node(g));
    r->restore.cell = random_cell(g);
    if (model_redis_cell(p->model, r->restore.cell, &owned, &epoch, &n) && rng_below(g, 2))
        r->me = owned;
    r->restore.epoch = 1 + epoch + rng_below(g, 3) - (epoch ? 1 : 0);
    r->restore.n = n + rng_below(g, 3);
    unsigned count = rng_below(g, 4);
    r->restore.batches = mem_array(count, sizeof *r->restore.batches);
    for (unsigned i = 0; i < count && r->restore.n > i; i++)
        r->restore.batches[r->restore.n_batches++] =
            (struct coord_batch){r->restore.epoch, r->restore.n - i, random_bytes(g)};
    return r;
}

static struct coord_req *random_names_req(struct rng *g, enum coord_op op)
{
    static const char *const nicks[] = {"ann", "bob", "eve", "joe"};
    struct coord_req *r = new_req(op, rng_below(g, 2) ? G : H);
    struct coord_name n = named(nicks[rng_below(g, 4)], rng_below(g, 3), (float)rng_below(g, 1000) / 7);
    if (op == COORD_NAME_PLACES) {
        r->names.names = mem_dup(&n, sizeof n);
        r->names.n = 1;
    } else if (op == COORD_NAME_FIND) {
        snprintf(r->find.nick, sizeof r->find.nick, "%s", rng_below(g, 3) ? n.nick : "");
    } else if (op != COORD_NAME_LIST) {
        r->name.name = n;
        snprintf(r->name.old, sizeof r->name.old, "%s", rng_below(g, 2) ? nicks[rng_below(g, 4)] : "");
    }
    return r;
}

static struct coord_req *random_req(struct pair *p, struct rng *g)
{
    static const enum coord_op often[] = {COORD_CLAIM, COORD_APPEND,  COORD_APPEND,   COORD_APPEND, COORD_TRIM,
                                          COORD_TRIM,  COORD_RELEASE, COORD_TRANSFER, COORD_JOURNAL};
    enum coord_op op = rng_below(g, 2) ? often[rng_below(g, sizeof often / sizeof *often)] : rng_below(g, COORD_OPS);
    struct coord_req *r;
    switch (op) {
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        return random_cells_req(p, g, op);
    case COORD_RESTORE:
        return random_restore(p, g);
    case COORD_NAME_TAKE:
    case COORD_NAME_DROP:
    case COORD_NAME_PLACES:
    case COORD_NAME_FIND:
    case COORD_NAME_LIST:
        return random_names_req(g, op);
    default:
        r = new_req(op, rng_below(g, 4) ? random_node(g) : G);
        break;
    }
    if (op == COORD_JOIN_WORLD) {
        r->world.cell_chunks = rng_below(g, 3);
        r->world.schema = rng_below(g, 5);
    } else if (op == COORD_RENEW) {
        r->renew.role = r->me == G ? ROLE_GATEWAY : ROLE_NODE;
        r->renew.ttl_ms = PAIR_TTL_MS;
        r->renew.generation_known = rng_below(g, 4) ? 0 : rng_below(g, 6);
        r->renew.id_high = rng_below(g, 3) ? 0 : rng_below(g, 1000);
        r->renew.self.load = rng_below(g, 100);
    } else if (op == COORD_BURY) {
        r->bury.node = random_node(g);
    } else if (op == COORD_JOURNAL) {
        r->journal.cell = random_cell(g);
        r->journal.after_epoch = rng_below(g, 3) ? 0 : rng_below(g, 20);
        r->journal.after_n = rng_below(g, 4);
    } else if (op == COORD_IDS) {
        r->ids.want = 1 + rng_below(g, 20);
    } else if (op == COORD_PUBLISH) {
        r->publish.event = random_bytes(g);
    }
    return r;
}

static void random_fault(struct pair *p, struct rng *g)
{
    switch (rng_below(g, 8)) {
    case 0:
        flush(p);
        break;
    case 1:
        new_run(p);
        break;
    case 2:
    case 3:
        expire(p, ROLE_NODE, random_node(g));
        break;
    case 4:
        expire(p, ROLE_GATEWAY, G);
        break;
    default: /* claims are mostly open, and everybody lives again */
        for (uint64_t id = A; id <= C; id++)
            renew(p, id);
        renew_knowing(p, ROLE_GATEWAY, G, 0, 0);
        reopen(p);
        break;
    }
}

/* The simulator's verdicts are worth what the model is worth. */
static void the_model_answers_as_redis_does(void **state)
{
    struct pair *p = *state;
    const char *text = getenv("SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20260131;
    struct rng g;
    rng_seed(&g, seed);
    print_message("SEED=%" PRIu64 "\n", seed);
    unsigned taken = 0;
    for (unsigned i = 0; i < 6000; i++) {
        if (rng_below(&g, 40) == 0)
            random_fault(p, &g);
        struct coord_req *r = random_req(p, &g);
        ask(p, r);
        if (r->op == COORD_APPEND && r->err == ERR_OK)
            taken += r->cells.cells[0].answer == CELL_TAKEN;
        coord_req_free(r);
        dirty(p);
    }
    assert_true(taken > 300); /* the run went somewhere */
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), model_redis_quarantined(p->model));
}

/* ---- running ---- */

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_model_answers_as_redis_does),
    };
    int failed = !pair_server_start("coord_random") || cmocka_run_group_tests(tests, NULL, NULL);
    pair_server_stop(!failed);
    metrics_free();
    return failed;
}
