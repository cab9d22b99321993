#include "proto/base/proxy.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char version_1[] = "PROXY ";

enum { AT_COMMAND = 12, AT_FAMILY = 13, AT_LENGTH = 14, CRC_BYTES = 4, TLV_HEAD = 3, UNIX_PATH = 108 };
enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { UNSPEC = 0x00, TCP4 = 0x11, UDP4 = 0x12, TCP6 = 0x21, UDP6 = 0x22, UNIX_STREAM = 0x31, UNIX_DGRAM = 0x32 };
enum { TLV_CRC32C = 0x03, TLV_AWS = 0xea, AWS_VPC_ENDPOINT = 0x01 };

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* A bit at a time: a header is read once a connection, and most have no checksum. */
uint32_t proxy_crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
    crc = ~crc;
    while (len--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static enum err bad(const char **why, const char *reason)
{
    *why = reason;
    return ERR_BAD;
}

/* ---- the head ---- */

static enum err look_at_signature(const uint8_t *data, size_t len, const char **why)
{
    const size_t known = len < sizeof signature ? len : sizeof signature;
    const size_t old = len < sizeof version_1 - 1 ? len : sizeof version_1 - 1;
    if (memcmp(data, signature, known) == 0)
        return len < PROXY_HEAD ? ERR_AGAIN : ERR_OK;
    if (memcmp(data, version_1, old) == 0)
        return old < sizeof version_1 - 1 ? ERR_AGAIN : bad(why, "PROXY protocol version 1, version 2 is wanted");
    *why = "no PROXY header";
    return ERR_NOT_FOUND;
}

/* How many bytes of addresses a family has, if it is one that may stand here; -1: it may not. */
static int address_bytes(uint8_t family)
{
    switch (family) {
    case UNSPEC:
        return 0;
    case TCP4:
        return 12;
    case TCP6:
        return 36;
    case UNIX_STREAM:
        return 2 * UNIX_PATH;
    case UDP4:
    case UDP6:
    case UNIX_DGRAM: /* known, but no game comes this way */
    default:
        return -1;
    }
}

/* ---- what is in it ---- */

static void take_address(uint8_t family, const uint8_t *p, struct proxy_header *out)
{
    if (family == TCP4) {
        struct sockaddr_in *in = (void *)&out->from;
        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, p, 4);
        memcpy(&in->sin_port, p + 8, 2);
    } else if (family == TCP6) {
        struct sockaddr_in6 *in6 = (void *)&out->from;
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, p, 16);
        memcpy(&in6->sin6_port, p + 32, 2);
    } else if (family == UNIX_STREAM) {
        struct sockaddr_un *un = (void *)&out->from;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, p, UNIX_PATH);
    }
}

/* The checksum is over the whole header, with zeros where it stands itself. */
static bool crc_fits(const uint8_t *header, size_t len, size_t at)
{
    static const uint8_t zeros[CRC_BYTES];
    uint32_t crc = proxy_crc32c(0, header, at);
    crc = proxy_crc32c(crc, zeros, sizeof zeros);
    return proxy_crc32c(crc, header + at + CRC_BYTES, len - at - CRC_BYTES) == get32(header + at);
}

static enum err take_tlvs(const uint8_t *header, size_t at, size_t end, struct proxy_header *out, const char **why)
{
    while (at < end) {
        if (end - at < TLV_HEAD)
            return bad(why, "a TLV is cut off");
        const uint8_t type = header[at];
        const size_t len = get16(header + at + 1);
        at += TLV_HEAD;
        if (len > end - at)
            return bad(why, "a TLV is longer than its header");
        if (type == TLV_CRC32C && (len != CRC_BYTES || !crc_fits(header, end, at)))
            return bad(why, "the checksum is wrong");
        if (type == TLV_AWS && len > 1 && header[at] == AWS_VPC_ENDPOINT) {
            out->endpoint = (const char *)header + at + 1;
            out->endpoint_len = len - 1;
        }
        at += len;
    }
    return ERR_OK;
}

enum err proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out, size_t *used, const char **why)
{
    enum err e = look_at_signature(data, len, why);
    if (e != ERR_OK)
        return e;
    const uint8_t command = data[AT_COMMAND], family = data[AT_FAMILY];
    const size_t total = PROXY_HEAD + get16(data + AT_LENGTH);
    if (command >> 4 != 2)
        return bad(why, "not version 2 of the PROXY protocol");
    if (command != COMMAND_LOCAL && command != COMMAND_PROXY)
        return bad(why, "unknown command");
    if (total > PROXY_MAX) {
        *why = "header is too long";
        return ERR_TOO_BIG;
    }
    const int addresses = address_bytes(family);
    if (command == COMMAND_PROXY && addresses < 0)
        return bad(why, "unknown address family or transport");
    if (command == COMMAND_PROXY && PROXY_HEAD + (size_t)addresses > total)
        return bad(why, "header is too short for its addresses");
    if (len < total)
        return ERR_AGAIN;

    struct proxy_header h = {.local = command == COMMAND_LOCAL};
    h.from.ss_family = AF_UNSPEC;
    /* With LOCAL or without a family nothing behind the head is to be believed, not even where TLVs would begin. */
    if (!h.local && family != UNSPEC) {
        take_address(family, data + PROXY_HEAD, &h);
        e = take_tlvs(data, PROXY_HEAD + (size_t)addresses, total, &h, why);
        if (e != ERR_OK)
            return e;
    }
    *out = h;
    *used = total;
    return ERR_OK;
}
