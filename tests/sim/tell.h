/* tell.h - messages, requests and lines in words, for the story of one seed. */
#ifndef TESTS_SIM_TELL_H
#define TESTS_SIM_TELL_H

#include "proto/redis/coord.h"
#include "proto/wire/msg.h"
#include "tests/sim/hosts.h"

enum { TELL_ROW_BYTES = 160 };
const char *tell_row(const struct row *r, char out[TELL_ROW_BYTES]);
void tell_message(struct host *reader, const struct host *sender, const struct msg *m);
void tell_request(struct host *from, const struct coord_req *r); /* carried out, with its answer */
/* Each line that begins in data, but for those that tell where others stand. */
void tell_lines(struct sim *s, const char *who, const char *data, size_t len);

#endif
