/* conf.h - a program's settings, from one table.
 *
 * The table is an X-macro, one row a setting. It makes the struct that the
 * program reads, and the array from which conf.c makes everything else: flags,
 * environment, file, --help, --print-config and the line logged at the start.
 *
 *   #define NODE_CONF(X) \
 *       X(lease_ttl_ms, U32,    3000,              500, 60000, false, "a lease unrenewed lives this long") \
 *       X(verbose,      BOOL,   false,             0, 1,       true,  "say more") \
 *       X(admin_port,   PORT,   9100,              1, 65535,   false, "the admin pages") \
 *       X(pool,         STR,    "default",         0, 63,      false, "which pool it counts to") \
 *       X(store_url,    URL,    "sqlite:world.db", 1, 1023,    false, "where the world is kept") \
 *       X(secret,       SECRET, "",                0, 127,     false, "what processes of a world share")
 *
 *   struct node_conf { NODE_CONF(CONF_MEMBER) };
 *   #define CONF_THIS struct node_conf
 *   static const struct conf_field fields[] = {NODE_CONF(CONF_FIELD)};
 *
 * A row: field, type, default, min, max, live, help.
 * min and max bound a number, or the length of a text; texts live in the struct,
 * so it can be copied and needs no freeing. For lease_ttl_ms the flag is
 * --lease-ttl-ms, the variable SPOTCRAFT_LEASE_TTL_MS, the line in the file
 * `lease_ttl_ms = 3000`; flags win over the environment, that over the file.
 * Whatever is unknown or out of range stops the start with its name, its place
 * and the reason. A SECRET, and the password in a URL, are never printed. */
#ifndef PROTO_BASE_CONF_H
#define PROTO_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type { CONF_U32, CONF_BOOL, CONF_PORT, CONF_STR, CONF_URL, CONF_SECRET };

struct conf_field {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *initial; /* as it would stand in a file */
    uint32_t min, max;
    bool live; /* may change while the program runs */
    const char *help;
};

struct conf_table {
    const char *program; /* "node" */
    const char *version;
    const char *about;    /* one line for --help */
    const char *more;     /* sections at its end, whole lines; NULL: none */
    const char *examples; /* command lines with two blanks in front; NULL: none */
    const struct conf_field *fields;
    size_t n_fields;
    size_t settings_bytes; /* sizeof(struct node_conf) */
    /* Settings of the world's other programs: all may be given the same environment, so these names are let pass
     * there. Ends with NULL; made by GATEWAY_CONF(CONF_NAME). */
    const char *const *others;
};

enum conf_result {
    CONF_RUN,     /* settings are filled in */
    CONF_EXIT_OK, /* --help, --version or --print-config was answered */
    CONF_EXIT_BAD /* why says what is wrong, for a person */
};

enum { CONF_WHY_BYTES = 512, CONF_TEXT_BYTES = 2048 };

enum conf_result conf_read(const struct conf_table *t, void *settings, int argc, char *const *argv, char *const *env,
                           FILE *out, char why[CONF_WHY_BYTES]);

/* A file that can be read back; secrets are left out, each with a comment in its place. */
void conf_print(const struct conf_table *t, const void *settings, FILE *out);
/* All settings, as key=value, in one or more lines of the log. */
void conf_log(const struct conf_table *t, const void *settings);
/* An address as it may be shown: passwords, keys and tokens in it become "***". One that
 * does not fit is not shown at all. Returns out. */
const char *conf_redact(char *out, size_t out_bytes, const char *url);

#define CONF_MEMBER(field, type, initial, min, max, live, help) CONF_MEMBER_##type(field, max);
#define CONF_MEMBER_U32(field, max)                             uint32_t field
#define CONF_MEMBER_BOOL(field, max)                            bool field
#define CONF_MEMBER_PORT(field, max)                            uint16_t field
#define CONF_MEMBER_STR(field, max)                             char field[(max) + 1]
#define CONF_MEMBER_URL(field, max)                             char field[(max) + 1]
#define CONF_MEMBER_SECRET(field, max)                          char field[(max) + 1]

#define CONF_FIELD(field, type, initial, min, max, live, help)                                                         \
    {#field, CONF_##type, offsetof(CONF_THIS, field), CONF_INITIAL_##type(initial), min, max, live, help},
#define CONF_INITIAL_U32(initial)    #initial
#define CONF_INITIAL_BOOL(initial)   #initial
#define CONF_INITIAL_PORT(initial)   #initial
#define CONF_INITIAL_STR(initial)    initial
#define CONF_INITIAL_URL(initial)    initial
#define CONF_INITIAL_SECRET(initial) initial

#define CONF_NAME(field, type, initial, min, max, live, help) #field,

#endif
