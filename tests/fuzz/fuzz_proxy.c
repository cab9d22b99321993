/* fuzz_proxy.c - bytes in front of a player's connection: the parser never reads beyond them, says the same for any
 * shorter beginning until it is sure, and believes no more than was there. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum err parse(const uint8_t *data, size_t len, struct proxy_header *h, size_t *used)
{
    const char *why = NULL;
    uint8_t *copy = malloc(len ? len : 1); /* exactly sized: an overrun is seen */
    memcpy(copy, data, len);
    enum err e = proxy_parse(copy, len, h, used, &why);
    assert((e == ERR_OK || e == ERR_AGAIN) == (why == NULL));
    if (e == ERR_OK) {
        assert(*used >= PROXY_HEAD && *used <= PROXY_MAX && *used <= len);
        if (h->endpoint) {
            assert((const uint8_t *)h->endpoint >= copy + PROXY_HEAD);
            assert((const uint8_t *)h->endpoint + h->endpoint_len <= copy + *used);
        }
        h->endpoint = NULL; /* into the copy */
    }
    free(copy);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct proxy_header whole, part;
    size_t used = 0, again = 0;
    enum err e = parse(data, len, &whole, &used);
    const size_t sure = e == ERR_OK ? used : len;
    for (size_t n = 0; n < sure; n += 1 + n / 16) {
        enum err early = parse(data, n, &part, &again);
        assert(early == ERR_AGAIN || (early == e && e != ERR_OK));
    }
    if (e == ERR_OK) {
        assert(parse(data, used, &part, &again) == ERR_OK && again == used);
        assert(part.local == whole.local && memcmp(&part.from, &whole.from, sizeof part.from) == 0);
    }
    return 0;
}
