/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LPOS, LREM and LINSERT on lists of which much is cold: the search goes in turns, a fault set of pages ahead
 * at a time, other clients in between. The key is held, so that what is found is still there when it is used.
 * A list that goes all the same (due, evicted, replaced by the last turn of another command) is searched
 * again from the start, as if the command had come after that. Executor only.
 */
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/cmd_list_internal.h"
#include "cmd/turns.h"
#include "page/fault.h"
#include "page/page.h"

#define TURN_PAGES 64u /* searched in one turn */

struct list_turns {
    struct turns turns;
    struct cmd_list__search search;
    struct key_hold *hold;
    uint64_t id;       /* of the list's object */
    uint64_t at, left; /* the page of this element comes next; elements to compare */
    uint64_t skip, matches;
    uint64_t *found;
    size_t count, capacity;
    int is_marked; /* a match on this page is among them */
    int is_over;
};

static void list_destroy(struct turns *turns) {
    struct list_turns *work = (struct list_turns *)turns;
    blocking_unhold(work->hold);
    memory_free(work->found);
    memory_free(work);
}

/* Which list it is: 0 for a small one, which is searched at once. */
static uint64_t id_of(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? ((const struct object *)page_ref_object(ref))->id : 0;
}

static void begin(struct list_turns *work, const struct entry *entry) {
    work->id = id_of(entry);
    work->at = work->search.backwards ? entry->size - 1 : 0;
    work->left = work->search.limit == 0 ? UINT64_MAX : work->search.limit;
    work->skip = work->search.skip;
    work->count = 0;
    work->matches = 0;
    work->is_over = 0;
}

static int match(uint64_t index, void *ctx) {
    struct list_turns *work = ctx;
    if (work->skip > 0) {
        work->skip--;
        return 0;
    }
    if (!work->search.by_page || !work->is_marked) {
        if (work->count == work->capacity) {
            work->capacity = work->capacity == 0 ? 16 : 2 * work->capacity;
            work->found = memory_realloc(work->found, work->capacity * sizeof *work->found);
        }
        work->found[work->count++] = index;
        work->is_marked = 1;
    }
    return ++work->matches == work->search.stop;
}

/* Some pages: 1 there is more, 0 it is over, or an error. */
static int search_some(struct list_turns *work, struct entry *entry) {
    for (unsigned pages = 0; pages < TURN_PAGES; pages++) {
        work->is_marked = 0;
        int more = list_search_page(entry, work->search.element, work->search.backwards, work->at,
                                    &work->left, &work->at, match, work);
        if (more == FIRN_EFAULT) work->turns.progressed = 1; /* those asked for before are done with */
        if (more != 1) return more;
    }
    return 1;
}

static int list_turn(struct turns *turns, struct call *call) {
    struct list_turns *work = (struct list_turns *)turns;
    struct entry *entry;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &entry));
    if (entry == NULL) return work->search.finish(call, NULL, NULL, 0);
    if (id_of(entry) != work->id || work->id == 0) begin(work, entry);
    if (!work->is_over) {
        int more = search_some(work, entry);
        if (more != 0) return more < 0 ? more : FIRN_EPARKED;
        work->is_over = 1;
    }
    return work->search.finish(call, entry, work->found, work->count);
}

int cmd_list__search_in_turns(struct call *call, const struct cmd_list__search *search) {
    struct list_turns *work = memory_alloc_zero(sizeof *work);
    work->turns = (struct turns){.turn = list_turn, .destroy = list_destroy};
    work->search = *search;
    work->hold = blocking_hold(call->db, call->argv[1]);
    return turns_start(call, &work->turns);
}
