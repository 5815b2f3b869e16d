/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists: walks, searches and the operations of the type (contracts in list.h and type.h). */
#include "base/memory.h"
#include "page/fault.h"
#include "types/list_internal.h"

#define TOUCH_MAX      (FAULT_TOUCH_MAX / 8) /* 8 MiB */
#define LOOK_AHEAD_MIN 4u
#define SKIP_PER_SCAN  64u
#define END_HOT_S      30u /* an end used within so many seconds is hot */

/* --- touching --- */

/* Record the pages from ${place} on with elements in [.., end) that are missing, up to ${pages} of them. */
static int touch_ahead(struct list_place *place, int backwards, uint64_t limit, unsigned pages) {
    const struct fault_set *set = fault_current();
    int result = 0;
    do {
        int error = list__touch_ref(place->slot->ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        if (error == FIRN_EFAULT) pages--;
        if (set != NULL && set->count >= FAULT_SET_MAX) break;
        if (backwards ? place->first <= limit : place->first + place->slot->count >= limit) break;
    } while (pages > 0 && (backwards ? list__previous(place) : list__next(place)));
    return result;
}

unsigned list__announce(struct list_place place) {
    unsigned count = 0;
    do {
        page_ahead(place.slot->ref);
        count++;
    } while (count < PAGE_AHEAD_MAX && list__next(&place));
    return count;
}

int list_is_resident(const struct entry *entry) {
    const struct list_object *object = list__object(entry);
    if (object != NULL) return object->head.pages_dram == object->head.pages;
    return !page_ref_is_lower(entry_ref(entry));
}

int list_touch(struct entry *entry, uint64_t start, uint64_t count) {
    struct list_object *object = list__object(entry);
    struct list_place place;
    if (count == 0) return 0;
    if (object == NULL) return list__touch_ref(entry_ref(entry));
    if (object->head.pages_dram == object->head.pages) return 0;
    const struct fault_set *set = fault_current();
    if (set == NULL || set->mode == FAULT_SYNC) return 0; /* read as they are met */
    unsigned missing = 0;
    list__open(entry, start, &place);
    do {
        if (!page_is_ready(place.slot->ref)) missing++;
    } while (missing <= TOUCH_MAX && place.first + place.slot->count < start + count && list__next(&place));
    if (missing == 0) return 0;
    if (missing > TOUCH_MAX) {
        fault_must_finish(); /* more than one command should keep: page by page while walking */
        return 0;
    }
    list__open(entry, start, &place);
    return touch_ahead(&place, 0, start + count, FAULT_SET_MAX);
}

/* --- walking --- */

struct range_run {
    int (*receive)(struct bytes element, void *ctx);
    void *ctx;
};

/* ${count} elements of one page from its number ${at} on. */
static int range_page(const struct list_view *view, uint32_t at, uint64_t count, int backwards,
                      const struct range_run *run) {
    struct list_element element;
    int error = list_page_at(view, at, &element), got = 1;
    if (error != 0) return error;
    for (;;) {
        char digits[NUMBER_INT_TEXT_MAX];
        int stop = run->receive(list_element_text(&element, digits), run->ctx);
        if (stop != 0) return stop;
        if (--count == 0) return 0;
        got = backwards ? list_page_previous(view, &element, &element)
                        : list_page_next(view, &element, &element);
        if (got != 1) return FIRN_ECORRUPT;
    }
}

int list_range(struct entry *entry, uint64_t start, uint64_t count, int backwards,
               int (*receive)(struct bytes element, void *ctx), void *ctx) {
    struct range_run run = {receive, ctx};
    struct list_place place;
    if (count == 0) return 0;
    int error = list_touch(entry, start, count);
    if (error != 0) return error;
    int promote = fault_current() != NULL; /* without a set it is no client that reads: a snapshot */
    uint64_t at = backwards ? start + count - 1 : start;
    unsigned ahead = 0;
    list__open(entry, at, &place);
    for (;;) {
        struct list_view view;
        if (page_reads_ahead && !backwards && ahead-- == 0) ahead = list__announce(place) - 1;
        error = list__read(&place, promote, &view);
        if (error != 0) return error;
        uint64_t in_page = backwards ? at - place.first + 1 : place.first + view.count - at;
        if (in_page > count) in_page = count;
        error = range_page(&view, (uint32_t)(at - place.first), in_page, backwards, &run);
        if (error != 0) return error;
        count -= in_page;
        if (count == 0) return 0;
        at = backwards ? at - in_page : at + in_page;
        if (!(backwards ? list__previous(&place) : list__next(&place))) return FIRN_ECORRUPT;
    }
}

size_t list_range_refs(struct entry *entry, uint64_t start, uint64_t count, uint64_t *refs_out,
                       uint64_t *skip_out) {
    struct list_place place;
    size_t pages = 0;
    list__open(entry, start, &place);
    *skip_out = start - place.first;
    do {
        if (place.first >= start + count) break;
        if (refs_out != NULL) refs_out[pages] = place.slot->ref;
        pages++;
    } while (list__next(&place));
    return pages;
}

int list_each(struct entry *entry, int (*receive)(struct bytes element, void *ctx), void *ctx) {
    return list_range(entry, 0, entry->size, 0, receive, ctx);
}

int list_at(struct entry *entry, uint64_t index, char digits[NUMBER_INT_TEXT_MAX],
            struct bytes *element_out) {
    struct list_place place;
    struct list_view view;
    struct list_element element;
    list__open(entry, index, &place);
    int error = list__read(&place, 1, &view);
    if (error == 0) error = list_page_at(&view, (uint32_t)(index - place.first), &element);
    if (error == 0) *element_out = list_element_text(&element, digits);
    return error;
}

/* --- searching --- */

struct search_run {
    struct list_item item;
    int backwards;
    uint64_t left; /* elements to compare */
    int (*found)(uint64_t index, void *ctx);
    void *ctx;
};

static int search_page(const struct list_view *view, uint64_t first, struct search_run *run) {
    struct list_element element;
    int backwards = run->backwards;
    uint64_t index = backwards ? first + view->count - 1 : first;
    int got = backwards ? list_page_last(view, &element) : list_page_first(view, &element);
    while (got == 1 && run->left > 0) {
        run->left--;
        if (list_element_is(view, &element, &run->item)) {
            int stop = run->found(index, run->ctx);
            if (stop != 0) return stop;
        }
        index += backwards ? UINT64_MAX : 1;
        got = backwards ? list_page_previous(view, &element, &element)
                        : list_page_next(view, &element, &element);
    }
    return got < 0 ? got : 0;
}

/* The page of the place is missing: ask for it and some behind it, the more the further the search came. */
static int search_missing(struct list_place *place, const struct search_run *run, uint64_t searched) {
    uint64_t size = place->entry->size, ahead = searched < LOOK_AHEAD_MIN ? LOOK_AHEAD_MIN : searched;
    uint64_t end;
    if (run->backwards) {
        uint64_t from = place->first + place->slot->count;
        end = from > run->left ? from - run->left : 0;
    } else {
        end = run->left < size - place->first ? place->first + run->left : size;
    }
    return touch_ahead(place, run->backwards, end, (unsigned)(ahead > FAULT_SET_MAX ? FAULT_SET_MAX : ahead));
}

int list_search_page(struct entry *entry, struct bytes text, int backwards, uint64_t at, uint64_t *left_inout,
                     uint64_t *next_out, int (*found)(uint64_t index, void *ctx), void *ctx) {
    struct search_run run = {.backwards = backwards, .left = *left_inout, .found = found, .ctx = ctx};
    struct list_place place;
    struct list_view view;
    *next_out = at;
    if (text.size > LIST_ELEMENT_BYTES_MAX) return 0;
    list_item_make(text, &run.item);
    list__open(entry, at, &place);
    if (!page_is_ready(place.slot->ref)) return search_missing(&place, &run, FAULT_SET_MAX);
    int error = list__read(&place, 0, &view);
    if (error == 0) error = search_page(&view, place.first, &run);
    *left_inout = run.left;
    if (error != 0) return error < 0 ? error : 0;
    *next_out = backwards ? place.first - 1 : place.first + place.slot->count;
    return run.left > 0 && (backwards ? place.first > 0 : *next_out < entry->size);
}

int list_touch_at(struct entry *entry, const uint64_t *marks, size_t count) {
    const struct fault_set *set = fault_current();
    int result = 0;
    for (size_t i = 0; i < count && (set == NULL || set->count < FAULT_SET_MAX); i++) {
        struct list_place place;
        list__open(entry, marks[i], &place);
        int error = list__touch_ref(place.slot->ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

int list_search(struct entry *entry, struct bytes text, int backwards, uint64_t limit, int may_block,
                int (*found)(uint64_t index, void *ctx), void *ctx) {
    struct search_run run = {
        .backwards = backwards, .left = limit == 0 ? UINT64_MAX : limit, .found = found, .ctx = ctx};
    struct list_place place;
    uint64_t lower = 0; /* pages that are kept for this search */
    if (entry->size == 0 || text.size > LIST_ELEMENT_BYTES_MAX) return 0;
    list_item_make(text, &run.item);
    list__open(entry, backwards ? entry->size - 1 : 0, &place);
    do {
        struct list_view view;
        const struct fault_set *set = fault_current();
        if (set != NULL && set->mode == FAULT_ASYNC && !page_is_ready(place.slot->ref)) {
            if (lower < TOUCH_MAX) return search_missing(&place, &run, lower);
            if (!may_block) return FIRN_ETOOBIG;
            fault_must_finish();
        }
        int error = list__read(&place, 0, &view);
        if (error == 0) error = search_page(&view, place.first, &run);
        if (error != 0) return error < 0 ? error : 0;
        lower += page_ref_tag(place.slot->ref) == PAGE_TAG_NVME;
    } while (run.left > 0 && (backwards ? list__previous(&place) : list__next(&place)));
    return 0;
}

/* --- freeing and copying --- */

static void list_free_value(struct entry *entry) {
    struct list_object *object = list__object(entry);
    uint64_t ref = entry_ref(entry);
    entry_store_ref(entry, 0);
    if (object != NULL) {
        type_reap_later(&object->head);
    } else {
        page_release(ref);
    }
}

static int list_reap(struct object *head, unsigned pages) {
    struct list_object *object = (struct list_object *)head;
    for (int end = 0; end < 2; end++) {
        struct page_slot slot = object->ends[end];
        if (slot.ref == 0) continue;
        list__account(object, &slot, -1);
        page_release(slot.ref);
        object->ends[end].ref = 0;
    }
    for (; pages > 0 && object->middle.pages > 0; pages--) {
        struct sequence_cursor cursor;
        page_sequence_at(&object->middle, object->middle.pages - 1, &cursor);
        struct page_slot slot = *page_sequence_slot(&cursor);
        if (slot.ref != 0) {
            list__account(object, &slot, -1);
            page_release(slot.ref);
        }
        page_sequence_remove(&object->middle, &cursor);
    }
    if (object->middle.pages > 0) return 1;
    list__object_free(object);
    return 0;
}

/* A large copy of a large one: the same pages, shared. */
static uint64_t list_copy_object(struct entry *source) {
    struct list_object *object = list__object_create();
    struct list_place place;
    list__open(source, 0, &place);
    do {
        struct page_slot slot = *place.slot;
        page_share(slot.ref);
        list__account(object, &slot, 1);
        if (place.where == LIST_AT_MIDDLE) {
            list__insert_middle(object, object->middle.pages, slot);
        } else {
            object->ends[place.where] = slot;
        }
    } while (list__next(&place));
    return page_ref_of_object(object);
}

static int list_copy_value(struct entry *source, struct entry **target_inout) {
    uint64_t ref = 0;
    int error = 0;
    if (source->size > 0 && list__object(source) != NULL) {
        ref = list_copy_object(source);
    } else if (source->size > 0) {
        error = list__error(page_duplicate(entry_ref(source), &ref));
    }
    if (error != 0) return error;
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == TYPE_LIST && target->flags & ENTRY_REF);
    entry_store_ref(target, ref);
    target->size = source->size;
    entry_set_encoding(target, entry_encoding(source));
    return 0;
}

/* --- other operations of the type --- */

struct walk_run {
    int (*receive)(const struct type_element *element, void *ctx);
    void *ctx;
};

static int list_walk_receive(struct bytes text, void *ctx) {
    const struct walk_run *run = ctx;
    struct type_element element = {.name = text, .expiry_ms = -1};
    return run->receive(&element, run->ctx);
}

static int list_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                     void *ctx) {
    struct walk_run run = {.receive = receive, .ctx = ctx};
    return list_each(entry, list_walk_receive, &run);
}

static size_t list_memory(const struct entry *entry, size_t samples) {
    const struct list_object *object = list__object(entry);
    uint64_t ref = entry_ref(entry);
    if (object == NULL)
        return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_memory(page_ref_dram(ref)) : 0;
    size_t bytes = memory_usable(object) + object->middle.bytes, pages_bytes = 0, seen = 0;
    struct list_place place;
    if (entry->size == 0) return bytes;
    list__open((struct entry *)(uintptr_t)entry, 0, &place);
    do {
        if (page_ref_tag(place.slot->ref) != PAGE_TAG_DRAM) continue;
        pages_bytes += page_memory(page_ref_dram(place.slot->ref));
        if (++seen == samples) break;
    } while (list__next(&place));
    return seen > 0 ? bytes + pages_bytes * object->head.pages_dram / seen : bytes;
}

static size_t list_free_effort(const struct entry *entry) {
    const struct list_object *object = list__object(entry);
    return object != NULL ? object->head.pages : 1;
}

/*
 * A locator names a slot: the two low bits are its enum list_where, then 16 bits its id (0 at an end), then
 * its ordinal in the middle. The sweep goes head, tail, middle: it is 0, 1, or an ordinal.
 */
static uint64_t locator_of(enum list_where where, const struct page_slot *slot, uint64_t ordinal) {
    return where == LIST_AT_MIDDLE ? ordinal << 18 | (uint64_t)slot->id << 2 | where : (uint64_t)where;
}

static int offer(const struct page_slot *slot, int from, int is_end, uint64_t locator,
                 struct type_victim *victim_out) {
    uint64_t ref = slot->ref;
    if (ref == 0 || (int)page_ref_tag(ref) != from) return 0;
    uint32_t clock = 0;
    if (from == PAGE_TAG_DRAM) {
        clock = page_ref_dram(ref)->clock;
        if (page_ref_dram(ref)->moving) return 0;
        if (is_end && type_keeps_hot && page_clock() - clock < END_HOT_S) return 0;
    }
    *victim_out = (struct type_victim){.ref = ref, .locator = locator, .clock = clock};
    return 1;
}

/* The slots at the ends that the sweep is at; it goes on to them. */
static unsigned offer_ends(struct list_object *object, int from, uint64_t stop, unsigned *scan_inout,
                           struct type_victim *victims_out, unsigned limit) {
    unsigned found = 0;
    for (; object->head.sweep<stop && * scan_inout> 0 && found < limit; object->head.sweep++) {
        enum list_where where = (enum list_where)object->head.sweep;
        *scan_inout -= object->ends[where].ref != 0;
        found +=
            (unsigned)offer(&object->ends[where], from, 1, locator_of(where, NULL, 0), &victims_out[found]);
    }
    return found;
}

/*
 * Slots of the middle from the sweep on, before ordinal ${end}. Of a long list that grows at its end nearly
 * all pages are below: those are passed over at little cost (SKIP_PER_SCAN of them count as one) when pages
 * in DRAM are asked for, and dram_low follows.
 */
static unsigned offer_middle(struct list_object *object, int from, uint64_t end, unsigned *scan_inout,
                             struct type_victim *victims_out, unsigned limit) {
    struct object *head = &object->head;
    struct sequence_cursor cursor;
    unsigned found = 0, skipped = 0;
    page_sequence_at(&object->middle, head->sweep - object->middle.base, &cursor);
    do {
        const struct page_slot *slot = page_sequence_slot(&cursor);
        int is_below = from == PAGE_TAG_DRAM && page_ref_tag(slot->ref) != PAGE_TAG_DRAM;
        if (is_below && head->sweep == object->dram_low) object->dram_low++;
        if (!is_below)
            found += (unsigned)offer(slot, from, 0, locator_of(LIST_AT_MIDDLE, slot, head->sweep),
                                     &victims_out[found]);
        if (!is_below || ++skipped % SKIP_PER_SCAN == 0) --*scan_inout;
        head->sweep++;
    } while (*scan_inout > 0 && found < limit && head->sweep < end && page_sequence_next(&cursor));
    return found;
}

static unsigned list_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                             unsigned limit) {
    struct list_object *object = (struct list_object *)head;
    const struct page_sequence *middle = &object->middle;
    uint64_t start = head->sweep; /* once around at most */
    unsigned found = 0;
    if (scan > head->pages) scan = head->pages;
    for (unsigned round = 0; round < 2 && scan > 0 && found < limit; round++) {
        uint64_t begin = middle->base, end = middle->base + middle->pages;
        found += offer_ends(object, from, round == 0 || start > 2 ? 2 : start, &scan, victims_out + found,
                            limit - found);
        if (head->sweep < 2) break;
        if (from == PAGE_TAG_DRAM) {
            if (begin < object->dram_low) begin = object->dram_low;
            if (end > object->dram_high) end = object->dram_high;
        }
        if (round > 0 && end > start) end = start;
        if (head->sweep < begin) head->sweep = begin;
        if (scan > 0 && found < limit && head->sweep < end)
            found += offer_middle(object, from, end, &scan, victims_out + found, limit - found);
        if (head->sweep >= end && round == 0) head->sweep = 0;
    }
    return found;
}

#define LOCATE_NEAR 4u /* slots to each side: pages may have come or gone in front of it */

static uint64_t *list_locate(struct object *head, uint64_t locator) {
    struct list_object *object = (struct list_object *)head;
    struct page_sequence *middle = &object->middle;
    enum list_where where = (enum list_where)(locator & 3u);
    if (where != LIST_AT_MIDDLE) return object->ends[where].ref != 0 ? &object->ends[where].ref : NULL;
    uint64_t ordinal = locator >> 18;
    uint16_t id = (uint16_t)(locator >> 2);
    uint64_t from = ordinal > middle->base + LOCATE_NEAR ? ordinal - LOCATE_NEAR - middle->base : 0;
    for (uint64_t position = from; position < middle->pages && position <= from + 2 * LOCATE_NEAR;
         position++) {
        struct sequence_cursor cursor;
        page_sequence_at(middle, position, &cursor);
        struct page_slot *slot = page_sequence_slot(&cursor);
        if (slot->id == id) return &slot->ref;
    }
    return NULL;
}

static void check_page(const struct page_slot *slot, uint64_t *bytes_inout, uint64_t *pages_dram_inout) {
    if (page_ref_tag(slot->ref) != PAGE_TAG_DRAM) return;
    const struct page *page = page_ref_dram(slot->ref);
    FIRN_ASSERT(page->refs > 0 && list_page_check(bytes_of(page->data, page->bytes)) == 0);
    FIRN_ASSERT(list_page_count(page) == slot->count && slot->count > 0);
    FIRN_ASSERT(LIST_PAGE_HEAD_BYTES + list_page_used(page) <= LIST_PAGE_SPLIT_BYTES || slot->count == 1);
    *bytes_inout += page->bytes;
    ++*pages_dram_inout;
}

static void check_dram_bounds(const struct list_object *object) {
    if (object == NULL) return;
    for (uint64_t i = 0; i < object->middle.pages; i++) {
        struct sequence_cursor cursor;
        uint64_t ordinal = object->middle.base + i;
        page_sequence_at(&object->middle, i, &cursor);
        FIRN_ASSERT(page_ref_tag(page_sequence_slot(&cursor)->ref) != PAGE_TAG_DRAM ||
                    (ordinal >= object->dram_low && ordinal < object->dram_high));
    }
}

static void list_check(const struct entry *entry) {
    const struct list_object *object = list__object(entry);
    struct list_place place;
    uint64_t count = 0, bytes = 0, element_bytes = 0, pages = 0, pages_dram = 0;
    if (object != NULL) {
        FIRN_ASSERT(object->head.magic == OBJECT_MAGIC && object->head.type == TYPE_LIST);
        page_sequence_check(&object->middle);
    }
    if (entry->size == 0) {
        FIRN_ASSERT(object == NULL ? entry_ref(entry) == 0 : object->head.pages == 0);
        return;
    }
    list__open((struct entry *)(uintptr_t)entry, 0, &place);
    do {
        FIRN_ASSERT(place.first == count && place.slot->ref != 0);
        check_page(place.slot, &bytes, &pages_dram);
        FIRN_ASSERT(object == NULL || page_ref_tag(place.slot->ref) != PAGE_TAG_DRAM ||
                    list_page_used(page_ref_dram(place.slot->ref)) == place.slot->bytes);
        element_bytes += place.slot->bytes;
        count += place.slot->count;
        pages++;
    } while (list__next(&place));
    FIRN_ASSERT(count == entry->size);
    check_dram_bounds(object);
    FIRN_ASSERT(object == NULL ||
                (pages == object->head.pages && pages_dram == object->head.pages_dram &&
                 bytes == object->head.dram_bytes && element_bytes == object->element_bytes));
}

const struct type_ops type_list_ops = {
    .name = "list",
    .free_value = list_free_value,
    .reap = list_reap,
    .copy_value = list_copy_value,
    .walk = list_walk,
    .memory = list_memory,
    .free_effort = list_free_effort,
    .encode = list__encode,
    .decode = list__decode,
    .victims = list_victims,
    .locate = list_locate,
    .check = list_check,
};
