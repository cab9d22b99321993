/* fuzz_imds.c - what a metadata service answers: the first byte says what is read, the rest is the answer. */
#include <assert.h>
#include <string.h>

#include "proto/imds/imds_endpoint.h"
#include "proto/imds/imds_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void notice(enum notice_kind kind, const char *body, size_t len)
{
    struct reading r;
    if (imds_parse_notice(kind, body, len, UINT64_C(1600000000000), &r) != ERR_OK)
        return;
    assert(strlen(r.detail) <= READING_DETAIL_MAX);
    for (const char *c = r.detail; *c; c++)
        assert(*c >= ' ' && *c <= '~');
    assert(r.there || r.at_ms == 0);
}

static void endpoint(const char *body, size_t len)
{
    char text[300], why[200];
    struct imds_endpoint e;
    if (len >= sizeof text)
        return;
    memcpy(text, body, len);
    text[len] = '\0';
    if (imds_endpoint_parse(text, NULL, &e, why, sizeof why) == ERR_OK)
        assert(e.none || (e.host[0] && e.port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    const char *body = (const char *)data + 1;
    char word[17];
    uint64_t ms;
    switch (data[0] % (NOTICES + 3)) {
    case NOTICES:
        if (imds_parse_time(body, len - 1, &ms) || imds_parse_date(body, len - 1, &ms))
            assert(ms < UINT64_C(1000) * 86400 * 366 * 9999);
        break;
    case NOTICES + 1:
        if (imds_parse_word(body, len - 1, word, 16) || imds_parse_token(body, len - 1, word, 16))
            assert(strlen(word) <= 16 && strlen(word) > 0);
        break;
    case NOTICES + 2:
        endpoint(body, len - 1);
        break;
    default:
        notice(data[0] % (NOTICES + 3), body, len - 1);
    }
    return 0;
}
