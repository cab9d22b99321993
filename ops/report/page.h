/* page.h - a rehearsal as one page of HTML that needs nothing else: for whoever decides whether to trust the world. */
#ifndef OPS_REPORT_PAGE_H
#define OPS_REPORT_PAGE_H

#include <stdio.h>

#include "ops/report/outcome.h"

void page_print(const struct timeline *l, const struct outcomes *o, FILE *out);

#endif
