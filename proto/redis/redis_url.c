#include "proto/redis/redis_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool copy(char *out, size_t room, const char *from, size_t len)
{
    if (len >= room || memchr(from, '\0', len))
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

static bool copy_decoded(char *out, size_t room, const char *from, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = from[i];
        if (c == '%') {
            if (i + 2 >= len || !isxdigit((unsigned char)from[i + 1]) || !isxdigit((unsigned char)from[i + 2]))
                return false;
            const char hex[3] = {from[i + 1], from[i + 2], '\0'};
            c = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        if (c == '\0' || n + 1 >= room)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

/* All of text, decimal digits only. */
static bool parse_number(const char *text, size_t len, unsigned max, unsigned *out)
{
    unsigned v = 0;
    if (len == 0 || len > 6)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        v = v * 10 + (unsigned)(text[i] - '0');
    }
    *out = v;
    return v <= max;
}

static enum err bad(const char **why, const char *reason)
{
    *why = reason;
    return ERR_BAD;
}

enum err redis_url_parse(const char *url, struct redis_url *out, const char **why)
{
    struct redis_url u = {.port = 6379};
    const char *p;
    if (strncmp(url, "unix:", 5) == 0) {
        if (url[5] != '/' || !copy(u.path, sizeof u.path, url + 5, strlen(url + 5)))
            return bad(why, "unix: needs an absolute path of at most 107 bytes");
        *out = u;
        return ERR_OK;
    }
    if (strncmp(url, "redis://", 8) == 0) {
        p = url + 8;
    } else if (strncmp(url, "rediss://", 9) == 0) {
        p = url + 9;
        u.tls = true;
    } else {
        return bad(why, "starts with none of redis://, rediss://, unix:");
    }

    const char *end = p + strcspn(p, "/");
    const char *at = NULL; /* the last one: a password may hold an @ that nobody encoded */
    for (const char *c = p; c < end; c++)
        if (*c == '@')
            at = c;
    if (at) {
        const char *colon = memchr(p, ':', (size_t)(at - p));
        const char *user_end = colon ? colon : at;
        if (!copy_decoded(u.user, sizeof u.user, p, (size_t)(user_end - p)) ||
            (colon && !copy_decoded(u.password, sizeof u.password, colon + 1, (size_t)(at - colon - 1))))
            return bad(why, "user or password is too long or badly encoded");
        if (u.user[0] && !u.password[0])
            return bad(why, "a user without a password");
        p = at + 1;
    }

    const char *host_end;
    if (*p == '[') {
        p++;
        host_end = memchr(p, ']', (size_t)(end - p));
        if (!host_end)
            return bad(why, "a [ without its ]");
    } else {
        host_end = memchr(p, ':', (size_t)(end - p));
        if (!host_end)
            host_end = end;
    }
    if (host_end == p || !copy(u.host, sizeof u.host, p, (size_t)(host_end - p)))
        return bad(why, "no host, or one that is too long");
    p = *host_end == ']' ? host_end + 1 : host_end;
    if (p < end) {
        unsigned port;
        if (*p != ':' || !parse_number(p + 1, (size_t)(end - p - 1), 65535, &port) || port == 0)
            return bad(why, "a bad port");
        u.port = (uint16_t)port;
    }
    if (*end == '/' && end[1] && !parse_number(end + 1, strlen(end + 1), 65535, &u.db))
        return bad(why, "a bad database number");
    *out = u;
    return ERR_OK;
}
