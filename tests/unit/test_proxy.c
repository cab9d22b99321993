/* The PROXY protocol's headers: as real proxies send them, and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/proxy.h"

/* As HAProxy sent it for a connection from 172.19.0.1:42578. */
static const uint8_t from_haproxy[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
                                       0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 0xac, 0x13, 0x00, 0x01,
                                       0xac, 0x13, 0x00, 0x03, 0xa6, 0x52, 0x00, 0x50};

enum { HEADER_MAX = PROXY_MAX + 64 };

struct made {
    uint8_t bytes[HEADER_MAX];
    size_t len;
};

static void add(struct made *m, const void *bytes, size_t len)
{
    assert_true(m->len + len <= sizeof m->bytes);
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
    m->bytes[14] = (uint8_t)((m->len - PROXY_HEAD) >> 8);
    m->bytes[15] = (uint8_t)(m->len - PROXY_HEAD);
}

static void add_tlv(struct made *m, uint8_t type, const void *value, size_t len)
{
    const uint8_t head[] = {type, (uint8_t)(len >> 8), (uint8_t)len};
    add(m, head, sizeof head);
    add(m, value, len);
}

static struct made begin(uint8_t command, uint8_t family)
{
    struct made m = {.len = PROXY_HEAD};
    memcpy(m.bytes, from_haproxy, 12);
    m.bytes[12] = command;
    m.bytes[13] = family;
    return m;
}

static struct made tcp4(void)
{
    struct made m = begin(0x21, 0x11);
    add(&m, from_haproxy + PROXY_HEAD, 12);
    return m;
}

/* The checksum last, as it is over everything. */
static void add_crc(struct made *m)
{
    const uint8_t none[4] = {0};
    add_tlv(m, 0x03, none, sizeof none);
    const uint32_t crc = htonl(proxy_crc32c(0, m->bytes, m->len));
    memcpy(m->bytes + m->len - 4, &crc, 4);
}

static const char *reason;
static struct proxy_header got;
static size_t used;

static enum err parse(const void *bytes, size_t len)
{
    reason = NULL;
    return proxy_parse(bytes, len, &got, &used, &reason);
}

static const char *address(void)
{
    static char text[INET6_ADDRSTRLEN];
    if (got.from.ss_family == AF_INET)
        return inet_ntop(AF_INET, &((struct sockaddr_in *)&got.from)->sin_addr, text, sizeof text);
    assert_int_equal(got.from.ss_family, AF_INET6);
    return inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&got.from)->sin6_addr, text, sizeof text);
}

static void a_real_header_is_understood(void **state)
{
    (void)state;
    assert_int_equal(parse(from_haproxy, sizeof from_haproxy), ERR_OK);
    assert_int_equal(used, sizeof from_haproxy);
    assert_false(got.local);
    assert_string_equal(address(), "172.19.0.1");
    assert_int_equal(ntohs(((struct sockaddr_in *)&got.from)->sin_port), 42578);
}

static void what_follows_is_left_alone(void **state)
{
    (void)state;
    struct made m = tcp4();
    memcpy(m.bytes + m.len, "V,1\n", 4);
    assert_int_equal(parse(m.bytes, m.len + 4), ERR_OK);
    assert_int_equal(used, m.len);
}

static void version_six_addresses_and_unix_sockets_are_understood(void **state)
{
    (void)state;
    struct made m = begin(0x21, 0x21);
    uint8_t six[36] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7, [32] = 0x10, [33] = 0x20};
    add(&m, six, sizeof six);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_string_equal(address(), "2001:db8::7");
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&got.from)->sin6_port), 0x1020);

    uint8_t paths[216];
    memset(paths, 'p', sizeof paths); /* all of it: no NUL at its end */
    m = begin(0x21, 0x31);
    add(&m, paths, sizeof paths);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_int_equal(got.from.ss_family, AF_UNIX);
    assert_memory_equal(((struct sockaddr_un *)&got.from)->sun_path, paths, 108);
}

/* A health check of the load balancer; whatever else stands in it is not looked at. */
static void local_says_nothing_of_a_client(void **state)
{
    (void)state;
    struct made m = begin(0x20, 0x00);
    add(&m, "", 0);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_true(got.local);
    assert_int_equal(got.from.ss_family, AF_UNSPEC);
    m = begin(0x20, 0xff);
    add(&m, from_haproxy + PROXY_HEAD, 11);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_true(got.local);
    assert_int_equal(used, PROXY_HEAD + 11);
}

static void an_unknown_client_is_nobody_in_particular(void **state)
{
    (void)state;
    struct made m = begin(0x21, 0x00);
    add(&m, "whatever it may be", 18);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_false(got.local);
    assert_int_equal(got.from.ss_family, AF_UNSPEC);
    assert_int_equal(used, m.len);
}

static void nothing_is_decided_before_all_of_it_is_there(void **state)
{
    (void)state;
    struct made m = tcp4();
    add_tlv(&m, 0x05, "unique", 6);
    add_crc(&m);
    for (size_t n = 0; n < m.len; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, m.bytes, n);
        assert_int_equal(parse(exact, n), ERR_AGAIN);
        free(exact);
    }
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
}

static void unknown_tlvs_are_skipped_and_the_endpoint_is_told(void **state)
{
    (void)state;
    struct made m = tcp4();
    add_tlv(&m, 0x04, "....", 4);
    add_tlv(&m, 0xea, "\x02other", 6);
    add_tlv(&m, 0xea, "\x01vpce-08d2bf15fac5001c9", 23);
    add_tlv(&m, 0xe0, "", 0);
    add_crc(&m);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    assert_int_equal(got.endpoint_len, 22);
    assert_memory_equal(got.endpoint, "vpce-08d2bf15fac5001c9", 22);
    assert_string_equal(address(), "172.19.0.1");
}

static void the_checksum_is_castagnolis(void **state)
{
    (void)state;
    assert_int_equal(proxy_crc32c(0, (const uint8_t *)"123456789", 9), 0xe3069283u);
    assert_int_equal(proxy_crc32c(proxy_crc32c(0, (const uint8_t *)"1234", 4), (const uint8_t *)"56789", 5),
                     0xe3069283u);
}

static void a_byte_that_was_changed_is_noticed_by_the_checksum(void **state)
{
    (void)state;
    struct made m = tcp4();
    add_crc(&m);
    for (size_t i = PROXY_HEAD; i < m.len; i++) {
        if (i >= PROXY_HEAD + 12 && i < PROXY_HEAD + 15)
            continue; /* the TLV's own type and length: then it is another one, or cut off */
        m.bytes[i] ^= 1;
        assert_int_equal(parse(m.bytes, m.len), ERR_BAD);
        assert_string_equal(reason, "the checksum is wrong");
        m.bytes[i] ^= 1;
    }
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
    m = tcp4();
    add_tlv(&m, 0x03, "12345", 5); /* not four bytes */
    assert_int_equal(parse(m.bytes, m.len), ERR_BAD);
}

static void what_is_no_header_is_told_apart_at_once(void **state)
{
    (void)state;
    static const char *const lines[] = {"V,1\n", "\r\nV,1", "\r\n\r\n\r\n", "GET / HTTP/1.0\r\n",
                                        "P,1,2", "PROTEST", "\x16\x03\x01"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(parse(lines[i], strlen(lines[i])), ERR_NOT_FOUND);
        assert_string_equal(reason, "no PROXY header");
    }
    assert_int_equal(parse("PROX", 4), ERR_AGAIN);
}

static void version_one_is_refused_by_name(void **state)
{
    (void)state;
    const char *line = "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n";
    assert_int_equal(parse(line, strlen(line)), ERR_BAD);
    assert_string_equal(reason, "PROXY protocol version 1, version 2 is wanted");
}

static void a_bad_head_is_refused_before_the_rest_came(void **state)
{
    (void)state;
    static const struct {
        uint8_t command, family;
        uint16_t len;
        const char *why;
    } cases[] = {
        {0x11, 0x11, 12, "not version 2 of the PROXY protocol"},
        {0x31, 0x11, 12, "not version 2 of the PROXY protocol"},
        {0x22, 0x11, 12, "unknown command"},
        {0x2f, 0x11, 12, "unknown command"},
        {0x21, 0x12, 12, "unknown address family or transport"},
        {0x21, 0x13, 12, "unknown address family or transport"},
        {0x21, 0x01, 12, "unknown address family or transport"},
        {0x21, 0x41, 12, "unknown address family or transport"},
        {0x21, 0x11, 11, "header is too short for its addresses"},
        {0x21, 0x21, 35, "header is too short for its addresses"},
        {0x21, 0x31, 99, "header is too short for its addresses"},
        {0x21, 0x11, PROXY_MAX - 15, "header is too long"},
        {0x20, 0x00, 0xffff, "header is too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m = begin(cases[i].command, cases[i].family);
        m.bytes[14] = (uint8_t)(cases[i].len >> 8);
        m.bytes[15] = (uint8_t)cases[i].len;
        enum err e = parse(m.bytes, PROXY_HEAD);
        assert_true(e == ERR_BAD || e == ERR_TOO_BIG);
        assert_string_equal(reason, cases[i].why);
    }
}

static void the_longest_header_is_taken(void **state)
{
    (void)state;
    static uint8_t filler[PROXY_MAX];
    struct made m = tcp4();
    add_tlv(&m, 0x04, filler, PROXY_MAX - m.len - 3);
    assert_int_equal(m.len, PROXY_MAX);
    assert_int_equal(parse(m.bytes, m.len), ERR_OK);
}

static void tlvs_stay_within_their_header(void **state)
{
    (void)state;
    struct made m = tcp4();
    add(&m, "\x04\x00", 2);
    memcpy(m.bytes + m.len, "\x00\x00\x00\x00", 4); /* what follows is the player's */
    assert_int_equal(parse(m.bytes, m.len + 4), ERR_BAD);
    assert_string_equal(reason, "a TLV is cut off");
    m = tcp4();
    add(&m, "\xea\x00\x09\x01vpce-1", 10);
    memset(m.bytes + m.len, 'x', 20);
    assert_int_equal(parse(m.bytes, m.len + 20), ERR_BAD);
    assert_string_equal(reason, "a TLV is longer than its header");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_header_is_understood),
        cmocka_unit_test(what_follows_is_left_alone),
        cmocka_unit_test(version_six_addresses_and_unix_sockets_are_understood),
        cmocka_unit_test(local_says_nothing_of_a_client),
        cmocka_unit_test(an_unknown_client_is_nobody_in_particular),
        cmocka_unit_test(nothing_is_decided_before_all_of_it_is_there),
        cmocka_unit_test(unknown_tlvs_are_skipped_and_the_endpoint_is_told),
        cmocka_unit_test(the_checksum_is_castagnolis),
        cmocka_unit_test(a_byte_that_was_changed_is_noticed_by_the_checksum),
        cmocka_unit_test(what_is_no_header_is_told_apart_at_once),
        cmocka_unit_test(version_one_is_refused_by_name),
        cmocka_unit_test(a_bad_head_is_refused_before_the_rest_came),
        cmocka_unit_test(the_longest_header_is_taken),
        cmocka_unit_test(tlvs_stay_within_their_header),
    };
    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
