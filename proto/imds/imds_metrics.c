#include "proto/imds/imds_metrics.h"

#include <stdio.h>

#include "proto/base/metrics.h"

static const char *const error_names[IMDS_ERRORS] = {
    [IMDS_ERR_UNREACHABLE] = "unreachable",
    [IMDS_ERR_UNANSWERED] = "unanswered",
    [IMDS_ERR_CLOSED] = "closed",
    [IMDS_ERR_BROKEN] = "broken",
    [IMDS_ERR_GARBAGE] = "garbage",
    [IMDS_ERR_BAD_REQUEST] = "bad_request",
    [IMDS_ERR_UNAUTHORIZED] = "unauthorized",
    [IMDS_ERR_FORBIDDEN] = "forbidden",
    [IMDS_ERR_NO_TOKENS] = "no_tokens",
    [IMDS_ERR_THROTTLED] = "throttled",
    [IMDS_ERR_SERVER] = "server_error",
    [IMDS_ERR_OTHER_STATUS] = "other_status",
    [IMDS_ERR_HOP_LIMIT] = "hop_limit",
};

const char *imds_error_name(enum imds_error e)
{
    return error_names[e];
}

void imds_metrics_open(struct imds_metrics *m)
{
    static const char *const codes[] = {"200", "401", "404", "4xx", "5xx", "other"};
    char label[48];
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        snprintf(label, sizeof label, "status=\"%s\"", codes[i]);
        m->answers[i] =
            metrics_counter("spotcraft_imds_answers_total", "Whole answers of the metadata service.", label);
    }
    for (unsigned e = 0; e < IMDS_ERRORS; e++) {
        snprintf(label, sizeof label, "kind=\"%s\"", error_names[e]);
        m->errors[e] =
            metrics_counter("spotcraft_imds_errors_total", "Requests to it that brought nothing usable.", label);
    }
    for (unsigned k = 0; k < NOTICES; k++) {
        snprintf(label, sizeof label, "kind=\"%s\"", notice_name(k));
        m->notices[k] =
            metrics_counter("spotcraft_imds_notices_total", "Notices told: new, or with a nearer deadline.", label);
        m->withdrawn[k] = metrics_counter("spotcraft_imds_withdrawn_total", "Notices that were there no more.", label);
        m->now[k] = metrics_gauge("spotcraft_imds_notice", "1 while such a notice is there.", label);
    }
    m->tokens = metrics_counter("spotcraft_imds_tokens_total", "Session tokens taken, the first included.", NULL);
    m->ignored_past =
        metrics_counter("spotcraft_imds_ignored_total", "Readings of a notice that change nothing.", "why=\"past\"");
    m->ignored_slides =
        metrics_counter("spotcraft_imds_ignored_total", "Readings of a notice that change nothing.", "why=\"slides\"");
    m->age = metrics_gauge("spotcraft_imds_age_seconds",
                           "Age of the oldest answer among the notices' paths; 0 where there is no metadata.", NULL);
    m->blind = metrics_gauge("spotcraft_imds_blind",
                             "1 when there should be metadata, and a path has brought none for long.", NULL);
    m->skew =
        metrics_gauge("spotcraft_imds_clock_ahead_seconds", "How far its clock is ahead of this machine's.", NULL);
}

struct metric *imds_metrics_answer(struct imds_metrics *m, int status)
{
    switch (status) {
    case 200:
        return m->answers[0];
    case 401:
        return m->answers[1];
    case 404:
        return m->answers[2];
    default:
        return m->answers[status >= 400 && status < 500 ? 3 : status >= 500 && status < 600 ? 4 : 5];
    }
}
