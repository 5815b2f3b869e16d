/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists: places (a page of a list under the hand), the ends, and the reported encoding; layout and invariants
 * in list.h. Every change of a slot goes through a place, so that it is accounted in one spot (list__close).
 * Changes in the middle are in list_change.c, walks and type operations in list_walk.c.
 */
#include "types/list.h"

#include "base/memory.h"
#include "page/fault.h"
#include "types/list_internal.h"

#define LISTPACK_OVERHEAD   7u    /* header and end of Redis's listpack: its size is what limits count */
#define SAFE_LISTPACK_BYTES 8192u /* a limit by number of elements has this one too */
#define FULL_PAGE_FROM      4u    /* pages: a new one at an end is made as large as it can get */
#define SHRINK_ABOVE        128u

struct entry *list_create(struct bytes key) {
    return entry_create(key, TYPE_LIST, ENCODING_LISTPACK, 1, 0, 0);
}

struct list_object *list__object_create(void) {
    struct list_object *object = memory_alloc_zero(sizeof *object);
    page_sequence_init(&object->middle);
    object_register(&object->head, TYPE_LIST);
    return object;
}

void list__object_free(struct list_object *object) {
    FIRN_ASSERT(object->head.pages == 0 && object->head.pages_dram == 0 && object->head.dram_bytes == 0);
    page_sequence_fini(&object->middle);
    object_unregister(&object->head);
    memory_free(object);
}

/* --- places --- */

static inline uint32_t dram_bytes(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref)->bytes : 0;
}

static inline int is_dram(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
}

static inline void place_remember(struct list_place *place) {
    place->before_ref = place->slot->ref;
    place->before_bytes = place->slot->bytes;
    place->before_page_bytes = dram_bytes(place->slot->ref);
}

static inline void place_small(struct entry *entry, struct list_place *place) {
    place->copy = (struct page_slot){.ref = entry_ref(entry), .count = (uint16_t)entry->size};
    place->slot = &place->copy;
    place->where = LIST_AT_HEAD;
    place->first = 0;
}

static inline void place_end(struct list_place *place, enum list_end end) {
    place->where = (enum list_where)end;
    place->slot = &place->object->ends[end];
    place->first =
        end == LIST_HEAD ? 0 : place->object->ends[LIST_HEAD].count + place->object->middle.elements;
}

void list__open(struct entry *entry, uint64_t index, struct list_place *place) {
    struct list_object *object = list__object(entry);
    place->entry = entry;
    place->object = object;
    if (object == NULL) {
        place_small(entry, place);
    } else if (index < object->ends[LIST_HEAD].count) {
        place_end(place, LIST_HEAD);
    } else if (index - object->ends[LIST_HEAD].count < object->middle.elements) {
        page_sequence_find(&object->middle, index - object->ends[LIST_HEAD].count, &place->cursor,
                           &place->first);
        place->first += object->ends[LIST_HEAD].count;
        place->where = LIST_AT_MIDDLE;
        place->slot = page_sequence_slot(&place->cursor);
    } else {
        place_end(place, LIST_TAIL);
    }
    place_remember(place);
}

void list__open_end(struct entry *entry, enum list_end end, struct list_place *place) {
    place->entry = entry;
    place->object = list__object(entry);
    if (place->object == NULL) {
        place_small(entry, place);
    } else {
        place_end(place, end);
    }
    place_remember(place);
}

int list__next(struct list_place *place) {
    struct list_object *object = place->object;
    if (object == NULL || place->where == LIST_AT_TAIL) return 0;
    uint64_t first = place->first + place->slot->count;
    int in_middle =
        place->where == LIST_AT_HEAD ? object->middle.pages > 0 : page_sequence_next(&place->cursor);
    if (in_middle) {
        if (place->where == LIST_AT_HEAD) page_sequence_at(&object->middle, 0, &place->cursor);
        place->where = LIST_AT_MIDDLE;
        place->slot = page_sequence_slot(&place->cursor);
    } else {
        if (object->ends[LIST_TAIL].ref == 0) return 0;
        place_end(place, LIST_TAIL);
    }
    place->first = first;
    place_remember(place);
    return 1;
}

int list__previous(struct list_place *place) {
    struct list_object *object = place->object;
    if (object == NULL || place->where == LIST_AT_HEAD) return 0;
    int in_middle =
        place->where == LIST_AT_TAIL ? object->middle.pages > 0 : page_sequence_previous(&place->cursor);
    if (in_middle) {
        if (place->where == LIST_AT_TAIL)
            page_sequence_at(&object->middle, object->middle.pages - 1, &place->cursor);
        place->where = LIST_AT_MIDDLE;
        place->slot = page_sequence_slot(&place->cursor);
        place->first -= place->slot->count;
    } else {
        if (object->ends[LIST_HEAD].ref == 0) return 0;
        place_end(place, LIST_HEAD);
    }
    place_remember(place);
    return 1;
}

int list__read(struct list_place *place, int promote, struct list_view *view) {
    struct bytes payload;
    int was_dram = is_dram(place->slot->ref);
    int error =
        promote ? page_read(&place->slot->ref, &payload) : page_peek(place->slot->ref, &payload, NULL);
    if (error != 0) return list__error(error);
    if (!was_dram && is_dram(place->slot->ref)) list__close(place); /* promoted */
    error = list_page_open(payload, view);
    return error == 0 && view->count != place->slot->count ? FIRN_ECORRUPT : error;
}

int list__read_to_change(struct list_place *place, struct list_view *view) {
    int error = list__read(place, 0, view);
    if (error != 0 || !page_ref_is_lower(place->slot->ref)) return error;
    return list_page_check(view->payload);
}

int list__write(struct list_place *place, size_t capacity, struct page **page_out) {
    return list__error(page_write(&place->slot->ref, capacity, page_out));
}

void list__close(struct list_place *place) {
    uint64_t ref = place->slot->ref;
    FIRN_ASSERT(is_dram(ref));
    if (place->object == NULL) {
        if (ref != place->before_ref) entry_store_ref(place->entry, ref);
        place->before_ref = ref;
        return;
    }
    const struct page *page = page_ref_dram(ref);
    uint16_t count = (uint16_t)list_page_count(page);
    place->slot->bytes = list_page_used(page);
    if (count != place->slot->count) {
        if (place->where == LIST_AT_MIDDLE) {
            page_sequence_recount(&place->object->middle, &place->cursor, count);
        } else {
            place->slot->count = count;
        }
    }
    place->object->element_bytes += (uint64_t)place->slot->bytes - place->before_bytes;
    if (place->where == LIST_AT_MIDDLE && !is_dram(place->before_ref))
        list__note_dram(place->object, place->object->middle.base + page_sequence_position(&place->cursor));
    if (ref != place->before_ref || page->bytes != place->before_page_bytes)
        object_account(&place->object->head, (int64_t)page->bytes - place->before_page_bytes,
                       place->before_ref == 0, 1 - is_dram(place->before_ref));
    place_remember(place);
}

void list__account(struct list_object *object, const struct page_slot *slot, int sign) {
    int dram = is_dram(slot->ref);
    object_account(&object->head, sign * (int64_t)dram_bytes(slot->ref), sign, sign * dram);
    object->element_bytes += (uint64_t)((int64_t)sign * slot->bytes);
}

struct page_slot list__take(struct list_place *place) {
    struct page_slot slot = *place->slot;
    if (place->object == NULL) {
        entry_store_ref(place->entry, 0);
        return slot;
    }
    list__account(place->object, &slot, -1);
    if (place->where == LIST_AT_MIDDLE) {
        page_sequence_remove(&place->object->middle, &place->cursor);
        if (place->object->dram_low > 0) place->object->dram_low--; /* what is behind it comes one nearer */
    } else {
        *place->slot = (struct page_slot){.ref = 0};
    }
    return slot;
}

void list__drop(struct list_place *place) {
    page_release(list__take(place).ref);
}

struct page_slot list__slot_of(const struct page *page) {
    return (struct page_slot){
        .ref = page_ref_of(page), .bytes = list_page_used(page), .count = (uint16_t)list_page_count(page)};
}

/* --- small and large --- */

struct list_object *list__make_large(struct entry *entry, enum list_end end) {
    uint64_t ref = entry_ref(entry);
    struct list_object *object = list__object_create();
    FIRN_ASSERT(is_dram(ref));
    object->ends[end] = list__slot_of(page_ref_dram(ref));
    list__account(object, &object->ends[end], 1);
    entry_store_ref(entry, page_ref_of_object(object));
    object_set_pinned(entry);
    return object;
}

void list__make_small(struct entry *entry) {
    struct list_object *object = list__object(entry);
    struct list_place place;
    if (object == NULL || object->head.pages != 1 || entry->size == 0) return;
    if (object->element_bytes > LIST_PAGE_SPLIT_BYTES / 2) return;
    list__open(entry, 0, &place);
    if (!is_dram(place.slot->ref)) return; /* the next change brings it here */
    struct page_slot slot = list__take(&place);
    list__object_free(object);
    entry_store_ref(entry, slot.ref);
}

void list__insert_middle(struct list_object *object, uint64_t position, struct page_slot slot) {
    struct page_sequence *middle = &object->middle;
    int shifts = position > 0 && position < middle->pages;
    page_sequence_insert(middle, position, slot);
    if (shifts && object->dram_low < object->dram_high) object->dram_high++;
    if (is_dram(slot.ref)) list__note_dram(object, middle->base + position);
}

/* The page at ${end} of a large list goes where the next one can take its place. */
static void end_vacate(struct list_object *object, enum list_end end) {
    enum list_end other = end == LIST_HEAD ? LIST_TAIL : LIST_HEAD;
    if (object->ends[end].ref == 0) return;
    if (object->middle.pages == 0 && object->ends[other].ref == 0) {
        object->ends[other] = object->ends[end];
    } else {
        list__insert_middle(object, end == LIST_HEAD ? 0 : object->middle.pages, object->ends[end]);
    }
    object->ends[end] = (struct page_slot){.ref = 0};
}

/* Give ${end} a page if the middle has any. */
static void end_fill(struct list_object *object, enum list_end end) {
    struct sequence_cursor cursor;
    if (object->ends[end].ref != 0 || object->middle.pages == 0) return;
    page_sequence_at(&object->middle, end == LIST_HEAD ? 0 : object->middle.pages - 1, &cursor);
    object->ends[end] = *page_sequence_slot(&cursor);
    page_sequence_remove(&object->middle, &cursor);
}

void list__add_page(struct list_place *place, int after, struct page_slot slot) {
    struct list_object *object = place->object;
    list__account(object, &slot, 1);
    if (place->where == LIST_AT_MIDDLE) {
        list__insert_middle(object, page_sequence_position(&place->cursor) + (after ? 1 : 0), slot);
        return;
    }
    enum list_end end = (enum list_end)place->where;
    int outside = (end == LIST_HEAD) != (after != 0);
    if (outside) {
        end_vacate(object, end);
        object->ends[end] = slot;
    } else {
        enum list_end other = end == LIST_HEAD ? LIST_TAIL : LIST_HEAD;
        if (object->middle.pages == 0 && object->ends[other].ref == 0) {
            object->ends[other] = slot;
        } else {
            list__insert_middle(object, end == LIST_HEAD ? 0 : object->middle.pages, slot);
        }
    }
}

/* --- encodings --- */

/* The limit as bytes (0: none) and elements (0: none). */
static void encoding_limits(size_t *bytes_out, size_t *count_out) {
    static const size_t sizes[] = {4096, 8192, 16384, 32768, 65536};
    int64_t limit = type_limits.list_max_listpack_size;
    *bytes_out = *count_out = 0;
    if (limit >= 0) {
        *count_out = limit == 0 ? 1 : (size_t)limit;
    } else {
        *bytes_out = sizes[limit < -5 ? 4 : -limit - 1];
    }
}

int list__fits_listpack(uint64_t count, uint64_t bytes, unsigned part) {
    size_t bytes_max, count_max;
    encoding_limits(&bytes_max, &count_max);
    bytes += LISTPACK_OVERHEAD;
    if (bytes_max != 0) return bytes <= bytes_max / part;
    return bytes <= SAFE_LISTPACK_BYTES && count <= count_max / part;
}

uint64_t list__element_bytes(const struct entry *entry) {
    const struct list_object *object = list__object(entry);
    if (object != NULL) return object->element_bytes;
    return is_dram(entry_ref(entry)) ? list_page_used(page_ref_dram(entry_ref(entry))) : 0;
}

int list_expect(struct entry *entry, size_t count, size_t bytes) {
    if (entry_encoding(entry) != ENCODING_LISTPACK) return 0;
    uint64_t now = list__element_bytes(entry);
    if (now == 0 && entry->size > 0) { /* a small list whose page is below */
        struct list_place place;
        struct list_view view;
        list__open_end(entry, LIST_HEAD, &place);
        int error = list__read(&place, 0, &view);
        if (error != 0) return error;
        now = view.payload.size - view.begin;
    }
    if (!list__fits_listpack(entry->size + (uint64_t)count, now + bytes, 1)) {
        entry_set_encoding(entry, ENCODING_QUICKLIST);
        entry->flags |=
            ENTRY_RENAMED; /* a record of it names another encoding (LINSERT that finds nothing) */
    }
    return 0;
}

void list_shrunk(struct entry *entry) {
    if (entry_encoding(entry) != ENCODING_QUICKLIST || entry->size == 0) return;
    uint64_t bytes = list__element_bytes(entry);
    if (bytes > 0 && list__fits_listpack(entry->size, bytes, 2)) entry_set_encoding(entry, ENCODING_LISTPACK);
}

void list_settle_encoding(struct entry *entry, size_t pieces) {
    int fits = pieces == 1 && list__fits_listpack(entry->size, list__element_bytes(entry), 1);
    entry_set_encoding(entry, fits ? ENCODING_LISTPACK : ENCODING_QUICKLIST);
}

/* --- the ends --- */

int list__touch_ref(uint64_t ref) {
    if (ref == 0 || page_is_ready(ref)) return 0;
    struct bytes payload;
    return list__error(page_peek(ref, &payload, NULL));
}

int list_touch_end(struct entry *entry, enum list_end end) {
    struct list_place place;
    list__open_end(entry, end, &place);
    if (place.slot->ref != 0) return list__touch_ref(place.slot->ref);
    if (entry->size == 0) return 0;
    list__open(entry, end == LIST_HEAD ? 0 : entry->size - 1, &place);
    return list__touch_ref(place.slot->ref);
}

/* A first page for ${item} at the place, which has none. */
static int push_fresh(struct list_place *place, enum list_end end, const struct list_item *item) {
    size_t capacity = LIST_PAGE_HEAD_BYTES + item->bytes;
    if (place->object != NULL) {
        if (capacity < LIST_PAGE_SPLIT_BYTES)
            capacity = place->object->head.pages >= FULL_PAGE_FROM || capacity > LIST_PAGE_SPLIT_BYTES / 8
                           ? LIST_PAGE_SPLIT_BYTES
                           : LIST_PAGE_SPLIT_BYTES / 8;
    }
    struct page *page = page_try_create(capacity);
    if (page == NULL) return FIRN_ENOMEM;
    list_page_init(page, end == LIST_HEAD);
    list_page_push(page, end == LIST_HEAD, item);
    place->slot->ref = page_ref_of(page);
    return 0;
}

/* Room for ${item} at ${end} of a private page, which has too little there but may hold all together. */
static int push_make_room(struct list_place *place, struct page *page, enum list_end end, uint32_t bytes) {
    uint32_t used = list_page_used(page), need = LIST_PAGE_HEAD_BYTES + used + bytes;
    int at_head = end == LIST_HEAD;
    if (need > page->capacity || used > page->capacity / 4 * 3) {
        uint32_t more = need + used / 4 + 8;
        if (more > LIST_PAGE_SPLIT_BYTES) more = LIST_PAGE_SPLIT_BYTES;
        if (more < need) more = need; /* the only element of its page */
        int error = list__write(place, more, &page);
        if (error != 0) return error;
        if (list_page_room(page, at_head) < bytes)
            list_page_slide(page, at_head ? page->capacity - LIST_PAGE_HEAD_BYTES - used : 0);
    } else { /* pushes may come from both sides */
        uint32_t free = page->capacity - need;
        list_page_slide(page, free / 2 + (at_head ? bytes : 0));
    }
    return 0;
}

/* The page of the place is full, or not to be shared with what comes: a new one begins at ${end}. */
static void push_open_page(struct list_place *place, enum list_end end) {
    struct entry *entry = place->entry;
    if (place->object == NULL) {
        list__make_large(entry, end == LIST_HEAD ? LIST_TAIL : LIST_HEAD);
    } else {
        end_vacate(place->object, end);
    }
    list__open_end(entry, end, place);
}

static int push_slow(struct list_place *place, enum list_end end, const struct list_item *item) {
    struct list_view view;
    struct page *page;
    if (place->slot->ref == 0) return push_fresh(place, end, item);
    int error = list__read_to_change(place, &view);
    if (error != 0) return error;
    size_t need = LIST_PAGE_HEAD_BYTES + view.payload.size - view.begin + item->bytes;
    if (need > LIST_PAGE_SPLIT_BYTES) {
        if (place->object == NULL && !is_dram(place->slot->ref)) { /* the object's sums want it here */
            error = list__write(place, view.payload.size, &page);
            if (error != 0) return error;
            list__close(place);
        }
        push_open_page(place, end);
        return push_fresh(place, end, item);
    }
    error = list__write(place, view.payload.size, &page);
    if (error != 0) return error;
    if (list_page_room(page, end == LIST_HEAD) < item->bytes)
        error = push_make_room(place, page, end, item->bytes);
    if (error == 0) list_page_push(page_ref_dram(place->slot->ref), end == LIST_HEAD, item);
    if (error != 0) list__close(place);
    return error;
}

/* Whether ${page} takes ${bytes} more at an end as it is. */
static inline int push_fits(const struct page *page, enum list_end end, uint32_t bytes) {
    return page->refs == 1 && page->lower == 0 && list_page_room(page, end == LIST_HEAD) >= bytes &&
           LIST_PAGE_HEAD_BYTES + list_page_used(page) + bytes <= LIST_PAGE_SPLIT_BYTES;
}

int list_push(struct entry *entry, enum list_end end, struct bytes element) {
    struct list_item item;
    struct list_place place;
    if (element.size > LIST_ELEMENT_BYTES_MAX || entry->size == UINT32_MAX) return FIRN_ETOOBIG;
    list_item_make(element, &item);
    list__open_end(entry, end, &place);
    if (__builtin_expect(
            is_dram(place.slot->ref) && push_fits(page_ref_dram(place.slot->ref), end, item.bytes), 1)) {
        struct page *page = page_ref_dram(place.slot->ref);
        page->clock = page_clock();
        list_page_push(page, end == LIST_HEAD, &item);
    } else {
        int error = push_slow(&place, end, &item);
        if (error != 0) return error;
    }
    entry->size++;
    list__close(&place);
    return 0;
}

void list__shrink(struct list_place *place, struct page *page) {
    uint32_t used = list_page_used(page);
    if (place->object != NULL && place->where != LIST_AT_MIDDLE) return; /* it will grow again */
    if (page->capacity <= SHRINK_ABOVE || used >= page->capacity / 4) return;
    struct page *smaller = page_try_create(LIST_PAGE_HEAD_BYTES + used + used / 4);
    if (smaller == NULL) return;
    list_page_init(smaller, 0);
    list_page_append_raw(smaller, bytes_of(page->data + list_page_begin(page), used), list_page_count(page));
    page_release(place->slot->ref);
    place->slot->ref = page_ref_of(smaller);
}

/* Open the page that the next pop at ${end} takes from. */
static void pop_open(struct entry *entry, enum list_end end, struct list_place *place) {
    struct list_object *object = list__object(entry);
    if (object != NULL && object->ends[end].ref == 0) {
        end_fill(object, end);
        if (object->ends[end].ref == 0) { /* the one at the other end is the only one */
            list__open_end(entry, end == LIST_HEAD ? LIST_TAIL : LIST_HEAD, place);
            return;
        }
    }
    list__open_end(entry, end, place);
}

struct pop_run {
    void (*receive)(struct bytes element, void *ctx);
    void *ctx;
};

/* Show ${count} items from an end; *bytes_out is what they take. */
static int pop_show(const struct list_view *view, enum list_end end, uint64_t count,
                    const struct pop_run *run, uint32_t *bytes_out) {
    struct list_element element;
    uint32_t bytes = 0;
    int at_head = end == LIST_HEAD;
    int got = at_head ? list_page_first(view, &element) : list_page_last(view, &element);
    for (uint64_t i = 0; i < count; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        if (got != 1) return FIRN_ECORRUPT;
        if (run->receive != NULL) run->receive(list_element_text(&element, digits), run->ctx);
        bytes += element.bytes;
        if (i + 1 == count) break;
        got =
            at_head ? list_page_next(view, &element, &element) : list_page_previous(view, &element, &element);
    }
    *bytes_out = bytes;
    return 0;
}

/* Pop up to ${count} from the one page at ${end}: how many in *popped_out. */
static int pop_page(struct entry *entry, enum list_end end, uint64_t count, const struct pop_run *run,
                    uint32_t *popped_out) {
    struct list_place place;
    struct list_view view;
    uint32_t bytes;
    pop_open(entry, end, &place);
    int error = list__read_to_change(&place, &view);
    if (error != 0) return error;
    if (count >= view.count) {
        error = pop_show(&view, end, view.count, run, &bytes);
        if (error != 0) return error;
        *popped_out = view.count;
        entry->size -= view.count;
        list__drop(&place);
        return 0;
    }
    struct page *page;
    error = list__write(&place, view.payload.size, &page);
    if (error != 0) return error;
    error = list_page_open(bytes_of(page->data, page->bytes), &view); /* where it is now */
    if (error == 0) error = pop_show(&view, end, count, run, &bytes);
    if (error == 0) {
        list_page_cut(page, end == LIST_HEAD ? view.begin : page->bytes - bytes, bytes, (uint32_t)count);
        list__shrink(&place, page);
        entry->size -= (uint32_t)count;
        *popped_out = (uint32_t)count;
    }
    list__close(&place);
    return error;
}

int list_pop(struct entry *entry, enum list_end end, uint64_t count,
             void (*receive)(struct bytes element, void *ctx), void *ctx) {
    struct pop_run run = {receive, ctx};
    while (count > 0 && entry->size > 0) {
        uint32_t popped;
        int error = pop_page(entry, end, count, &run, &popped);
        if (error != 0) return error;
        count -= popped;
        if (count > 0 && entry->size > 0) fault_must_finish();
    }
    if (entry->size > 0) list__make_small(entry);
    return 0;
}
