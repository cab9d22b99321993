/* proxy.h - the PROXY protocol, version 2: what a load balancer says in front of a connection that it passes on.
 *
 *   0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | version, command | family | length | source, destination, ports | TLVs
 *
 * Pure: bytes in, the player's address out. Everything is bounded and checked before it is believed: signature,
 * version, command, family, lengths, the bounds of every TLV, and the CRC32C where one was sent. TLVs that mean nothing
 * here are skipped. Version 1 (a line of text) is not taken, and said so. */
#ifndef PROTO_BASE_PROXY_H
#define PROTO_BASE_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/base/err.h"

enum { PROXY_HEAD = 16, PROXY_MAX = 4096 /* of a whole header; real ones have 28 to a few hundred bytes */ };

struct proxy_header {
    bool local;                   /* the proxy speaks for itself (a health check): nothing is said of anybody else */
    struct sockaddr_storage from; /* the player: AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC: not said */
    const char *endpoint;         /* id of the VPC endpoint that it came through (AWS), NULL: none; into data */
    size_t endpoint_len;
};

/* ERR_OK: a header of *used bytes. ERR_AGAIN: this may become one. ERR_NOT_FOUND: it is none. ERR_BAD, ERR_TOO_BIG: one
 * that is not taken. *why, for all but the first two: a constant. */
enum err proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out, size_t *used, const char **why);

/* CRC-32C (Castagnoli), as the header's checksum has it. */
uint32_t proxy_crc32c(uint32_t crc, const uint8_t *data, size_t len); /* begins with 0 */

#endif
