/* The world, who lives, names and events, over the real server and over the model. */
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
#include "proto/redis/coord_codec.h"
#include "proto/redis/coord_redis.h"
#include "tests/lib/coord_pair.h"

/* One operation on one cell. */
static struct coord_cell one(struct pair *p, enum coord_op op, uint64_t me, struct coord_cell cell)
{
    struct coord_req *r = new_req(op, me);
    *coord_req_cells(r, 1) = cell;
    ask(p, r);
    struct coord_cell out = r->cells.cells[0];
    coord_req_free(r);
    return out;
}

static struct coord_cell claim(struct pair *p, uint64_t me, uint64_t believed, uint64_t floor)
{
    return one(p, COORD_CLAIM, me, (struct coord_cell){.epoch = floor, .believed = believed});
}

/* ---- the world, and who lives ---- */

static enum err join(struct pair *p, uint32_t chunks, uint32_t schema)
{
    struct coord_req *r = new_req(COORD_JOIN_WORLD, A);
    r->world.cell_chunks = chunks;
    r->world.schema = schema;
    ask(p, r);
    enum err e = r->err;
    coord_req_free(r);
    return e;
}

static void a_world_keeps_its_constants(void **state)
{
    assert_int_equal(join(*state, 0, 0), ERR_OK);
    assert_int_equal(join(*state, 4, 0), ERR_OK);
    assert_int_equal(join(*state, 8, 1), ERR_MISMATCH);
    assert_int_equal(join(*state, 4, 2), ERR_OK);
    assert_int_equal(join(*state, 8, 2), ERR_MISMATCH);
    assert_int_equal(join(*state, 0, 0), ERR_OK);
}

/* Processes are replaced one by one, and back again if the newer ones are no good; a second step has to wait. */
static void a_schema_may_be_one_step_from_the_newest(void **state)
{
    assert_int_equal(join(*state, 4, 1), ERR_OK);
    assert_int_equal(join(*state, 4, 3), ERR_MISMATCH);
    assert_int_equal(join(*state, 4, 2), ERR_OK);
    assert_int_equal(join(*state, 4, 1), ERR_OK);
    assert_int_equal(join(*state, 4, 3), ERR_OK);
    assert_int_equal(join(*state, 4, 1), ERR_MISMATCH); /* it could not talk to the newest */
    assert_int_equal(join(*state, 4, 2), ERR_OK);       /* nor does this one lower what there is */
    assert_int_equal(join(*state, 4, 5), ERR_MISMATCH);
}

static void who_does_not_fit_is_told_what_there_is(void **state)
{
    struct pair *p = *state;
    assert_int_equal(join(p, 4, 3), ERR_OK);
    struct coord_req *r = new_req(COORD_JOIN_WORLD, A);
    r->world.cell_chunks = 8;
    r->world.schema = 1;
    ask(p, r);
    assert_int_equal(r->err, ERR_MISMATCH);
    assert_int_equal(r->world.has_chunks, 4);
    assert_int_equal(r->world.newest, 3);
    coord_req_free(r);
}

/* Schema 1 knew one field, wrote its own number there and joined where it read the same. */
static void schema_1_joins_by_its_own_rule_until_it_is_too_old(void **state)
{
    struct pair *p = *state;
    assert_int_equal(join(p, 4, 2), ERR_OK);
    assert_int_equal(raw("HGET spotcraft:{%s}:world schema", p->world), 1);
    assert_int_equal(join(p, 4, 3), ERR_OK);
    assert_int_equal(raw("HGET spotcraft:{%s}:world schema", p->world), 2);
}

static void a_world_that_schema_1_made_is_joined_and_raised(void **state)
{
    struct pair *p = *state;
    raw("HSET spotcraft:{%s}:world cell_chunks 4 schema 1", p->world);
    struct coord_req *r = new_req(COORD_JOIN_WORLD, A);
    r->world.cell_chunks = 4;
    r->world.schema = 3;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_MISMATCH);
    coord_req_free(r);
    assert_int_equal(raw("HEXISTS spotcraft:{%s}:world newest", p->world), 0);
    r = new_req(COORD_JOIN_WORLD, A);
    r->world.cell_chunks = 4;
    r->world.schema = 2;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_OK);
    coord_req_free(r);
    assert_int_equal(raw("HGET spotcraft:{%s}:world newest", p->world), 2);
    assert_int_equal(raw("HGET spotcraft:{%s}:world schema", p->world), 1);
}

static void a_fresh_world_is_open_at_once(void **state)
{
    struct renewal r = renew(*state, A);
    assert_false(r.existed);
    assert_false(r.evicts);
    assert_int_equal(r.generation, 1);
    assert_int_equal(r.closed_ms, 0);
    assert_int_equal(claim(*state, A, 0, 0).answer, CELL_TAKEN);
    assert_true(renew(*state, A).existed);
}

/* Redis was emptied under living owners; a gateway that knows nothing renews before they do. */
static void a_stranger_does_not_open_an_emptied_redis(void **state)
{
    struct pair *p = *state;
    populate(p);
    flush(p);
    assert_int_equal(renew_knowing(p, ROLE_GATEWAY, G, 0, 0).closed_ms, 0);
    renew(p, C);
    struct renewal r = renew_knowing(p, ROLE_NODE, A, 1, 0);
    assert_int_equal(r.generation, 2);
    assert_true(r.closed_ms > PAIR_TTL_MS);
    assert_int_equal(claim(p, C, 0, 0).answer, CELL_CLOSED);
    assert_int_equal(renew_knowing(p, ROLE_NODE, B, 1, 0).generation, 2);
}

/* Nobody of before lives, but the store knows the cell: the claim's floor says so. */
static void a_floor_in_a_fresh_world_closes_it(void **state)
{
    struct pair *p = *state;
    renew(p, A);
    assert_int_equal(claim(p, A, 0, 5).answer, CELL_CLOSED);
    struct renewal r = renew(p, A);
    assert_int_equal(r.generation, 2);
    assert_true(r.closed_ms > PAIR_TTL_MS);
    reopen(p);
    assert_true(claim(p, A, 0, 5).owner_epoch == 6);
}

static void an_emptied_redis_closes_for_an_owner_that_renews_first(void **state)
{
    struct pair *p = *state;
    renew_knowing(p, ROLE_NODE, A, 4, 0);
    struct renewal r = renew_knowing(p, ROLE_NODE, B, 4, 0);
    assert_int_equal(r.generation, 5);
    assert_in_range(r.closed_ms, PAIR_TTL_MS, 2 * PAIR_TTL_MS);
}

static void a_restart_closes_claims_but_not_appends(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    new_run(p);
    /* nobody has renewed since: closed all the same */
    assert_int_equal(one(p, COORD_CLAIM, B, (struct coord_cell){.cell = {1, 1}}).answer, CELL_CLOSED);
    struct renewal r = renew(p, A);
    assert_true(r.existed);
    assert_int_equal(r.generation, 2);
    assert_int_equal(claim(p, B, A, 0).answer, CELL_CLOSED);
    struct coord_cell batch = {.epoch = 1, .n = 1, .batch = blob_new("x", 1)};
    assert_int_equal(one(p, COORD_APPEND, A, batch).answer, CELL_TAKEN);
    assert_int_equal(renew(p, A).generation, 2);
    reopen(p);
    assert_int_equal(renew(p, B).closed_ms, 0);
}

/* The store was met at a later generation: the world goes above it, and as nobody is missing, stays open. */
static void who_lives_and_knows_more_raises_the_generation(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct renewal r = renew_knowing(p, ROLE_NODE, A, 7, 0);
    assert_int_equal(r.generation, 8);
    assert_int_equal(r.closed_ms, 0);
}

static void a_renewal_lists_the_living_nodes(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct renewal r = renew(p, B);
    assert_int_equal(r.n_members, 3);
    assert_true(r.first.id == A);
    assert_string_equal(r.first.self.address, "10.0.0.10:7000");
    assert_string_equal(r.first.self.pool, "c7g.large/eu-1b/spot");
    assert_int_equal(r.first.self.state, NODE_AT_RISK);
    assert_int_equal(r.first.self.load, 100);
    expire(p, ROLE_NODE, A);
    assert_int_equal(renew_knowing(p, ROLE_GATEWAY, G, 0, 0).n_members, 2);
    ask_and_free(p, new_req(COORD_LEAVE, B));
    assert_int_equal(renew(p, C).n_members, 1);
    assert_int_equal(raw("SCARD spotcraft:{%s}:nodes", p->world), 1);
}

static void a_lease_ends_by_itself(void **state)
{
    struct pair *p = *state;
    struct coord_req *r = new_req(COORD_RENEW, A);
    r->renew.role = ROLE_NODE;
    r->renew.ttl_ms = 1234;
    ask_and_free(p, r);
    assert_in_range(raw("PTTL spotcraft:{%s}:node:000000000000000a", p->world), 1, 1234);
}

static bool bury(struct pair *p, uint64_t node)
{
    struct coord_req *r = new_req(COORD_BURY, A);
    r->bury.node = node;
    ask(p, r);
    bool buried = r->bury.buried;
    coord_req_free(r);
    return buried;
}

/* Who was buried alive must not be buried again and again by the one peer that cannot reach him. */
static void a_node_is_buried_once_a_minute(void **state)
{
    struct pair *p = *state;
    populate(p);
    assert_true(bury(p, B));
    assert_int_equal(renew(p, A).n_members, 2);
    assert_false(renew(p, B).existed);
    assert_false(bury(p, B));
    assert_true(renew(p, B).existed);
    assert_in_range(raw("TTL spotcraft:{%s}:buried:000000000000000b", p->world), 50, 60);
}

/* One that left in order refuses connections, too. */
static void a_node_without_lease_is_not_buried(void **state)
{
    struct pair *p = *state;
    populate(p);
    ask_and_free(p, new_req(COORD_LEAVE, B));
    assert_false(bury(p, B));
    renew(p, B);
    assert_true(bury(p, B));
}

static void a_redis_that_evicts_is_told(void **state)
{
    struct pair *p = *state;
    raw("CONFIG SET maxmemory-policy allkeys-lru");
    model_redis_evicts(p->model, true);
    assert_true(renew(p, A).evicts);
    raw("CONFIG SET maxmemory-policy noeviction");
    model_redis_evicts(p->model, false);
    assert_false(renew(p, A).evicts);
}

/* ---- names ---- */

static bool take(struct pair *p, uint64_t gate, const char *nick, uint64_t session, const char *old)
{
    struct coord_req *r = new_req(COORD_NAME_TAKE, gate);
    r->name.name = named(nick, session, 1.1f);
    snprintf(r->name.old, sizeof r->name.old, "%s", old);
    ask(p, r);
    bool mine = !r->name.taken;
    coord_req_free(r);
    return mine;
}

static void drop(struct pair *p, uint64_t gate, const char *nick, uint64_t session)
{
    struct coord_req *r = new_req(COORD_NAME_DROP, gate);
    r->name.name = named(nick, session, 0);
    ask_and_free(p, r);
}

static bool find(struct pair *p, const char *nick, const char *not_nick, struct coord_name *out, uint64_t *gate)
{
    struct coord_req *r = new_req(COORD_NAME_FIND, G);
    snprintf(r->find.nick, sizeof r->find.nick, "%s", nick);
    snprintf(r->find.not_nick, sizeof r->find.not_nick, "%s", not_nick);
    ask(p, r);
    bool found = r->find.found;
    *out = r->find.name;
    *gate = r->find.gate;
    coord_req_free(r);
    return found;
}

static void a_nick_is_held_by_one_session(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    assert_true(take(p, G, "ann", UINT64_MAX, ""));
    assert_true(take(p, G, "ann", UINT64_MAX, ""));
    assert_false(take(p, G, "ann", 2, ""));
    assert_false(take(p, H, "ann", UINT64_MAX, ""));
    drop(p, H, "ann", UINT64_MAX);
    assert_true(find(p, "ann", "", &n, &gate));
    assert_true(gate == G && n.session == UINT64_MAX);
    drop(p, G, "ann", UINT64_MAX);
    assert_false(find(p, "ann", "", &n, &gate));
    assert_true(take(p, H, "ann", 1, ""));
}

static void a_new_nick_gives_the_old_one_up(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, H, "bob", 1, "");
    assert_false(take(p, G, "bob", 1, "ann"));
    assert_true(find(p, "ann", "", &n, &gate)); /* refused: nothing is given up */
    assert_true(take(p, G, "eve", 1, "ann"));
    assert_false(find(p, "ann", "", &n, &gate));
    assert_true(take(p, G, "eve", 1, "eve"));
    assert_true(find(p, "eve", "", &n, &gate));
    assert_true(take(p, G, "joe", 1, "bob")); /* not his to give */
    assert_true(find(p, "bob", "", &n, &gate));
}

static void a_dead_gateways_nicks_are_free(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, G, "amy", 2, "");
    expire(p, ROLE_GATEWAY, G);
    assert_false(find(p, "ann", "", &n, &gate));
    assert_false(find(p, "", "", &n, &gate));
    assert_true(take(p, H, "ann", 1, ""));
    struct coord_req *r = new_req(COORD_NAME_LIST, H);
    ask(p, r);
    assert_int_equal(r->names.total, 1);
    assert_string_equal(r->names.names[0].nick, "ann");
    coord_req_free(r);
    assert_int_equal(raw("HLEN spotcraft:{%s}:names", p->world), 1);
}

static void a_nick_may_be_any_text(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    assert_true(take(p, G, "%s \"x\" 7 {a}:\\", 7, ""));
    assert_true(find(p, "%s \"x\" 7 {a}:\\", "", &n, &gate));
    assert_true(take(p, G, "0123456789012345678901234567890", 8, ""));
    assert_true(find(p, "", "%s \"x\" 7 {a}:\\", &n, &gate));
    assert_string_equal(n.nick, "0123456789012345678901234567890");
}

static void places_come_back_to_the_bit(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, H, "bob", 1, "");
    struct coord_req *r = new_req(COORD_NAME_PLACES, G);
    r->names.names = mem_array(3, sizeof *r->names.names);
    r->names.n = 3;
    r->names.names[0] = named("ann", 1, 123456.789f);
    r->names.names[1] = named("bob", 1, 5); /* another gateway's */
    r->names.names[2] = named("nobody", 1, 5);
    ask_and_free(p, r);
    assert_true(find(p, "ann", "", &n, &gate));
    struct coord_name want = named("ann", 1, 123456.789f);
    assert_memory_equal(&n.place, &want.place, sizeof want.place);
    assert_true(find(p, "bob", "", &n, &gate));
    assert_true(n.place.x < 2);
    assert_false(find(p, "nobody", "", &n, &gate));
}

/* ---- events ---- */

static void events_are_heard_and_gaps_are_told(void **state)
{
    struct pair *p = *state;
    turn_until(p, &p->n_interrupted, 1);
    struct coord_req *r = new_req(COORD_PUBLISH, G);
    r->publish.event = blob_new("hello", 5);
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    coord_req_free(r);
    turn_until(p, &p->n_events, 2); /* the model's too */
    assert_string_equal(p->event, "hello");
    raw("CLIENT KILL TYPE pubsub");
    turn_until(p, &p->n_interrupted, 2);
    r = new_req(COORD_PUBLISH, G);
    r->publish.event = blob_new("again", 5);
    ask_and_free(p, r);
    turn_until(p, &p->n_events, 4);
}

/* What is in flight when the coord is closed comes back; what is asked from there is not answered by anybody. */
static void on_closed(struct coord_req *r, void *arg)
{
    struct pair *p = arg;
    p->n_events++;
    assert_int_equal(r->err, ERR_IO);
    coord_submit(p->real, new_req(COORD_DIRTY, A));
    coord_req_free(r);
}

static void closing_answers_what_is_in_flight(void **state)
{
    struct pair *p = *state;
    renew(p, A);
    for (unsigned i = 0; i < 3; i++)
        coord_submit(p->real, coord_req_new(i == 1 ? COORD_LEAVE : COORD_DIRTY, A, on_closed, p));
    coord_redis_close(p->real);
    p->real = NULL;
    assert_int_equal(p->n_events, 3);
}

/* ---- hostile replies ---- */

static void replies_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const char *const wires[] = {
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "+OK\r\n",
        ":-1\r\n",
        ":2\r\n",
        ":9223372036854775807\r\n",
        "$3\r\nfoo\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n:7\r\n",
        "*2\r\n:1\r\n:1\r\n",
        "*3\r\n:0\r\n$1\r\nx\r\n$1\r\ny\r\n",
        "*3\r\n:0\r\n$4\r\n1-1x\r\n$1\r\ny\r\n",
        "*3\r\n:0\r\n$3\r\n1-1\r\n:4\r\n",
        "*3\r\n:0\r\n$3\r\nann\r\n$20\r\n000000000000000a 1 x\r\n",
        "*3\r\n:0\r\n$3\r\nann\r\n$34\r\n000000000000000a 1 nan 1 1 1 1 1 1\r\n",
        "*5\r\n:7\r\n$0\r\n\r\n:0\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$3\r\nabc\r\n:0\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n:-4\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n:9007199254740992\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n$1\r\n0\r\n:0\r\n:0\r\n",
        "*4\r\n:1\r\n:0\r\n:1\r\n:-1\r\n",
        "*4\r\n:3\r\n:0\r\n:1\r\n:0\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$2\r\nab\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$16\r\n000000000000000a\r\n$1\r\na\r\n$1\r\n9\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$16\r\n000000000000000a\r\n$1\r\na\r\n$-1\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*2\r\n*1\r\n:1\r\n*0\r\n",
    };
    /* Replies that some operation takes; of the others nothing may. */
    for (unsigned op = 0; op < COORD_OPS; op++) {
        unsigned refused = 0;
        for (size_t i = 0; i < sizeof wires / sizeof *wires; i++) {
            struct coord_req *r = new_req((enum coord_op)op, A);
            switch (op) {
            case COORD_OWNERS:
            case COORD_CLAIM:
            case COORD_APPEND:
            case COORD_TRIM:
            case COORD_RELEASE:
            case COORD_TRANSFER:
                coord_req_cells(r, 1);
                break;
            default:
                break;
            }
            redisReader *reader = redisReaderCreate();
            void *reply = NULL;
            assert_int_equal(redisReaderFeed(reader, wires[i], strlen(wires[i])), REDIS_OK);
            assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
            assert_non_null(reply);
            refused += coord_decode(r, reply) == ERR_REFUSED;
            freeReplyObject(reply);
            redisReaderFree(reader);
            coord_req_free(r);
        }
        /* only DIRTY and FIND take an empty array; a few numbers are answers of others */
        assert_in_range(refused, sizeof wires / sizeof *wires - 3, sizeof wires / sizeof *wires);
    }
}

/* ---- running ---- */

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_world_keeps_its_constants),
        CASE(a_schema_may_be_one_step_from_the_newest),
        CASE(who_does_not_fit_is_told_what_there_is),
        CASE(schema_1_joins_by_its_own_rule_until_it_is_too_old),
        CASE(a_world_that_schema_1_made_is_joined_and_raised),
        CASE(a_fresh_world_is_open_at_once),
        CASE(a_stranger_does_not_open_an_emptied_redis),
        CASE(a_floor_in_a_fresh_world_closes_it),
        CASE(an_emptied_redis_closes_for_an_owner_that_renews_first),
        CASE(a_restart_closes_claims_but_not_appends),
        CASE(who_lives_and_knows_more_raises_the_generation),
        CASE(a_renewal_lists_the_living_nodes),
        CASE(a_lease_ends_by_itself),
        CASE(a_node_is_buried_once_a_minute),
        CASE(a_node_without_lease_is_not_buried),
        CASE(a_redis_that_evicts_is_told),
        CASE(a_nick_is_held_by_one_session),
        CASE(a_new_nick_gives_the_old_one_up),
        CASE(a_dead_gateways_nicks_are_free),
        CASE(a_nick_may_be_any_text),
        CASE(places_come_back_to_the_bit),
        CASE(events_are_heard_and_gaps_are_told),
        CASE(closing_answers_what_is_in_flight),
        cmocka_unit_test(replies_that_do_not_fit_are_refused),
    };
    int failed = !pair_server_start("coord_world") || cmocka_run_group_tests(tests, NULL, NULL);
    pair_server_stop(!failed);
    metrics_free();
    return failed;
}
