/* proof.h - the first words on a link: who we are, and the proof that we know the world's secret.
 *
 *      hello(nonce A) ------>   <------ hello(nonce B)
 *      proof(B's nonce) ---->   <------ proof(A's nonce)
 *
 * A proof is an HMAC-SHA256 under the secret over who dialled, role, incarnation and both nonces: it is good for one
 * side of one link. Repeated on another link the nonces differ; sent back to its author, or passed on to somebody whom
 * one dialled oneself, the side differs. Pure but for the nonce; no I/O. */
#ifndef PROTO_WIRE_PROOF_H
#define PROTO_WIRE_PROOF_H

#include "proto/wire/msg.h"

/* What both ends know and what this end says. */
struct proof_self {
    const char *world, *secret;
    enum role role;
    uint64_t incarnation;
};

/* One link's handshake, from one end. */
struct proof {
    bool dialled; /* this end did */
    bool met;     /* the other's hello came, and fits */
    uint8_t nonce[NONCE_BYTES];
    struct msg_hello other; /* world is not kept */
};

void proof_start(struct proof *p, bool dialled);
void proof_hello(const struct proof *p, const struct proof_self *self, struct msg *out);
/* The other's hello. ERR_OK: *out is the proof to send. Else *why says what does not fit. */
enum err proof_on_hello(struct proof *p, const struct proof_self *self, const struct msg_hello *hello, struct msg *out,
                        const char **why);
/* The other's proof. ERR_AUTH: not made with our secret for this link. */
enum err proof_on_proof(const struct proof *p, const struct proof_self *self, const uint8_t mac[MAC_BYTES]);

#endif
