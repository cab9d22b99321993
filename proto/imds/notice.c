#include "proto/imds/notice.h"

const char *notice_name(enum notice_kind kind)
{
    static const char *const names[NOTICES] = {"rebalance", "interruption", "termination", "lifecycle", "maintenance"};
    return names[kind];
}
