/* imds_endpoint.h - where the metadata service is: an address as it is given, in its parts. Pure. */
#ifndef PROTO_IMDS_IMDS_ENDPOINT_H
#define PROTO_IMDS_IMDS_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct imds_endpoint {
    bool none;   /* there is no metadata service here */
    bool chosen; /* somebody said where it is: then it should be there */
    char host[128];
    uint16_t port;
    char prefix[128]; /* "" or "/node0": in front of every path */
};

/* setting: "http://host[:port][/prefix]", "none", or "": then env, in the same form, else the usual address. */
enum err imds_endpoint_parse(const char *setting, const char *env, struct imds_endpoint *out, char *why,
                             size_t why_bytes);

#endif
