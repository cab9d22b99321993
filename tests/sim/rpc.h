/* rpc.h - a connection to a server over which requests may be lost without anybody knowing what became of them.
 *
 * Carries requests to Redis's and the store's models. The server works on a
 * copy, in the order of the connection; the caller's request gets the answer if
 * it arrives in time. ERR_IO and ERR_TIMEOUT truly mean "not known": the copy may
 * have been applied, may never be, or will be some milliseconds after the
 * caller heard, behind what it sent over its next connection. */
#ifndef TESTS_SIM_RPC_H
#define TESTS_SIM_RPC_H

#include "proto/base/err.h"
#include "tests/sim/hosts.h"

struct rpc_ops {
    void *(*clone)(const void *req);              /* what the server sees: the question */
    void (*apply)(struct host *from, void *copy); /* on the server */
    void (*answer)(void *req, void *copy);        /* moves copy's answer into req */
    void (*done)(void *req, enum err e);          /* e: ERR_OK keeps the answer's own. The caller disposes of req */
    void (*free_req)(void *req);
    const char *(*name)(const void *req);
};

/* The far end, shared by all connections to it. */
struct rpc_server {
    const char *name;
    const struct rpc_ops *ops;
    uint32_t deadline_ms;
    uint64_t away_until_us;  /* connections are refused */
    uint64_t stall_until_us; /* takes requests, does not work */
    uint64_t fail_until_us;  /* loses every other answer */
};

struct rpc_conn;
struct rpc_conn *rpc_open(struct host *h, struct rpc_server *server, const char *name);
void rpc_free(struct rpc_conn *c); /* at the end of the world */
void rpc_submit(struct rpc_conn *c, void *req);
/* The connection breaks: what is unanswered becomes ERR_IO, and a new one stands after a while. */
void rpc_cut(struct rpc_conn *c);
/* The host is dying: its requests come back, and what left it may still arrive. */
void rpc_abandon(struct rpc_conn *c);

#endif
