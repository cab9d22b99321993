/* print.h - what came of a rehearsal, as text for a terminal or as one line of JSON for programs. */
#ifndef OPS_REPORT_PRINT_H
#define OPS_REPORT_PRINT_H

#include <stdio.h>

#include "ops/report/outcome.h"

void print_text(const struct timeline *l, const struct outcomes *o, FILE *out);
void print_json(const struct timeline *l, const struct outcomes *o, FILE *out);

/* Text as JSON and as HTML have it, without the quotes around it. */
void print_json_text(const char *text, FILE *out);
void print_html_text(const char *text, FILE *out);

#endif
