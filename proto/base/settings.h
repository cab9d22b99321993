/* settings.h - every setting of all programs, in one place: one ConfigMap may hold them all, so each program must know
 * the names of the others'. conf.h says what a row is. */
#ifndef PROTO_BASE_SETTINGS_H
#define PROTO_BASE_SETTINGS_H

#include "proto/base/conf.h"

#define WORLD_CONF(X)                                                                                                  \
    X(world, STR, "world", 1, 32, false, "name of the world: letters, digits, - and _")                                \
    X(redis, URL, "redis://127.0.0.1:6379", 1, 511, false,                                                             \
      "redis://[user:password@]host:port[/db], rediss:// for TLS, unix:/path")                                         \
    X(secret, SECRET, "", 0, 127, false, "what the processes of a world share; links prove that they know it")

#define COMMON_CONF(X)                                                                                                 \
    WORLD_CONF(X)                                                                                                      \
    X(admin, STR, "127.0.0.1:0", 1, 255, false, "host:port of the admin pages; port 0: any, see the log")              \
    X(log_level, STR, "info", 4, 5, false, "error, warn, info or debug")                                               \
    X(lease_ms, U32, 3000, 500, 60000, false, "a process that did not renew its lease for so long counts as dead")     \
    X(redis_deadline_ms, U32, 1000, 50, 60000, false, "a command to Redis that is not answered by then is given up")   \
    X(stop_ms, U32, 30000, 0, 3600000, false, "time to leave in order after SIGTERM")                                  \
    X(imds, STR, "", 0, 255, false,                                                                                    \
      "EC2 metadata service: http://host[:port][/prefix]; empty: AWS_EC2_METADATA_SERVICE_ENDPOINT, else "             \
      "http://169.254.169.254; none: there is none")                                                                   \
    X(imds_poll_ms, U32, 2000, 20, 60000, false, "its notices are looked for this often")                              \
    X(imds_timeout_ms, U32, 1000, 20, 5000, false, "a request to it that is not answered by then is given up")         \
    X(imds_v1, BOOL, false, 0, 1, false, "ask without a token where it refuses to give one (403, 404)")                \
    X(instance_id, STR, "", 0, 63, false, "this machine's name; empty: what the metadata say")                         \
    X(maintenance_ms, U32, 600000, 0, 86400000, false,                                                                 \
      "scheduled maintenance of the machine that is nearer than this means leaving")

#define NODE_CONF(X)                                                                                                   \
    COMMON_CONF(X)                                                                                                     \
    X(listen, STR, "127.0.0.1:0", 1, 255, false, "host:port for gateways and other nodes; port 0: any")                \
    X(advertise, STR, "", 0, 127, false, "host:port told to them; empty: the address listened on")                     \
    X(store, URL, "sqlite:world.db", 1, 1023, false, "sqlite:PATH or postgres://user:password@host:port/db")           \
    X(pool, STR, "", 0, 63, false, "instance type/zone/spot or on-demand: what may be taken away together")            \
    X(flush_ms, U32, 1000, 10, 600000, false, "oldest that a row may get before it is written to the store")           \
    X(tick_ms, U32, 50, 10, 1000, false, "players' positions are sent this often")                                     \
    X(idle_cell_ms, U32, 60000, 100, 86400000, false, "a cell that nobody watches is released after so long")          \
    X(places_ms, U32, 5000, 100, 600000, false, "players' places are saved this often")                                \
    X(cell_pending_max, U32, 4096, 64, 8192, false,                                                                    \
      "rows of one cell that may wait for Redis; then gateways keep them")                                             \
    X(at_risk_quiet_ms, U32, 1800000, 1000, 86400000, false,                                                           \
      "a rebalance recommendation that nothing followed for so long is over")                                          \
    X(followers_rows, U32, 0, 0, 100000000, false,                                                                     \
      "rows of copies that other nodes keep of this node's most visited cells; 0: only while it is at risk")

#define GATEWAY_CONF(X)                                                                                                \
    COMMON_CONF(X)                                                                                                     \
    X(listen, STR, "0.0.0.0:4080", 1, 255, false, "host:port for players; several gateways may share it")              \
    X(presence_chunks, U32, 8, 1, 24, false, "players further away than this many chunks are not shown")               \
    X(visible_max, U32, 127, 0, 127, false, "other players that a client is shown at most: the nearest")               \
    X(proxy_protocol, BOOL, false, 0, 1, false,                                                                        \
      "off: players connect directly; on: every connection opens with a PROXY protocol v2 header")                     \
    X(proxy_headers, U32, 1, 1, 4, false,                                                                              \
      "PROXY headers that our own proxies put in front of each other; the last has the player's address")              \
    X(sessions_max, U32, 10000, 1, 1000000, false, "players on this gateway at most")                                  \
    X(address_sessions_max, U32, 1000, 0, 1000000, false,                                                              \
      "players from one address (IPv6: /64) at most; 0: any number; loopback is not counted")                          \
    X(session_edits_max, U32, 4096, 16, 65536, false, "unanswered edits of a player; then his socket is not read")     \
    X(out_soft_bytes, U32, 262144, 4096, 1073741824, false, "queued for a client: above it positions are left out")    \
    X(out_hard_bytes, U32, 16777216, 65536, 1073741824, false, "queued for a client: above it he is closed")           \
    X(silence_ms, U32, 30000, 1000, 300000, false, "a client that was sent nothing for so long is sent a line")        \
    X(day_length_s, U32, 600, 1, 86400, false, "length of a day in the world")                                         \
    X(park_notice_ms, U32, 2000, 100, 600000, false, "players whose edits wait longer than this are told")             \
    X(stop_listening, BOOL, false, 0, 1, false,                                                                        \
      "told to stop: on: leave the port to those who share it; off: take new players to the end, as behind a load "    \
      "balancer")

#define CTL_CONF(X)                                                                                                    \
    WORLD_CONF(X)                                                                                                      \
    X(json, BOOL, false, 0, 1, false, "answer in JSON")                                                                \
    X(watch, BOOL, false, 0, 1, false, "status: again every second")                                                   \
    X(verbose, BOOL, false, 0, 1, false, "say what is going on, on stderr")                                            \
    X(answer_ms, U32, 5000, 100, 60000, false, "Redis or a node that does not answer for so long is given up")         \
    X(wait_ms, U32, 600000, 100, 86400000, false, "move, drain: how long to wait for the end")

#endif
