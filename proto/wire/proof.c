#include "proto/wire/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

static const char label[] = "spotcraft";

static void make_mac(const char *secret, bool dialled, enum role role, uint64_t incarnation,
                     const uint8_t own[NONCE_BYTES], const uint8_t other[NONCE_BYTES], uint8_t mac[MAC_BYTES])
{
    uint8_t text[sizeof(label) - 1 + 2 + 8 + 2 * NONCE_BYTES], *at = text;
    memcpy(at, label, sizeof(label) - 1);
    at += sizeof(label) - 1;
    *at++ = dialled ? 'D' : 'L';
    *at++ = (uint8_t)role;
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(incarnation >> shift);
    memcpy(at, own, NONCE_BYTES);
    memcpy(at + NONCE_BYTES, other, NONCE_BYTES);
    unsigned len = MAC_BYTES;
    HMAC(EVP_sha256(), secret, (int)strlen(secret), text, sizeof(text), mac, &len);
}

void proof_start(struct proof *p, bool dialled)
{
    *p = (struct proof){.dialled = dialled};
    if (RAND_bytes(p->nonce, NONCE_BYTES) != 1) {
        log_error("no_random_numbers");
        abort(); /* with a nonce that can be guessed, an old proof opens a new link */
    }
}

void proof_hello(const struct proof *p, const struct proof_self *self, struct msg *out)
{
    *out = (struct msg){.kind = MSG_HELLO,
                        .hello = {.world = self->world,
                                  .cell_chunks = CELL_CHUNKS,
                                  .role = self->role,
                                  .incarnation = self->incarnation,
                                  .schema = SCHEMA_VERSION}};
    memcpy(out->hello.nonce, p->nonce, NONCE_BYTES);
}

static const char *misfit(const struct proof *p, const struct proof_self *self, const struct msg_hello *hello)
{
    if (p->met)
        return "a second hello";
    if (strcmp(hello->world, self->world) != 0)
        return "another world";
    if (hello->cell_chunks != CELL_CHUNKS)
        return "another cell size";
    if (hello->schema > SCHEMA_VERSION + SCHEMA_DISTANCE_MAX || hello->schema + SCHEMA_DISTANCE_MAX < SCHEMA_VERSION)
        return "a schema too far from ours";
    if (hello->incarnation == self->incarnation)
        return "a link to myself";
    if (memcmp(hello->nonce, p->nonce, NONCE_BYTES) == 0)
        return "our own nonce";
    if (p->dialled && hello->role != ROLE_NODE)
        return "not a node";
    return NULL;
}

enum err proof_on_hello(struct proof *p, const struct proof_self *self, const struct msg_hello *hello, struct msg *out,
                        const char **why)
{
    const char *wrong = misfit(p, self, hello);
    if (wrong) {
        *why = wrong;
        return ERR_MISMATCH;
    }
    p->met = true;
    p->other = *hello;
    p->other.world = NULL;
    *out = (struct msg){.kind = MSG_PROOF};
    make_mac(self->secret, p->dialled, self->role, self->incarnation, p->nonce, p->other.nonce, out->mac);
    return ERR_OK;
}

enum err proof_on_proof(const struct proof *p, const struct proof_self *self, const uint8_t mac[MAC_BYTES])
{
    uint8_t want[MAC_BYTES];
    if (!p->met)
        return ERR_AUTH;
    make_mac(self->secret, !p->dialled, p->other.role, p->other.incarnation, p->other.nonce, p->nonce, want);
    return CRYPTO_memcmp(mac, want, MAC_BYTES) == 0 ? ERR_OK : ERR_AUTH;
}
