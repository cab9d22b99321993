/* The scripts of proto/redis, each behind lib.lua. DIRTY and PUBLISH are single commands and have none. */
#include "proto/redis/coord_codec.h"

/* clang-format off */
static const char join_world[] =
#include "lib.lua.h"
#include "join_world.lua.h"
    ;
static const char renew[] =
#include "lib.lua.h"
#include "renew.lua.h"
    ;
static const char leave[] =
#include "lib.lua.h"
#include "leave.lua.h"
    ;
static const char bury[] =
#include "lib.lua.h"
#include "bury.lua.h"
    ;
static const char owners[] =
#include "lib.lua.h"
#include "owners.lua.h"
    ;
static const char claim[] =
#include "lib.lua.h"
#include "claim.lua.h"
    ;
static const char append[] =
#include "lib.lua.h"
#include "append.lua.h"
    ;
static const char trim[] =
#include "lib.lua.h"
#include "trim.lua.h"
    ;
static const char release[] =
#include "lib.lua.h"
#include "release.lua.h"
    ;
static const char restore[] =
#include "lib.lua.h"
#include "restore.lua.h"
    ;
static const char transfer[] =
#include "lib.lua.h"
#include "transfer.lua.h"
    ;
static const char journal[] =
#include "lib.lua.h"
#include "journal.lua.h"
    ;
static const char ids[] =
#include "lib.lua.h"
#include "ids.lua.h"
    ;
static const char name_take[] =
#include "lib.lua.h"
#include "name_take.lua.h"
    ;
static const char name_drop[] =
#include "lib.lua.h"
#include "name_drop.lua.h"
    ;
static const char name_places[] =
#include "lib.lua.h"
#include "name_places.lua.h"
    ;
static const char name_find[] =
#include "lib.lua.h"
#include "name_find.lua.h"
    ;
static const char name_list[] =
#include "lib.lua.h"
#include "name_list.lua.h"
    ;
/* clang-format on */

const char *coord_script(enum coord_op op)
{
    static const char *const sources[COORD_OPS] = {
        [COORD_JOIN_WORLD] = join_world,
        [COORD_RENEW] = renew,
        [COORD_LEAVE] = leave,
        [COORD_BURY] = bury,
        [COORD_OWNERS] = owners,
        [COORD_CLAIM] = claim,
        [COORD_APPEND] = append,
        [COORD_TRIM] = trim,
        [COORD_RELEASE] = release,
        [COORD_RESTORE] = restore,
        [COORD_TRANSFER] = transfer,
        [COORD_JOURNAL] = journal,
        [COORD_IDS] = ids,
        [COORD_NAME_TAKE] = name_take,
        [COORD_NAME_DROP] = name_drop,
        [COORD_NAME_PLACES] = name_places,
        [COORD_NAME_FIND] = name_find,
        [COORD_NAME_LIST] = name_list,
    };
    return sources[op];
}
