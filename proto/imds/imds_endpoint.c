#include "proto/imds/imds_endpoint.h"

#include <event2/http.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/log.h"

static const char usual[] = "http://169.254.169.254";

static bool parts_of(const struct evhttp_uri *u, struct imds_endpoint *e)
{
    const char *scheme = evhttp_uri_get_scheme(u), *host = evhttp_uri_get_host(u), *path = evhttp_uri_get_path(u);
    int port = evhttp_uri_get_port(u);
    if (!scheme || strcmp(scheme, "http") != 0 || !host || !*host || port == 0 || evhttp_uri_get_userinfo(u) ||
        evhttp_uri_get_query(u) || evhttp_uri_get_fragment(u))
        return false;
    size_t len = strlen(host);
    bool bare = host[0] != '[';
    if (!bare && (len < 3 || host[len - 1] != ']'))
        return false;
    host += !bare;
    len -= bare ? 0 : 2;
    size_t path_len = strlen(path);
    while (path_len && path[path_len - 1] == '/')
        path_len--;
    if (len >= sizeof e->host || path_len >= sizeof e->prefix)
        return false;
    snprintf(e->host, sizeof e->host, "%.*s", (int)len, host);
    snprintf(e->prefix, sizeof e->prefix, "%.*s", (int)path_len, path);
    e->port = port < 0 ? 80 : (uint16_t)port;
    return true;
}

enum err imds_endpoint_parse(const char *setting, const char *env, struct imds_endpoint *out, char *why,
                             size_t why_bytes)
{
    struct imds_endpoint e = {.chosen = true};
    bool from_env = !setting[0] && env && env[0];
    const char *text = setting[0] ? setting : from_env ? env : usual;
    if (strcmp(text, "none") == 0) {
        *out = (struct imds_endpoint){.none = true, .chosen = true};
        return ERR_OK;
    }
    e.chosen = text != usual;
    struct evhttp_uri *u = evhttp_uri_parse(text);
    bool good = u && parts_of(u, &e);
    if (u)
        evhttp_uri_free(u);
    if (!good) {
        char shown[160];
        snprintf(why, why_bytes, "%s: %s is not http://host[:port][/prefix]",
                 from_env ? "AWS_EC2_METADATA_SERVICE_ENDPOINT" : "imds",
                 log_quote(shown, sizeof shown, text, strlen(text)));
        return ERR_BAD;
    }
    *out = e;
    return ERR_OK;
}
