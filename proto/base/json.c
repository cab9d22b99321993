#include "proto/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, NUMBER_MAX = 31 };

/* ---- over one value ---- */

struct reader {
    const char *at, *end;
};

static void space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool word(struct reader *r, const char *w)
{
    size_t len = strlen(w);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, w, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool escape(struct reader *r)
{
    if (r->at == r->end)
        return false;
    char c = *r->at++;
    if (c != 'u')
        return strchr("\"\\/bfnrt", c) != NULL && c;
    for (int k = 0; k < 4; k++, r->at++) {
        if (r->at == r->end || !is_hex(*r->at))
            return false;
    }
    return true;
}

static bool text(struct reader *r)
{
    if (!take(r, '"'))
        return false;
    while (r->at < r->end) {
        char c = *r->at++;
        if (c == '"')
            return true;
        if ((unsigned char)c < ' ' || (c == '\\' && !escape(r)))
            return false;
    }
    return false;
}

static bool digits(struct reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static bool number(struct reader *r)
{
    if (*r->at == '-')
        r->at++;
    if (!digits(r))
        return false;
    if (r->at < r->end && *r->at == '.' && (r->at++, !digits(r)))
        return false;
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        return digits(r);
    }
    return true;
}

static bool value(struct reader *r, unsigned depth);

static bool list(struct reader *r, unsigned depth, char open, char close)
{
    if (depth == DEPTH_MAX || !take(r, open))
        return false;
    if (take(r, close))
        return true;
    do {
        if (open == '{' && (!text(r) || !take(r, ':')))
            return false;
        if (!value(r, depth + 1))
            return false;
    } while (take(r, ','));
    return take(r, close);
}

static bool value(struct reader *r, unsigned depth)
{
    space(r);
    if (r->at == r->end)
        return false;
    switch (*r->at) {
    case '{':
        return list(r, depth, '{', '}');
    case '[':
        return list(r, depth, '[', ']');
    case '"':
        return text(r);
    case 't':
        return word(r, "true");
    case 'f':
        return word(r, "false");
    case 'n':
        return word(r, "null");
    default:
        return number(r);
    }
}

bool json_check(const char *from, size_t len, struct json *out)
{
    struct reader r = {from, from + len};
    space(&r);
    const char *at = r.at;
    if (!value(&r, 0))
        return false;
    *out = (struct json){at, r.at};
    space(&r);
    return r.at == r.end;
}

/* ---- into a checked one: what is read is whole, so only types are looked at ---- */

static struct json none(void)
{
    return (struct json){NULL, NULL};
}

static struct json here(struct reader *r)
{
    space(r);
    struct json v = {r->at, r->at};
    value(r, 0);
    v.end = r->at;
    return v;
}

struct json json_get(struct json object, const char *name)
{
    struct reader r = {object.at, object.end};
    size_t len = strlen(name);
    if (!object.at || !take(&r, '{'))
        return none();
    while (r.at < r.end && !take(&r, '}')) {
        struct json key = here(&r);
        take(&r, ':');
        struct json v = here(&r);
        if ((size_t)(key.end - key.at) == len + 2 && memcmp(key.at + 1, name, len) == 0)
            return v;
        take(&r, ',');
    }
    return none();
}

bool json_next(struct json array, struct json *item)
{
    struct reader r = {item->at ? item->end : array.at, array.end};
    if (!array.at || *array.at != '[')
        return false;
    take(&r, item->at ? ',' : '[');
    if (take(&r, ']'))
        return false;
    *item = here(&r);
    return true;
}

int64_t json_int(struct json v, int64_t otherwise)
{
    char copy[NUMBER_MAX + 1], *end;
    size_t len = v.at ? (size_t)(v.end - v.at) : 0;
    if (!len || len > NUMBER_MAX)
        return otherwise;
    memcpy(copy, v.at, len);
    copy[len] = '\0';
    long long n = strtoll(copy, &end, 10);
    return *end || end == copy ? otherwise : (int64_t)n;
}

const char *json_text(struct json v, char *out, size_t bytes)
{
    size_t n = 0;
    const char *c = v.at;
    if (!c || *c++ != '"') {
        snprintf(out, bytes, "%s", "");
        return out;
    }
    for (; c < v.end - 1 && n + 1 < bytes; c++) {
        char shown = *c;
        if (*c == '\\') {
            c++;
            shown = *c == '"' || *c == '\\' || *c == '/' ? *c : '?';
            c += *c == 'u' ? 4 : 0;
        }
        out[n++] = shown >= ' ' && shown <= '~' ? shown : '?';
    }
    out[n] = '\0';
    return out;
}
