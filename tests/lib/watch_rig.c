#include "tests/lib/watch_rig.h"

#include <string.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"

struct watch_rig rig;

static void on_notice(void *arg, enum notice_kind kind, uint64_t deadline_unix_ms, const char *detail)
{
    (void)arg, (void)detail;
    rig.notices[kind]++;
    rig.deadline[kind] = deadline_unix_ms;
}

static void on_withdrawn(void *arg, enum notice_kind kind)
{
    (void)arg;
    rig.withdrawn[kind]++;
}

static void on_identity(void *arg, const struct imds_identity *id)
{
    (void)arg;
    rig.identified++;
    rig.identity = *id;
}

static void on_checked(void *arg)
{
    (void)arg;
    rig.checked++;
    rig.known_when_checked = rig.identified > 0;
}

static const struct imds_ops ops = {on_notice, on_withdrawn, on_identity, on_checked};

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

void watch_rig_up(void)
{
    rig = (struct watch_rig){.log_file = tmpfile(), .base = event_base_new()};
    assert_non_null(rig.log_file);
    log_set_fd(fileno(rig.log_file));
    rig.beat = event_new(rig.base, -1, EV_PERSIST, on_beat, NULL);
    event_add(rig.beat, &(struct timeval){.tv_usec = 2000});
}

void watch_rig_down(void)
{
    imds_free(rig.watcher);
    event_free(rig.beat);
    event_base_free(rig.base);
    metrics_free();
    log_set_fd(2);
    fclose(rig.log_file);
}

unsigned watch_rig_logged(const char *text)
{
    char line[1200];
    unsigned n = 0;
    rewind(rig.log_file);
    while (fgets(line, sizeof line, rig.log_file))
        n += strstr(line, text) != NULL;
    return n;
}

void watch_rig_watch(const char *endpoint, bool v1)
{
    char why[200];
    struct imds_conf c = {.base = rig.base,
                          .endpoint = endpoint,
                          .instance_id = "",
                          .poll_ms = WATCH_POLL_MS,
                          .timeout_ms = WATCH_TIMEOUT_MS,
                          .maintenance_ms = 600000,
                          .v1 = v1,
                          .ops = &ops};
    assert_int_equal(imds_open(&c, &rig.watcher, why, sizeof why), ERR_OK);
}

double watch_rig_errors(const char *kind)
{
    char label[48];
    snprintf(label, sizeof label, "kind=\"%s\"", kind);
    return metric_value(metrics_counter("spotcraft_imds_errors_total", "", label));
}

double watch_rig_ignored(const char *label)
{
    return metric_value(metrics_counter("spotcraft_imds_ignored_total", "", label));
}

double watch_rig_gauge(const char *name)
{
    imds_refresh(rig.watcher);
    return metric_value(metrics_gauge(name, "", NULL));
}
