#include "proto/imds/imds_parse.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/base/json.h"

/* ---- scanning: each step moves on only if it fits ---- */

struct scan {
    const char *at, *end;
};

static bool one(struct scan *s, const char *of)
{
    if (s->at == s->end || !*s->at || !strchr(of, *s->at))
        return false;
    s->at++;
    return true;
}

/* least to most digits, as a number. */
static bool digits(struct scan *s, unsigned least, unsigned most, unsigned *out)
{
    unsigned n = 0, v = 0;
    while (n < most && s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        v = v * 10 + (unsigned)(*s->at++ - '0');
        n++;
    }
    *out = v;
    return n >= least;
}

/* The body without the white space around it: a service may end its texts with a newline. */
static struct scan trimmed(const char *text, size_t len)
{
    struct scan s = {text, text + len};
    while (s.at < s.end && isspace((unsigned char)*s.at))
        s.at++;
    while (s.end > s.at && isspace((unsigned char)s.end[-1]))
        s.end--;
    return s;
}

/* ---- times ---- */

struct civil {
    unsigned year, month, day, hour, minute, second;
};

static bool leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* A second of 60 is let pass: leap seconds are announced. */
static bool civil_to_ms(const struct civil *c, uint64_t *ms)
{
    static const unsigned before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    static const unsigned length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->year < 1970 || c->month < 1 || c->month > 12 || c->day < 1 || c->hour > 23 || c->minute > 59 ||
        c->second > 60)
        return false;
    if (c->day > length[c->month - 1] + (c->month == 2 && leap(c->year)))
        return false;
    uint64_t y = c->year - 1;
    uint64_t days = y * 365 + y / 4 - y / 100 + y / 400 - 719162 + before[c->month - 1] + c->day - 1;
    days += c->month > 2 && leap(c->year);
    *ms = (((days * 24 + c->hour) * 60 + c->minute) * 60 + c->second) * 1000;
    return true;
}

static bool clock_of_day(struct scan *s, struct civil *c)
{
    return digits(s, 2, 2, &c->hour) && one(s, ":") && digits(s, 2, 2, &c->minute) && one(s, ":") &&
           digits(s, 2, 2, &c->second);
}

bool imds_parse_time(const char *text, size_t len, uint64_t *ms)
{
    struct scan s = trimmed(text, len);
    struct civil c;
    unsigned hours, minutes, digit, milli = 0, scale = 100;
    uint64_t at;
    if (!digits(&s, 4, 4, &c.year) || !one(&s, "-") || !digits(&s, 2, 2, &c.month) || !one(&s, "-") ||
        !digits(&s, 2, 2, &c.day) || !one(&s, "Tt") || !clock_of_day(&s, &c) || !civil_to_ms(&c, &at))
        return false;
    if (one(&s, ".")) {
        if (s.at == s.end || !isdigit((unsigned char)*s.at))
            return false;
        for (; digits(&s, 1, 1, &digit); scale /= 10)
            milli += digit * scale;
    }
    at += milli;
    if (s.at < s.end && (*s.at == '+' || *s.at == '-')) {
        bool east = *s.at++ == '+';
        if (!digits(&s, 2, 2, &hours) || !one(&s, ":") || !digits(&s, 2, 2, &minutes) || hours > 23 || minutes > 59)
            return false;
        uint64_t off = (hours * 60 + minutes) * 60000ull;
        if (east && at < off)
            return false;
        at = east ? at - off : at + off;
    } else if (!one(&s, "Zz")) {
        return false;
    }
    if (s.at != s.end)
        return false;
    *ms = at;
    return true;
}

static bool month_name(struct scan *s, unsigned *month)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (unsigned m = 0; s->end - s->at >= 3 && m < 12; m++) {
        if (memcmp(s->at, names + m * 3, 3) == 0) {
            s->at += 3;
            *month = m + 1;
            return true;
        }
    }
    return false;
}

bool imds_parse_date(const char *text, size_t len, uint64_t *ms)
{
    struct scan s = trimmed(text, len);
    struct civil c;
    if (s.end - s.at > 5 && s.at[3] == ',' && s.at[4] == ' ')
        s.at += 5;
    return digits(&s, 1, 2, &c.day) && one(&s, " ") && month_name(&s, &c.month) && one(&s, " ") &&
           digits(&s, 4, 4, &c.year) && one(&s, " ") && clock_of_day(&s, &c) && one(&s, " ") && s.end - s.at == 3 &&
           (memcmp(s.at, "GMT", 3) == 0 || memcmp(s.at, "UTC", 3) == 0) && civil_to_ms(&c, ms);
}

/* ---- words ---- */

static bool copy_of(struct scan s, char *out, size_t max, bool (*allowed)(char c))
{
    size_t len = (size_t)(s.end - s.at);
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!allowed(s.at[i]))
            return false;
    }
    memcpy(out, s.at, len);
    out[len] = '\0';
    return true;
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

static bool in_token(char c)
{
    return c > ' ' && c <= '~';
}

bool imds_parse_word(const char *body, size_t len, char *out, size_t max)
{
    return copy_of(trimmed(body, len), out, max, in_word);
}

bool imds_parse_token(const char *body, size_t len, char *out, size_t max)
{
    return copy_of(trimmed(body, len), out, max, in_token);
}

bool imds_parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    struct scan s = trimmed(text, strlen(text));
    unsigned v;
    if (!digits(&s, 1, 9, &v) || s.at != s.end || v < min || v > max)
        return false;
    *out = v;
    return true;
}

/* ---- notices ---- */

static struct json is_object(const char *body, size_t len)
{
    struct json v;
    return json_check(body, len, &v) && *v.at == '{' ? v : (struct json){NULL, NULL};
}

/* A text of the object through a parser for times. */
static bool time_of(struct json object, const char *name, bool (*parse)(const char *, size_t, uint64_t *), uint64_t *ms)
{
    char text[48];
    json_text(json_get(object, name), text, sizeof text);
    return parse(text, strlen(text), ms);
}

/* {"action": "terminate", "time": "2017-09-18T08:22:00Z"}. An action that is new to us takes the machine away too. */
static enum err parse_interruption(const char *body, size_t len, struct reading *out)
{
    struct json v = is_object(body, len);
    struct reading r = {.there = true};
    char action[32];
    json_text(json_get(v, "action"), action, sizeof action);
    if (!imds_parse_word(action, strlen(action), r.detail, sizeof action) ||
        !time_of(v, "time", imds_parse_time, &r.at_ms))
        return ERR_BAD;
    r.at_once = strcmp(action, "hibernate") == 0;
    *out = r;
    return ERR_OK;
}

/* A time; anything else stands there while the instance is not marked. */
static enum err parse_termination(const char *body, size_t len, struct reading *out)
{
    struct reading r = {.detail = "terminate"};
    r.there = imds_parse_time(body, len, &r.at_ms);
    *out = r.there ? r : (struct reading){.vague = true};
    return ERR_OK;
}

static enum err parse_rebalance(const char *body, size_t len, struct reading *out)
{
    struct reading r = {.there = true};
    char text[48];
    struct json v = is_object(body, len);
    if (!time_of(v, "noticeTime", imds_parse_time, &r.at_ms)) /* when it was told, not when anything happens */
        return ERR_BAD;
    snprintf(r.detail, sizeof r.detail, "noticed=%s", json_text(json_get(v, "noticeTime"), text, sizeof text));
    *out = r;
    return ERR_OK;
}

/* The state that the group moves the instance to. Back into a warm pool it is stopped or hibernated as well. */
static enum err parse_lifecycle(const char *body, size_t len, struct reading *out)
{
    static const struct {
        const char *word;
        bool goes;
    } states[] = {{"InService", false},        {"Terminated", true},       {"Detached", false},
                  {"Standby", false},          {"Warmed:Running", false},  {"Warmed:Stopped", true},
                  {"Warmed:Hibernated", true}, {"Warmed:Terminated", true}};
    struct scan s = trimmed(body, len);
    size_t n = (size_t)(s.end - s.at);
    for (unsigned i = 0; i < sizeof states / sizeof *states; i++) {
        if (strlen(states[i].word) == n && memcmp(states[i].word, s.at, n) == 0) {
            *out = (struct reading){.there = states[i].goes};
            if (states[i].goes)
                snprintf(out->detail, sizeof out->detail, "%s", states[i].word);
            return ERR_OK;
        }
    }
    return ERR_BAD;
}

/* Completed and cancelled events say so in State or in front of the Description. */
static bool is_over(struct json event)
{
    char text[32];
    json_text(json_get(event, "State"), text, sizeof text);
    if (text[0] && strcasecmp(text, "active") != 0)
        return true;
    json_text(json_get(event, "Description"), text, sizeof text);
    return strncasecmp(text, "[Completed]", 11) == 0 || strncasecmp(text, "[Canceled]", 10) == 0;
}

static bool ended_before(uint64_t at_ms, uint64_t until_ms, uint64_t over_ms)
{
    return (until_ms > at_ms ? until_ms : at_ms) < over_ms;
}

static enum err parse_event(struct json event, uint64_t over_ms, struct reading *nearest)
{
    char code[40], id[40];
    uint64_t at, until;
    if (*event.at != '{')
        return ERR_BAD;
    if (is_over(event))
        return ERR_OK;
    if (!time_of(event, "NotBefore", imds_parse_date, &at))
        return ERR_BAD;
    if (!time_of(event, "NotAfter", imds_parse_date, &until))
        until = 0;
    bool over = ended_before(at, until, over_ms), its = ended_before(nearest->at_ms, nearest->until_ms, over_ms);
    if (nearest->there && (over == its ? at >= nearest->at_ms : over))
        return ERR_OK;
    nearest->there = true;
    nearest->at_ms = at;
    nearest->until_ms = until;
    snprintf(nearest->detail, sizeof nearest->detail, "%s id=%s", json_text(json_get(event, "Code"), code, sizeof code),
             json_text(json_get(event, "EventId"), id, sizeof id));
    return ERR_OK;
}

/* An array; a service that tells one event without the brackets is understood too. An event that is not understood
 * does not hide another that is. */
static enum err parse_maintenance(const char *body, size_t len, uint64_t over_ms, struct reading *out)
{
    struct json v, event = {NULL, NULL};
    struct reading r = {.there = false};
    bool bad = false;
    if (!json_check(body, len, &v) || (*v.at != '[' && *v.at != '{'))
        return ERR_BAD;
    if (*v.at == '{')
        bad = parse_event(v, over_ms, &r) != ERR_OK;
    while (json_next(v, &event))
        bad = parse_event(event, over_ms, &r) != ERR_OK || bad;
    if (bad && !r.there)
        return ERR_BAD;
    *out = r;
    return ERR_OK;
}

enum err imds_parse_notice(enum notice_kind kind, const char *body, size_t len, uint64_t over_ms, struct reading *out)
{
    switch (kind) {
    case NOTICE_REBALANCE:
        return parse_rebalance(body, len, out);
    case NOTICE_INTERRUPTION:
        return parse_interruption(body, len, out);
    case NOTICE_TERMINATION:
        return parse_termination(body, len, out);
    case NOTICE_LIFECYCLE:
        return parse_lifecycle(body, len, out);
    case NOTICE_MAINTENANCE:
        return parse_maintenance(body, len, over_ms, out);
    case NOTICES:
        break;
    }
    return ERR_BAD;
}
