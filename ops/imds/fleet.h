/* fleet.h - the instances that the mock plays: who they are, what they are told, and how their service misbehaves.
 *
 * Made and changed by control.c, read by metadata.c. An instance lives until the fleet is freed; at most FLEET_MAX.
 * Times are Unix milliseconds. One thread. */
#ifndef OPS_IMDS_FLEET_H
#define OPS_IMDS_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FLEET_MAX = 4096,
    FLEET_WORD_MAX = 63,
    FLEET_EVENTS_MAX = 8,
    FLEET_FAULTS_MAX = 16,
    FLEET_TOKENS_MAX = 64,
    FLEET_TOKEN_BYTES = 32,
    FLEET_PATH_MAX = 95
};

/* Something that the instance may read: since when, and when it first did. */
struct notice_story {
    uint64_t set_ms;   /* 0: it is not there */
    uint64_t first_ms; /* 0: not read yet */
    unsigned reads;
};

struct maintenance_event {
    struct notice_story story;
    char code[FLEET_WORD_MAX + 1], id[FLEET_WORD_MAX + 1];
    uint64_t from_ms, until_ms;
    const char *state; /* "active", "completed", "canceled" */
};

enum fault_kind {
    FAULT_STATUS,    /* value: the status */
    FAULT_DELAY,     /* value: ms */
    FAULT_SILENCE,   /* no answer */
    FAULT_RESET,     /* the connection is reset */
    FAULT_GARBAGE,   /* 200, and a body that makes no sense */
    FAULT_BROKEN,    /* bytes that are no HTTP */
    FAULT_TRICKLE,   /* a body that never ends, byte by byte */
    FAULT_FLOOD,     /* ... as fast as it is read */
    FAULT_THROTTLE,  /* value: requests a second that are answered; the others are not: 503 */
    FAULT_HOP_LIMIT, /* what answers a PUT is lost on its way */
    FAULT_KINDS
};
const char *fault_name(enum fault_kind k);

struct fault {
    enum fault_kind kind;
    uint32_t value;
    char path[FLEET_PATH_MAX + 1]; /* requests whose path has this in it; "" : all */
    unsigned left;                 /* so many more; 0: until it is cleared */
    bool endless;
    unsigned hits;
    uint64_t second; /* throttle: the second that is counted, and how many were answered in it */
    unsigned answered;
};

struct token {
    char text[FLEET_TOKEN_BYTES * 2 + 1];
    uint64_t end_ms; /* monotonic */
};

struct instance {
    struct instance *prev, *next;
    char name[FLEET_WORD_MAX + 1], id[FLEET_WORD_MAX + 1], type[FLEET_WORD_MAX + 1], zone[FLEET_WORD_MAX + 1];
    char lifecycle[FLEET_WORD_MAX + 1], asg_state[FLEET_WORD_MAX + 1];
    bool off;             /* the metadata service is switched off: 403 */
    bool tokens_optional; /* version 1 is answered too */
    bool closes;          /* a connection an answer, as some do */
    bool slides;          /* times are counted anew from each reading */
    uint32_t ttl_max_s;   /* tokens last no longer than this */

    struct notice_story itn, rebalance, asg;
    char action[FLEET_WORD_MAX + 1];
    uint64_t itn_at_ms; /* when it happens; while times slide: how long it has */
    struct maintenance_event events[FLEET_EVENTS_MAX];
    unsigned n_events; /* those that are over included; the oldest of them make room */

    struct fault faults[FLEET_FAULTS_MAX];
    unsigned n_faults;
    struct token tokens[FLEET_TOKENS_MAX];
    unsigned next_token;
    unsigned requests, connections, tokens_given, unauthorized;
};

struct fleet {
    struct instance *instances; /* in the order of their making */
    unsigned n;
};

struct instance *fleet_find(struct fleet *f, const char *name); /* NULL: none */
/* With an id of its own and ordinary values. NULL: the fleet is full. */
struct instance *fleet_add(struct fleet *f, const char *name);
void fleet_free(struct fleet *f);

/* A new token that lasts ttl_s. */
const char *instance_token_new(struct instance *i, uint32_t ttl_s);
bool instance_token_valid(const struct instance *i, const char *text);
void instance_tokens_expire(struct instance *i);

/* The fault of that kind which this request meets: it counts as met. NULL: none. */
struct fault *instance_fault(struct instance *i, enum fault_kind k, const char *path);
/* False: there are too many. */
bool instance_fault_add(struct instance *i, const struct fault *f);
void instance_faults_end(struct instance *i, enum fault_kind k);
void instance_faults_clear(struct instance *i);

/* Room for one more event. NULL: all that there is room for are still to come. */
struct maintenance_event *instance_event_new(struct instance *i);

void notice_set(struct notice_story *n);                    /* told anew, even if it was there */
void notice_read(struct notice_story *n, uint64_t then_ms); /* if it was there by then */

#endif
