#include "proto/base/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { FILE_LINES_MAX = 10000, LINE_BYTES = 4096, PLACE_BYTES = 256 };

static const char env_prefix[] = "SPOTCRAFT_";

/* One reading of a program's settings. */
struct reader {
    const struct conf_table *t;
    char *settings;
    char *why;       /* empty while all is well */
    unsigned *lines; /* for each field where the file sets it; 0: it does not */
};

/* The first reason wins. Returns false, so that a check can return it. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct reader *r, const char *fmt, ...)
{
    if (r->why[0])
        return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->why, CONF_WHY_BYTES, fmt, args);
    va_end(args);
    return false;
}

/* a-b and a_b are the same setting, and so is A_B in the environment. */
static bool same_name(const char *field, const char *given, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = given[i] == '-' ? '_' : (char)tolower((unsigned char)given[i]);
        if (field[i] != c || c == '\0')
            return false;
    }
    return field[len] == '\0';
}

static const struct conf_field *find(const struct conf_table *t, const char *name, size_t len)
{
    for (size_t i = 0; i < t->n_fields; i++) {
        if (same_name(t->fields[i].name, name, len))
            return &t->fields[i];
    }
    return NULL;
}

static bool is_text(const struct conf_field *f)
{
    return f->type == CONF_STR || f->type == CONF_URL || f->type == CONF_SECRET;
}

/* ---- one value ---- */

static bool parse_number(const struct conf_field *f, const char *text, uint32_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; isdigit((unsigned char)text[i]) && v <= UINT32_MAX; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    if (i == 0 || text[i] || v < f->min || v > f->max)
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i & 1;
            return true;
        }
    }
    return false;
}

/* scheme:something. What is behind the scheme is judged by whoever connects. */
static bool looks_like_url(const char *text)
{
    size_t i = 0;
    while (isalnum((unsigned char)text[i]) || (i > 0 && text[i] && strchr("+.-", text[i])))
        i++;
    return isalpha((unsigned char)text[0]) && text[i] == ':' && text[i + 1];
}

static bool set_text(struct reader *r, const struct conf_field *f, const char *text, const char *place)
{
    size_t len = strlen(text);
    if (len < f->min || len > f->max)
        return refuse(r, "%s: %s must have %u to %u characters, has %zu", place, f->name, f->min, f->max, len);
    for (size_t i = 0; i < len; i++) {
        if (iscntrl((unsigned char)text[i]))
            return refuse(r, "%s: %s has a control character in it", place, f->name);
    }
    if (f->type == CONF_URL && len > 0 && !looks_like_url(text))
        return refuse(r, "%s: %s must look like scheme:address", place, f->name);
    memcpy(r->settings + f->offset, text, len + 1);
    return true;
}

static bool set(struct reader *r, const struct conf_field *f, const char *text, const char *place)
{
    char shown[64];
    log_quote(shown, sizeof shown, text, strlen(text));
    void *at = r->settings + f->offset;
    uint32_t n;
    switch (f->type) {
    case CONF_U32:
    case CONF_PORT:
        if (!parse_number(f, text, &n))
            return refuse(r, "%s: %s must be a whole number from %u to %u, not %s", place, f->name, f->min, f->max,
                          shown);
        if (f->type == CONF_U32)
            *(uint32_t *)at = n;
        else
            *(uint16_t *)at = (uint16_t)n;
        return true;
    case CONF_BOOL:
        if (!parse_bool(text, at))
            return refuse(r, "%s: %s must be true or false, not %s", place, f->name, shown);
        return true;
    case CONF_STR:
    case CONF_URL:
    case CONF_SECRET:
        return set_text(r, f, text, place);
    }
    return refuse(r, "%s: %s has no type", place, f->name);
}

/* ---- the file ---- */

/* In place: `"a \"b\" # c"` to what it means, or a bare value without its comment. False: a quote is not closed. */
static bool unquote(char *v)
{
    if (*v != '"') {
        for (char *c = v; (c = strchr(c, '#')) != NULL; c++) {
            if (c == v || isspace((unsigned char)c[-1])) {
                *c = '\0';
                break;
            }
        }
        size_t len = strlen(v);
        while (len > 0 && isspace((unsigned char)v[len - 1]))
            v[--len] = '\0';
        return true;
    }
    char *from = v + 1, *to = v;
    while (*from && *from != '"') {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from++;
    }
    if (*from++ != '"')
        return false;
    *to = '\0';
    from += strspn(from, " \t\r\n");
    return *from == '\0' || *from == '#';
}

static void read_line(struct reader *r, char *line, unsigned number, const char *place)
{
    char *name = line + strspn(line, " \t\r\n");
    if (*name == '\0' || *name == '#')
        return;
    size_t len = strcspn(name, " \t\r\n=");
    char *value = name + len + strspn(name + len, " \t");
    char shown[64];
    log_quote(shown, sizeof shown, name, len);
    if (*value != '=') {
        refuse(r, "%s: want name = value after %s", place, shown);
        return;
    }
    value++;
    value += strspn(value, " \t\r\n");
    const struct conf_field *f = find(r->t, name, len);
    if (!f) {
        refuse(r, "%s: there is no setting %s", place, shown);
        return;
    }
    unsigned *before = &r->lines[f - r->t->fields];
    if (*before) {
        refuse(r, "%s: %s is already set in line %u", place, f->name, *before);
        return;
    }
    *before = number;
    if (!unquote(value)) {
        refuse(r, "%s: the quotes of %s do not end the line", place, f->name);
        return;
    }
    set(r, f, value, place);
}

static void read_file(struct reader *r, const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        refuse(r, "cannot read %s: %s", path, strerror(errno));
        return;
    }
    char line[LINE_BYTES];
    for (unsigned number = 1; !r->why[0] && fgets(line, sizeof line, in); number++) {
        char place[PLACE_BYTES];
        snprintf(place, sizeof place, "%.200s:%u", path, number);
        if (number > FILE_LINES_MAX)
            refuse(r, "%s: too many lines for a file of settings", place);
        else if (!strchr(line, '\n') && !feof(in))
            refuse(r, "%s: a line is too long, or has a NUL in it", place);
        else
            read_line(r, line, number, place);
    }
    if (ferror(in))
        refuse(r, "cannot read %s: %s", path, strerror(errno));
    fclose(in);
}

/* ---- the environment ---- */

/* Kubernetes tells each pod of its services in variables like SPOTCRAFT_GATEWAY_PORT_4080_TCP=tcp://10.0.0.1:4080.
 * For a service of a fitting name that looks like a setting of ours, and need not stop anything: no setting has such
 * a name, or an address with such a scheme. */
static bool from_kubernetes(const char *name, size_t len, const char *value)
{
    if (strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0)
        return true;
    return memmem(name, len, "_SERVICE_HOST", 13) || memmem(name, len, "_SERVICE_PORT", 13) ||
           memmem(name, len, "_TCP_", 5) || memmem(name, len, "_UDP_", 5);
}

static bool is_other(const struct conf_table *t, const char *name, size_t len)
{
    for (const char *const *o = t->others; o && *o; o++) {
        if (same_name(*o, name, len))
            return true;
    }
    return false;
}

/* SPOTCRAFT_CONFIG=FILE stands for --config FILE. */
static const char *config_in_env(char *const *env)
{
    static const char name[] = "SPOTCRAFT_CONFIG=";
    for (; env && *env; env++) {
        if (strncmp(*env, name, sizeof name - 1) == 0)
            return *env + sizeof name - 1;
    }
    return NULL;
}

static void read_env(struct reader *r, char *const *env)
{
    const size_t prefix = sizeof env_prefix - 1;
    for (; env && *env && !r->why[0]; env++) {
        const char *equals = strchr(*env, '=');
        if (strncmp(*env, env_prefix, prefix) != 0 || !equals)
            continue;
        const char *name = *env + prefix, *value = equals + 1;
        size_t len = (size_t)(equals - name);
        if (same_name("config", name, len) || from_kubernetes(*env, len + prefix, value))
            continue;
        char place[PLACE_BYTES];
        snprintf(place, sizeof place, "environment %.*s", (int)(len + prefix < 100 ? len + prefix : 100), *env);
        const struct conf_field *f = find(r->t, name, len);
        if (f)
            set(r, f, value, place);
        else if (!is_other(r->t, name, len))
            refuse(r, "%s: there is no such setting", place);
    }
}

/* ---- the flags ---- */

/* What a flag is, before it is known whether there is such a setting. */
struct flag {
    const char *name; /* without the dashes */
    size_t len;
    const char *value; /* NULL: none was given */
    int used;          /* arguments that it takes up */
};

static bool next_flag(const struct conf_table *t, int left, char *const *argv, struct flag *out)
{
    const char *arg = argv[0];
    if (strncmp(arg, "--", 2) != 0 || !arg[2])
        return false;
    *out = (struct flag){.name = arg + 2, .len = strcspn(arg + 2, "="), .used = 1};
    if (arg[2 + out->len] == '=') {
        out->value = arg + 2 + out->len + 1;
        return true;
    }
    const struct conf_field *f = find(t, out->name, out->len);
    if (f && f->type == CONF_BOOL) {
        out->value = "true";
    } else if ((f || same_name("config", out->name, out->len)) && left > 1 && strncmp(argv[1], "--", 2) != 0) {
        out->value = argv[1];
        out->used = 2;
    }
    return true;
}

static void read_flags(struct reader *r, int argc, char *const *argv, const char **config, bool *print)
{
    struct flag flag;
    for (int i = 1; i < argc && !r->why[0]; i += flag.used) {
        if (!next_flag(r->t, argc - i, argv + i, &flag)) {
            refuse(r, "unexpected argument %.100s; --help tells what there is", argv[i]);
            return;
        }
        char place[PLACE_BYTES];
        snprintf(place, sizeof place, "flag --%.*s", (int)(flag.len < 100 ? flag.len : 100), flag.name);
        const struct conf_field *f = find(r->t, flag.name, flag.len);
        bool is_config = same_name("config", flag.name, flag.len);
        if (same_name("print_config", flag.name, flag.len) && !flag.value)
            *print = true;
        else if (!f && !is_config)
            refuse(r, "%s: there is no such setting; --help tells what there is", place);
        else if (!flag.value)
            refuse(r, "%s: its value is missing", place);
        else if (is_config)
            *config = flag.value;
        else
            set(r, f, flag.value, place);
    }
}

/* ---- showing them ---- */

/* Blanks out [from, to) of the text in a buffer of so many bytes. Returns where to go on. */
static char *blank(char *text, size_t bytes, char *from, char *to)
{
    static const char stars[] = "***";
    size_t tail = strlen(to);
    size_t room = bytes - (size_t)(from - text) - 1;
    size_t n = sizeof stars - 1 < room ? sizeof stars - 1 : room;
    if (tail > room - n)
        tail = room - n;
    memmove(from + n, to, tail);
    memcpy(from, stars, n);
    from[n + tail] = '\0';
    return from + n;
}

/* Where the value of a parameter like password=, sslpassword=, api_key= or token= begins; NULL: there is none. */
static char *find_secret(char *text)
{
    static const char *const words[] = {"password", "passwd", "secret", "token", "key"};
    for (char *equals = text; (equals = strchr(equals, '=')) != NULL; equals++) {
        for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
            size_t len = strlen(words[i]);
            if ((size_t)(equals - text) >= len && strncasecmp(equals - len, words[i], len) == 0)
                return equals + 1;
        }
    }
    return NULL;
}

const char *conf_redact(char *out, size_t out_bytes, const char *url)
{
    if (snprintf(out, out_bytes, "%s", url) >= (int)out_bytes) {
        snprintf(out, out_bytes, "***"); /* cut in the middle of a password, it would not be recognised */
        return out;
    }
    /* Up to the last @: a password may hold an @ or a slash that somebody forgot to encode. */
    char *user = strstr(out, "://");
    char *at = user ? strrchr(user + 3, '@') : NULL;
    char *colon = at ? memchr(user + 3, ':', (size_t)(at - user - 3)) : NULL;
    if (colon)
        blank(out, out_bytes, colon + 1, at);
    for (char *from = out; (from = find_secret(from)) != NULL;) {
        char *to = from + strcspn(from, *from == '\'' ? "" : "& ");
        if (*from == '\'') { /* libpq's key='a value' */
            char *quote = strchr(from + 1, '\'');
            to = quote ? quote + 1 : from + strlen(from);
        }
        from = blank(out, out_bytes, from, to);
    }
    return out;
}

/* The value as a person may see it. True: something had to be hidden. */
static bool show(const struct conf_field *f, const void *settings, char out[CONF_TEXT_BYTES])
{
    const char *at = (const char *)settings + f->offset;
    switch (f->type) {
    case CONF_U32:
        snprintf(out, CONF_TEXT_BYTES, "%u", *(const uint32_t *)(const void *)at);
        return false;
    case CONF_PORT:
        snprintf(out, CONF_TEXT_BYTES, "%u", *(const uint16_t *)(const void *)at);
        return false;
    case CONF_BOOL:
        strcpy(out, *(const bool *)(const void *)at ? "true" : "false");
        return false;
    case CONF_SECRET:
        strcpy(out, *at ? "***" : "");
        return *at != '\0';
    case CONF_URL:
        conf_redact(out, CONF_TEXT_BYTES, at);
        return strcmp(out, at) != 0;
    case CONF_STR:
        break;
    }
    snprintf(out, CONF_TEXT_BYTES, "%s", at);
    return false;
}

/* As unquote() reads it. */
static void print_value(const struct conf_field *f, const char *text, FILE *out)
{
    if (!is_text(f) || (text[0] && !strpbrk(text, " \t#\"\\"))) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void conf_print(const struct conf_table *t, const void *settings, FILE *out)
{
    fprintf(out, "# spotcraft %s %s\n", t->program, t->version);
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct conf_field *f = &t->fields[i];
        char text[CONF_TEXT_BYTES];
        bool hidden = show(f, settings, text);
        fprintf(out, "\n# %s\n%s%s = ", f->help, hidden ? "# not shown in full: " : "", f->name);
        print_value(f, text, out);
        fputc('\n', out);
    }
}

void conf_log(const struct conf_table *t, const void *settings)
{
    enum { LINE = 880 }; /* leaves room for the log's own head */
    char line[LINE] = "";
    size_t len = 0;
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct conf_field *f = &t->fields[i];
        char text[CONF_TEXT_BYTES], quoted[LINE / 2];
        show(f, settings, text);
        if (is_text(f))
            log_quote(quoted, sizeof quoted, text, strlen(text));
        const char *value = is_text(f) ? quoted : text;
        if (len + strlen(f->name) + strlen(value) + 3 > sizeof line) {
            log_info("config%s", line);
            len = 0;
        }
        len += (size_t)snprintf(line + len, sizeof line - len, " %s=%s", f->name, value);
        if (len >= sizeof line)
            len = sizeof line - 1;
    }
    log_info("config%s", line);
}

/* What stands for the value in --help: a number says its unit, which is the end of its name. */
static const char *placeholder(const struct conf_field *f)
{
    static const struct {
        const char *end, *unit;
    } units[] = {{"_ms", "MILLISECONDS"}, {"_s", "SECONDS"}, {"_bytes", "BYTES"}};
    size_t len = strlen(f->name);
    switch (f->type) {
    case CONF_BOOL:
        return "[=true|false]";
    case CONF_URL:
        return "URL";
    case CONF_STR:
    case CONF_SECRET:
        return "TEXT";
    case CONF_U32:
    case CONF_PORT:
        break;
    }
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        size_t end = strlen(units[i].end);
        if (len > end && strcmp(f->name + len - end, units[i].end) == 0)
            return units[i].unit;
    }
    return "N";
}

static void print_settings(const struct conf_table *t, FILE *out)
{
    fputs("\nSettings\n", out);
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct conf_field *f = &t->fields[i];
        fputs("  --", out);
        for (const char *c = f->name; *c; c++)
            fputc(*c == '_' ? '-' : *c, out);
        fprintf(out, " %s\n      %s\n      default ", placeholder(f), f->help);
        print_value(f, f->initial, out);
        if (f->type == CONF_U32 || f->type == CONF_PORT)
            fprintf(out, ", from %u to %u", f->min, f->max);
        fputc('\n', out);
    }
}

static void print_help(const struct conf_table *t, FILE *out)
{
    fprintf(out,
            "spotcraft %s - %s\n\n"
            "Usage: %s [--SETTING VALUE]...\n\n"
            "  --config FILE   read settings from a file: name = value, a line each, # for comments\n"
            "  --print-config  print such a file with the settings in force, and stop\n"
            "  --help          this text\n"
            "  --version       print %s\n\n"
            "Each setting is a flag (--some-name 1), a variable (%sSOME_NAME=1) or a line in the file\n"
            "(some_name = 1). Flags win over variables, those over the file. Whatever is unknown or out of\n"
            "range stops the start. Passwords are better kept out of flags, where every user of the machine\n"
            "can read them.\n",
            t->program, t->about, t->program, t->version, env_prefix);
    print_settings(t, out);
    fprintf(out,
            "\nEnvironment\n"
            "  %sSOME_NAME  the setting some_name; names of other programs of the world are let pass\n"
            "  %sCONFIG     the file of --config\n",
            env_prefix, env_prefix);
    if (t->more)
        fputs(t->more, out);
    if (t->examples)
        fprintf(out, "\nExamples\n%s", t->examples);
}

static bool asked_for(int argc, char *const *argv, const char *flag)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) == 0)
            return true;
    }
    return false;
}

static enum conf_result answered(struct reader *r, FILE *out)
{
    if (fflush(out) == 0 && !ferror(out))
        return CONF_EXIT_OK;
    refuse(r, "cannot write the answer: %s", strerror(errno));
    return CONF_EXIT_BAD;
}

enum conf_result conf_read(const struct conf_table *t, void *settings, int argc, char *const *argv, char *const *env,
                           FILE *out, char why[CONF_WHY_BYTES])
{
    struct reader r = {.t = t, .settings = settings, .why = why};
    why[0] = '\0';
    if (asked_for(argc, argv, "--help") || asked_for(argc, argv, "-h")) {
        print_help(t, out);
        return answered(&r, out);
    }
    if (asked_for(argc, argv, "--version")) {
        fprintf(out, "spotcraft %s %s\n", t->program, t->version);
        return answered(&r, out);
    }

    memset(settings, 0, t->settings_bytes);
    for (size_t i = 0; i < t->n_fields; i++) {
        assert(!is_text(&t->fields[i]) || t->fields[i].max < CONF_TEXT_BYTES);
        bool ok = set(&r, &t->fields[i], t->fields[i].initial, "default");
        assert(ok), (void)ok;
    }

    /* The flags name the file, and win over it: a copy takes them first for that, then again at the end. */
    const char *config = config_in_env(env);
    bool print = false;
    char *probe = mem_dup(settings, t->settings_bytes);
    r.settings = probe;
    read_flags(&r, argc, argv, &config, &print);
    free(probe);
    r.settings = settings;

    if (config && !r.why[0]) {
        r.lines = mem_array(t->n_fields, sizeof *r.lines);
        read_file(&r, config);
        free(r.lines);
    }
    read_env(&r, env);
    read_flags(&r, argc, argv, &config, &print);
    if (r.why[0])
        return CONF_EXIT_BAD;
    if (!print)
        return CONF_RUN;
    conf_print(t, settings, out);
    return answered(&r, out);
}
