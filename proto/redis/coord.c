#include "proto/redis/coord.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/mem.h"

struct coord_req *coord_req_new(enum coord_op op, uint64_t me, coord_done *done, void *arg)
{
    struct coord_req *r = mem_zalloc(sizeof *r);
    r->op = op;
    r->me = me;
    r->done = done;
    r->arg = arg;
    return r;
}

struct coord_cell *coord_req_cells(struct coord_req *r, unsigned n)
{
    assert(n <= (r->op == COORD_OWNERS ? 1024u : (unsigned)COORD_CELLS_MAX));
    assert(!r->cells.cells);
    r->cells.cells = mem_array(n, sizeof *r->cells.cells);
    r->cells.n = n;
    return r->cells.cells;
}

static void free_batches(struct coord_batch *batches, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        blob_unref(batches[i].bytes);
    free(batches);
}

void coord_req_free(struct coord_req *r)
{
    if (!r)
        return;
    switch (r->op) {
    case COORD_RENEW:
        free(r->renew.members);
        break;
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        for (unsigned i = 0; i < r->cells.n; i++)
            blob_unref(r->cells.cells[i].batch);
        free(r->cells.cells);
        break;
    case COORD_RESTORE:
        free_batches(r->restore.batches, r->restore.n_batches);
        break;
    case COORD_JOURNAL:
        free_batches(r->journal.batches, r->journal.n_batches);
        break;
    case COORD_NAME_PLACES:
    case COORD_NAME_LIST:
        free(r->names.names);
        break;
    case COORD_PUBLISH:
        blob_unref(r->publish.event);
        break;
    default: /* the others own nothing */
        break;
    }
    free(r);
}

const char *coord_op_name(enum coord_op op)
{
    static const char *const names[COORD_OPS] = {
        [COORD_JOIN_WORLD] = "join_world",
        [COORD_RENEW] = "renew",
        [COORD_LEAVE] = "leave",
        [COORD_BURY] = "bury",
        [COORD_OWNERS] = "owners",
        [COORD_CLAIM] = "claim",
        [COORD_APPEND] = "append",
        [COORD_TRIM] = "trim",
        [COORD_RELEASE] = "release",
        [COORD_RESTORE] = "restore",
        [COORD_TRANSFER] = "transfer",
        [COORD_JOURNAL] = "journal",
        [COORD_DIRTY] = "dirty",
        [COORD_IDS] = "ids",
        [COORD_NAME_TAKE] = "name_take",
        [COORD_NAME_DROP] = "name_drop",
        [COORD_NAME_PLACES] = "name_places",
        [COORD_NAME_FIND] = "name_find",
        [COORD_NAME_LIST] = "name_list",
        [COORD_PUBLISH] = "publish",
    };
    return (unsigned)op < COORD_OPS ? names[op] : "?";
}
