/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
 *
 * A plugin for qemu-aarch64 that counts the instructions a guest executes, by kind, between two marks.
 *
 * QEMU's plugin interface is for plugins under a licence compatible with its own (GPL 2 or later): this file
 * may be used under either of the two above. QEMU translates a guest's code block by block; each translated
 * block adds its counts, known when it is translated, to counters in line, so that counting costs next to
 * nothing. The guest marks by a getpid with magic arguments (see runner.c). The counts of what lies between a
 * mark 0 and the next mark 1, the system call of mark 1 included, are one line of the file "out":
 *
 *     vector load_store other vector_load_store
 *
 * vector_load_store is a part of load_store. One guest thread only: the counters are not atomic.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- what is used of QEMU's plugin interface, version 1 ---- */

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };

struct info {
    const char *target_name;
    /* more that is not used */
};

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t));

EXPORT int qemu_plugin_version = 1;

/* ---- the plugin ---- */

enum { GETPID = 172 }; /* on aarch64 */
#define MAGIC 0x666f6f74736567ULL

enum { VECTOR, LOAD_STORE, OTHER, VECTOR_LOAD_STORE, KINDS };

static uint64_t counts[KINDS], at_begin[KINDS];
static int begun;
static FILE *out;

/* The kind of an A64 instruction by the top level of its encoding, bits 28 to 25 (Arm Architecture Reference
 * Manual, C4.1). SVE, 0010, holds its own loads and stores: those with bit 31 set. */
static int kind(uint32_t word, int *of_vectors) {
    uint32_t group = word >> 25 & 0xf;
    *of_vectors = 0;
    if ((group & 0x5) == 0x4) {
        *of_vectors = word >> 26 & 1;
        return LOAD_STORE;
    }
    if (group == 0x2) {
        *of_vectors = word >> 31;
        return word >> 31 ? LOAD_STORE : VECTOR;
    }
    return (group & 0x7) == 0x7 ? VECTOR : OTHER;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
    uint64_t found[KINDS] = {0};
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        uint32_t word;
        int of_vectors;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        found[kind(word, &of_vectors)]++;
        found[VECTOR_LOAD_STORE] += of_vectors;
    }
    for (int k = 0; k < KINDS; k++)
        if (found[k])
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counts[k], found[k]);
}

static void system_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                        uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPID || a1 != MAGIC)
        return;
    if (a2 == 1 && begun) {
        for (int k = 0; k < KINDS; k++)
            fprintf(out, "%llu%c", (unsigned long long)(counts[k] - at_begin[k]), k + 1 < KINDS ? ' ' : '\n');
        fflush(out);
    }
    begun = a2 == 0;
    memcpy(at_begin, counts, sizeof counts);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv) {
    if (strcmp(info->target_name, "aarch64")) {
        fprintf(stderr, "count: the guest is %s, not aarch64\n", info->target_name);
        return -1;
    }
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out) {
        fprintf(stderr, "count: out=FILE is missing or cannot be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    return 0;
}
