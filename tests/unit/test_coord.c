/* Cells and their journals: every case runs over the real server and over the model, and each step must be answered
 * alike. */
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
#include "tests/lib/coord_pair.h"

static const uint64_t EPOCH_LAST = (UINT64_C(1) << 53) - 1;

/* One cell in an operation: what is asked, and after it what was answered. */
static struct coord_cell one(struct pair *p, enum coord_op op, uint64_t me, struct coord_cell cell, uint64_t target)
{
    struct coord_req *r = new_req(op, me);
    *coord_req_cells(r, 1) = cell;
    r->cells.target = target;
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    struct coord_cell out = r->cells.cells[0];
    coord_req_free(r);
    out.batch = NULL;
    return out;
}

static const struct cell_pos HERE = {-3, 7};

static struct coord_cell claim(struct pair *p, uint64_t me, uint64_t believed, uint64_t floor)
{
    return one(p, COORD_CLAIM, me, (struct coord_cell){.cell = HERE, .epoch = floor, .believed = believed}, 0);
}

static struct blob *bytes(const char *text)
{
    return blob_new(text, strlen(text));
}

static struct coord_cell append(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n)
{
    char text[64];
    snprintf(text, sizeof text, "batch %" PRIu64 "-%" PRIu64, epoch, n);
    return one(p, COORD_APPEND, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n, .batch = bytes(text)}, 0);
}

static struct coord_cell trim(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n, const char *rows)
{
    return one(p, COORD_TRIM, me,
               (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n, .batch = rows ? bytes(rows) : NULL}, 0);
}

static struct coord_cell release(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n)
{
    return one(p, COORD_RELEASE, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n}, 0);
}

static struct coord_cell transfer(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n, uint64_t target)
{
    return one(p, COORD_TRANSFER, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n}, target);
}

static struct coord_cell owner(struct pair *p)
{
    return one(p, COORD_OWNERS, A, (struct coord_cell){.cell = HERE}, 0);
}

#define assert_owned(c, who, e, last)                                                                                  \
    do {                                                                                                               \
        struct coord_cell got = (c);                                                                                   \
        assert_true(got.owner == (who) && got.owner_epoch == (e) && got.owner_n == (last));                            \
    } while (0)

/* "7-1 7-2": the ids in the journal of HERE. */
static const char *journal(struct pair *p, char out[256])
{
    struct coord_req *r = new_req(COORD_JOURNAL, A);
    r->journal.cell = HERE;
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < r->journal.n_batches; i++)
        used += (size_t)snprintf(out + used, 256 - used, "%s%" PRIu64 "-%" PRIu64, i ? " " : "",
                                 r->journal.batches[i].epoch, r->journal.batches[i].n);
    coord_req_free(r);
    return out;
}

struct id {
    uint64_t epoch, n;
};
static enum cell_answer restore(struct pair *p, uint64_t me, struct id at, unsigned n, const struct id *ids)
{
    struct coord_req *r = new_req(COORD_RESTORE, me);
    r->restore.cell = HERE;
    r->restore.epoch = at.epoch;
    r->restore.n = at.n;
    r->restore.batches = mem_array(n, sizeof *r->restore.batches);
    r->restore.n_batches = n;
    for (unsigned i = 0; i < n; i++)
        r->restore.batches[i] = (struct coord_batch){ids[i].epoch, ids[i].n, bytes("mine")};
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    enum cell_answer answer = r->restore.answer;
    coord_req_free(r);
    return answer;
}

/* ---- cells ---- */

static void a_free_cell_is_claimed_above_the_store(void **state)
{
    struct pair *p = *state;
    populate(p);
    assert_owned(owner(p), 0, 0, 0);
    struct coord_cell c = claim(p, A, 0, 41);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, A, 42, 0);
    assert_owned(owner(p), A, 42, 0);
    assert_true(owner(p).owner_alive);
    assert_owned(claim(p, A, A, 7), A, 43, 0);
}

static void a_living_owner_keeps_his_cell(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    struct coord_cell c = claim(p, B, A, 0);
    assert_int_equal(c.answer, CELL_STALE);
    assert_owned(c, A, 1, 0);
    expire(p, ROLE_NODE, A);
    assert_false(owner(p).owner_alive);
    assert_owned(claim(p, B, A, 0), B, 2, 0);
}

/* A claim that comes late, or twice, believes in an owner of before. */
static void a_claim_that_believes_another_owner_changes_nothing(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_STALE);
    expire(p, ROLE_NODE, A);
    assert_int_equal(claim(p, B, 0, 0).answer, CELL_STALE);
    assert_int_equal(claim(p, B, C, 0).answer, CELL_STALE);
    assert_owned(owner(p), A, 1, 0);
}

static void without_a_lease_nothing_is_claimed(void **state)
{
    struct pair *p = *state;
    populate(p);
    expire(p, ROLE_NODE, A);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_STALE);
    assert_int_equal(claim(p, G, 0, 0).answer, CELL_STALE);
    assert_owned(owner(p), 0, 0, 0);
}

static void an_append_has_one_of_four_answers(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(append(p, A, 1, 1).answer, CELL_BEHIND); /* no such cell */
    claim(p, A, 0, 6);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_TAKEN);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_BEFORE);
    struct coord_cell c = append(p, A, 7, 2);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, A, 7, 2);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_BEFORE);
    assert_int_equal(append(p, A, 7, 4).answer, CELL_BEHIND); /* it lost one of mine */
    assert_int_equal(append(p, A, 8, 1).answer, CELL_BEHIND);
    assert_int_equal(append(p, A, 6, 3).answer, CELL_STALE);
    assert_int_equal(append(p, B, 7, 3).answer, CELL_STALE);
    assert_string_equal(journal(p, ids), "7-1 7-2");
    assert_int_equal(dirty(p), 1);
}

/* As text, 9 is above 10; and a double is exact only so far. */
static void epochs_are_compared_as_numbers(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 9);
    assert_int_equal(append(p, A, 9, 1).answer, CELL_STALE);
    assert_int_equal(append(p, A, 10, 1).answer, CELL_TAKEN);
    expire(p, ROLE_NODE, A);
    assert_owned(claim(p, B, A, EPOCH_LAST - 1), B, EPOCH_LAST, 0);
    assert_int_equal(append(p, B, EPOCH_LAST - 1, 1).answer, CELL_STALE);
    assert_int_equal(append(p, B, EPOCH_LAST, 1).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "10-1 9007199254740991-1");
}

static void an_epoch_that_is_not_exact_is_refused(void **state)
{
    struct pair *p = *state;
    populate(p);
    raw("HSET spotcraft:{%s}:cell:-3,7 owner 000000000000000a epoch 9007199254740992 n 0", p->world);
    struct coord_req *r = new_req(COORD_OWNERS, A);
    coord_req_cells(r, 1)->cell = HERE;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
}

/* One stale cell must not hold up the others of its call. */
static void each_of_64_cells_is_judged_by_itself(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct coord_req *r = new_req(COORD_CLAIM, A);
    coord_req_cells(r, COORD_CELLS_MAX);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        r->cells.cells[i].cell = (struct cell_pos){i, -i};
    ask_and_free(p, r);
    r = new_req(COORD_APPEND, A);
    coord_req_cells(r, COORD_CELLS_MAX);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        r->cells.cells[i] =
            (struct coord_cell){.cell = {i, -i}, .epoch = (uint64_t)(i % 3), .n = 1, .batch = blob_new("\0\r\n*$x", 6)};
    ask(p, r);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        assert_int_equal(r->cells.cells[i].answer, i % 3 == 1 ? CELL_TAKEN : i % 3 ? CELL_BEHIND : CELL_STALE);
    coord_req_free(r);
    assert_int_equal(dirty(p), 21);
    r = new_req(COORD_OWNERS, A);
    coord_req_cells(r, 1024);
    for (int i = 0; i < 1024; i++)
        r->cells.cells[i].cell = (struct cell_pos){i, -i};
    ask_and_free(p, r);
}

static void a_trim_forgets_up_to_its_batch_and_no_further(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    expire(p, ROLE_NODE, A);
    claim(p, B, A, 0);
    for (uint64_t n = 1; n <= 3; n++)
        append(p, B, 2, n);
    assert_int_equal(trim(p, A, 1, 1, NULL).answer, CELL_STALE);
    assert_int_equal(trim(p, B, 2, 4, NULL).answer, CELL_BEHIND);
    assert_int_equal(trim(p, B, 3, 1, NULL).answer, CELL_BEHIND);
    assert_string_equal(journal(p, ids), "1-1 2-1 2-2 2-3");
    assert_int_equal(trim(p, B, 2, 0, NULL).answer, CELL_TAKEN); /* what the one before me left */
    assert_string_equal(journal(p, ids), "2-1 2-2 2-3");
    assert_int_equal(trim(p, B, 2, 2, NULL).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "2-3");
    assert_int_equal(dirty(p), 1);
    assert_int_equal(trim(p, B, 2, 3, NULL).answer, CELL_TAKEN);
    assert_int_equal(dirty(p), 0);
    assert_int_equal(append(p, B, 2, 4).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "2-4");
}

static void refused_rows_are_quarantined_once(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    append(p, A, 1, 2);
    assert_int_equal(trim(p, B, 1, 1, "rows").answer, CELL_STALE);
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 0);
    trim(p, A, 1, 1, "rows");
    assert_int_equal(trim(p, A, 1, 1, "rows").answer, CELL_TAKEN);
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 1);
    trim(p, A, 1, 2, "more");
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 2);
    assert_int_equal(model_redis_quarantined(p->model), 2);
}

static void only_an_empty_journal_is_released(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    assert_int_equal(release(p, A, 1, 1).answer, CELL_BUSY);
    trim(p, A, 1, 1, NULL);
    assert_int_equal(release(p, B, 1, 1).answer, CELL_STALE);
    assert_int_equal(release(p, A, 1, 0).answer, CELL_STALE);
    assert_int_equal(release(p, A, 1, 2).answer, CELL_BEHIND);
    struct coord_cell c = release(p, A, 1, 1);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, 0, 0, 0);
    assert_int_equal(release(p, A, 1, 1).answer, CELL_TAKEN); /* a retry */
    assert_int_equal(raw("EXISTS spotcraft:{%s}:cell:-3,7 spotcraft:{%s}:journal:-3,7", p->world, p->world), 0);
    assert_owned(claim(p, B, 0, 1), B, 2, 0);
}

static void a_transfer_flips_the_owner_once(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(transfer(p, A, 1, 0, B).answer, CELL_BEHIND);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    assert_int_equal(transfer(p, A, 1, 0, B).answer, CELL_STALE);
    assert_int_equal(transfer(p, A, 1, 2, B).answer, CELL_BEHIND);
    assert_owned(transfer(p, A, 1, 1, B), B, 2, 0);
    struct coord_cell c = transfer(p, A, 1, 1, B); /* a retry learns whose it is */
    assert_int_equal(c.answer, CELL_STALE);
    assert_owned(c, B, 2, 0);
    assert_int_equal(append(p, A, 1, 2).answer, CELL_STALE);
    assert_int_equal(append(p, B, 2, 1).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "1-1 2-1");
}

static void an_owner_restores_what_an_emptied_redis_lost(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(restore(p, A, (struct id){5, 9}, 2, (struct id[]){{5, 8}, {5, 9}}), CELL_TAKEN);
    assert_string_equal(journal(p, ids), "5-8 5-9");
    assert_int_equal(dirty(p), 1);
    assert_int_equal(append(p, A, 5, 10).answer, CELL_TAKEN);
    assert_int_equal(restore(p, A, (struct id){5, 9}, 0, NULL), CELL_STALE); /* a late copy */
    assert_int_equal(restore(p, B, (struct id){5, 10}, 0, NULL), CELL_STALE);
    assert_int_equal(restore(p, B, (struct id){4, 99}, 0, NULL), CELL_STALE);
    assert_string_equal(journal(p, ids), "5-8 5-9 5-10");
}

/* A replica that lagged: it has what the store may lack of those before me, and some of mine that I flushed since. */
static void a_restore_keeps_older_batches_and_replaces_its_own(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    append(p, A, 1, 2);
    transfer(p, A, 1, 2, B);
    append(p, B, 2, 1);
    append(p, B, 2, 2);
    assert_int_equal(restore(p, B, (struct id){2, 5}, 3, (struct id[]){{1, 2}, {2, 4}, {2, 5}}), CELL_TAKEN);
    assert_string_equal(journal(p, ids), "1-1 1-2 2-4 2-5");
    assert_int_equal(restore(p, C, (struct id){3, 0}, 0, NULL), CELL_TAKEN);
    assert_owned(owner(p), C, 3, 0);
    assert_string_equal(journal(p, ids), "1-1 1-2 2-4 2-5");
    assert_int_equal(restore(p, C, (struct id){3, 1}, 1, (struct id[]){{3, 1}}), CELL_TAKEN);
    trim(p, C, 3, 1, NULL);
    assert_int_equal(restore(p, C, (struct id){3, 1}, 0, NULL), CELL_TAKEN);
    assert_int_equal(dirty(p), 0);
}

static void a_restore_of_batches_above_its_cell_is_refused(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct coord_req *r = new_req(COORD_RESTORE, A);
    r->restore.cell = HERE;
    r->restore.epoch = 2;
    r->restore.n = 1;
    r->restore.batches = mem_array(1, sizeof *r->restore.batches);
    r->restore.n_batches = 1;
    r->restore.batches[0] = (struct coord_batch){2, 2, bytes("x")};
    ask(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
    assert_owned(owner(p), 0, 0, 0);
}

/* A page is bounded in batches and in bytes; the next one starts behind the last. */
static void a_long_journal_is_read_in_pages(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    for (uint64_t n = 1; n <= COORD_JOURNAL_PAGE + 2; n++)
        append(p, A, 1, n);
    for (uint64_t n = 1; n <= 3; n++) /* of 600 KB */
        one(p, COORD_APPEND, A,
            (struct coord_cell){
                .cell = HERE, .epoch = 1, .n = COORD_JOURNAL_PAGE + 2 + n, .batch = blob_new(NULL, 600000)},
            0);
    static const unsigned want[] = {COORD_JOURNAL_PAGE, 4, 1};
    uint64_t after = 0;
    for (unsigned page = 0; page < 3; page++) {
        struct coord_req *r = new_req(COORD_JOURNAL, A);
        r->journal.cell = HERE;
        r->journal.after_epoch = after ? 1 : 0;
        r->journal.after_n = after;
        ask(p, r);
        assert_int_equal(r->journal.n_batches, want[page]);
        assert_int_equal(r->journal.more, page < 2);
        assert_true(r->journal.batches[0].n == after + 1);
        after += want[page];
        coord_req_free(r);
    }
}

static void ids_never_come_twice(void **state)
{
    struct pair *p = *state;
    static const struct {
        uint32_t want, first;
    } takes[] = {{10, 1}, {1, 11}, {5, 12}, {1, 501}, {4, 502}};
    for (unsigned i = 0; i < 5; i++) {
        if (i == 3) /* Redis was emptied, or is older than who took them */
            renew_knowing(p, ROLE_GATEWAY, G, 0, 500);
        struct coord_req *r = new_req(COORD_IDS, G);
        r->ids.want = takes[i].want;
        ask(p, r);
        assert_int_equal(r->ids.first, takes[i].first);
        coord_req_free(r);
    }
    renew_knowing(p, ROLE_GATEWAY, G, 0, 499);
    renew_knowing(p, ROLE_GATEWAY, G, 0, INT32_MAX - 1);
    struct coord_req *r = new_req(COORD_IDS, G);
    r->ids.want = 2;
    ask(p, r);
    assert_int_equal(r->ids.first, 1);
    coord_req_free(r);
}

/* An outsider wrote nonsense where a cell should be. */
static void a_spoilt_key_is_refused_and_the_rest_goes_on(void **state)
{
    struct pair *p = *state;
    populate(p);
    raw("SET spotcraft:{%s}:cell:-3,7 junk", p->world);
    struct coord_req *r = new_req(COORD_CLAIM, A);
    coord_req_cells(r, 1)->cell = HERE;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
    raw("DEL spotcraft:{%s}:cell:-3,7", p->world);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_TAKEN);
}

/* ---- running ---- */

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_free_cell_is_claimed_above_the_store),
        CASE(a_living_owner_keeps_his_cell),
        CASE(a_claim_that_believes_another_owner_changes_nothing),
        CASE(without_a_lease_nothing_is_claimed),
        CASE(an_append_has_one_of_four_answers),
        CASE(epochs_are_compared_as_numbers),
        CASE(an_epoch_that_is_not_exact_is_refused),
        CASE(each_of_64_cells_is_judged_by_itself),
        CASE(a_trim_forgets_up_to_its_batch_and_no_further),
        CASE(refused_rows_are_quarantined_once),
        CASE(only_an_empty_journal_is_released),
        CASE(a_transfer_flips_the_owner_once),
        CASE(an_owner_restores_what_an_emptied_redis_lost),
        CASE(a_restore_keeps_older_batches_and_replaces_its_own),
        CASE(a_restore_of_batches_above_its_cell_is_refused),
        CASE(a_long_journal_is_read_in_pages),
        CASE(ids_never_come_twice),
        CASE(a_spoilt_key_is_refused_and_the_rest_goes_on),
    };
    int failed = !pair_server_start("coord") || cmocka_run_group_tests(tests, NULL, NULL);
    pair_server_stop(!failed);
    metrics_free();
    return failed;
}
