/* metadata.h - what an instance's metadata service answers, as EC2 does: codes, headers, error pages, listings. */
#ifndef OPS_IMDS_METADATA_H
#define OPS_IMDS_METADATA_H

#include "ops/imds/fleet.h"
#include "ops/imds/serve.h"

/* path: what is behind the instance's name, "/latest/meta-data/instance-id". Faults of the instance are met here. */
void metadata_answer(struct instance *i, struct serve_conn *c, const struct serve_request *r, const char *path);
/* An error page as EC2 words it. */
void metadata_error(struct serve_conn *c, int status);

#endif
