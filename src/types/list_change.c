/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists: changes anywhere but at the ends (contracts in list.h). A page that would exceed
 * LIST_PAGE_SPLIT_BYTES is split in the middle; an element that takes more than half of a page gets one of
 * its own. Pages that removals leave small are united with a neighbour, if that is in DRAM.
 */
#include "base/memory.h"
#include "page/fault.h"
#include "types/list_internal.h"

#define ALONE_BYTES     (LIST_PAGE_SPLIT_BYTES / 2) /* an item above this has a page of its own */
#define JOIN_BYTES      (LIST_PAGE_SPLIT_BYTES / 2) /* neighbours with no more together are united */
#define RELEASE_AT_ONCE 16u                         /* pages; more are left to the reaper */

/* --- splitting --- */

/* A fresh page with ${count} items of a payload from ${begin} to ${end}. */
static struct page *page_of_items(struct bytes payload, uint32_t begin, uint32_t end, uint32_t count) {
    struct page *page = page_try_create(LIST_PAGE_HEAD_BYTES + end - begin);
    if (page == NULL) return NULL;
    list_page_init(page, 0);
    list_page_append_raw(page, bytes_of(payload.data + begin, end - begin), count);
    return page;
}

/* The list is large: the place opened again if it was not. */
static int place_make_large(struct list_place *place, uint64_t index) {
    struct entry *entry = place->entry;
    if (place->object != NULL) return 0;
    if (page_ref_is_lower(place->slot->ref)) {
        struct page *page;
        int error = list__write(place, 0, &page);
        if (error != 0) return error;
        list__close(place);
    }
    list__make_large(entry, LIST_HEAD);
    list__open(entry, index, place);
    return 0;
}

/* Split the page of ${place}, whose content is ${view}, in front of ${element}, its number ${before} (not the
 * first). The place is void. */
static int place_split(struct list_place *place, const struct list_view *view,
                       const struct list_element *element, uint32_t before) {
    uint32_t end = (uint32_t)view->payload.size;
    FIRN_ASSERT(before > 0 && before < view->count);
    struct page *left = page_of_items(view->payload, view->begin, element->offset, before);
    struct page *right = page_of_items(view->payload, element->offset, end, view->count - before);
    if (left == NULL || right == NULL) {
        if (left != NULL) page_free_unshared(left);
        if (right != NULL) page_free_unshared(right);
        return FIRN_ENOMEM;
    }
    uint64_t old = place->slot->ref;
    struct entry *entry = place->entry;
    place->slot->ref = page_ref_of(left);
    list__close(place);
    page_release(old);
    if (place->object == NULL) {
        list__make_large(entry, LIST_HEAD);
        list__open_end(entry, LIST_HEAD, place);
    }
    list__add_page(place, 1, list__slot_of(right));
    return 0;
}

/* Split about in the middle. */
static int place_halve(struct list_place *place, const struct list_view *view) {
    struct list_element element;
    uint32_t middle = view->begin + (uint32_t)(view->payload.size - view->begin) / 2, before = 0;
    int got = list_page_first(view, &element);
    while (got == 1 && (before == 0 || element.offset < middle) && before + 1 < view->count) {
        got = list_page_next(view, &element, &element);
        before++;
    }
    return got == 1 ? place_split(place, view, &element, before) : FIRN_ECORRUPT;
}

/* Open the page of ${index} such that it is the first of its page (${alone}: the only one), splitting. */
static int open_isolated(struct entry *entry, uint64_t index, int alone, struct list_place *place) {
    for (;;) {
        struct list_view view;
        struct list_element element;
        list__open(entry, index, place);
        int error = list__read_to_change(place, &view);
        if (error != 0) return error;
        uint32_t at = (uint32_t)(index - place->first);
        if (at == 0 && (!alone || view.count == 1)) return 0;
        if (at == 0) at = 1;
        error = list_page_at(&view, at, &element);
        if (error == 0) error = place_split(place, &view, &element, at);
        if (error != 0) return error;
    }
}

/* --- LSET, LINSERT --- */

/* Exchange the element at the place for ${item}. */
static int place_replace(struct list_place *place, const struct list_view *view, struct list_element *element,
                         const struct list_item *item) {
    struct page *page;
    size_t used = view->payload.size - view->begin - element->bytes + item->bytes;
    size_t need = LIST_PAGE_HEAD_BYTES + used;
    int error = list__write(place, need > view->payload.size ? need : view->payload.size, &page);
    if (error != 0) return error;
    uint32_t offset = list_page_cut(page, element->offset, element->bytes, 1);
    list_page_insert(page, offset, item);
    list__close(place);
    return 0;
}

int list_set(struct entry *entry, uint64_t index, struct bytes text) {
    struct list_item item;
    if (text.size > LIST_ELEMENT_BYTES_MAX) return FIRN_ETOOBIG;
    list_item_make(text, &item);
    for (;;) {
        struct list_place place;
        struct list_view view;
        struct list_element element;
        list__open(entry, index, &place);
        int error = list__read_to_change(&place, &view);
        if (error == 0) error = list_page_at(&view, (uint32_t)(index - place.first), &element);
        if (error != 0) return error;
        size_t need =
            LIST_PAGE_HEAD_BYTES + view.payload.size - view.begin - element.bytes + (size_t)item.bytes;
        if (need <= LIST_PAGE_SPLIT_BYTES || view.count == 1)
            return place_replace(&place, &view, &element, &item);
        error =
            item.bytes > ALONE_BYTES ? open_isolated(entry, index, 1, &place) : place_halve(&place, &view);
        if (error != 0) return error;
    }
}

/* A page for ${item} alone, as number ${index}. */
static int insert_alone(struct entry *entry, uint64_t index, const struct list_item *item) {
    struct list_place place;
    int after = index == entry->size, error;
    if (after) {
        list__open(entry, index - 1, &place);
        error = place_make_large(&place, index - 1);
    } else {
        error = open_isolated(entry, index, 0, &place);
        if (error == 0) error = place_make_large(&place, index);
    }
    if (error != 0) return error;
    struct page *page = page_try_create(LIST_PAGE_HEAD_BYTES + item->bytes);
    if (page == NULL) return FIRN_ENOMEM;
    list_page_init(page, 0);
    list_page_push(page, 0, item);
    list__add_page(&place, after, list__slot_of(page));
    entry->size++;
    return 0;
}

int list_insert(struct entry *entry, uint64_t index, struct bytes text) {
    struct list_item item;
    if (text.size > LIST_ELEMENT_BYTES_MAX || entry->size == UINT32_MAX) return FIRN_ETOOBIG;
    if (index == 0) return list_push(entry, LIST_HEAD, text);
    if (index == entry->size) return list_push(entry, LIST_TAIL, text);
    list_item_make(text, &item);
    for (;;) {
        struct list_place place;
        struct list_view view;
        struct list_element element;
        struct page *page;
        list__open(entry, index, &place);
        int error = list__read_to_change(&place, &view);
        if (error == 0) error = list_page_at(&view, (uint32_t)(index - place.first), &element);
        if (error != 0) return error;
        size_t need = LIST_PAGE_HEAD_BYTES + view.payload.size - view.begin + item.bytes;
        if (need <= LIST_PAGE_SPLIT_BYTES) {
            error = list__write(&place, need > view.payload.size ? need : view.payload.size, &page);
            if (error != 0) return error;
            list_page_insert(page, element.offset, &item);
            entry->size++;
            list__close(&place);
            return 0;
        }
        if (item.bytes > ALONE_BYTES || view.count == 1) return insert_alone(entry, index, &item);
        error = place_halve(&place, &view);
        if (error != 0) return error;
    }
}

/* --- LREM --- */

/* Unite the page of element ${index} with the next one if both are in DRAM and small. */
static void join_next(struct entry *entry, uint64_t index) {
    struct list_place place, next;
    struct page *page;
    list__open(entry, index, &place);
    if (place.object == NULL || page_ref_is_lower(place.slot->ref)) return;
    list__open(entry, index, &next);
    if (!list__next(&next) || page_ref_is_lower(next.slot->ref)) return;
    if (place.slot->bytes + next.slot->bytes > JOIN_BYTES) return;
    uint32_t bytes = LIST_PAGE_HEAD_BYTES + place.slot->bytes + next.slot->bytes;
    const struct page *other = page_ref_dram(next.slot->ref);
    uint32_t begin = list_page_begin(other);
    if (list__write(&place, bytes > place.before_page_bytes ? bytes : place.before_page_bytes, &page) != 0)
        return;
    if (list_page_room(page, 0) < next.slot->bytes) list_page_slide(page, 0);
    list_page_append_raw(page, bytes_of(other->data + begin, other->bytes - begin), list_page_count(other));
    list__close(&place);
    list__drop(&next);
}

struct remove_run {
    struct list_item item;
    int backwards;
    uint64_t left;
    uint64_t at; /* number of the first element not looked at yet; backwards: of those in front */
};

static int count_matches(const struct list_view *view, const struct list_item *item, uint32_t *count_out) {
    struct list_element element;
    int got = list_page_first(view, &element);
    *count_out = 0;
    for (; got == 1; got = list_page_next(view, &element, &element))
        *count_out += (uint32_t)list_element_is(view, &element, item);
    return got;
}

/* Filter one page: how many went. */
static int remove_from_page(struct entry *entry, struct remove_run *run, uint32_t *removed_out) {
    struct list_place place;
    struct list_view view;
    struct page *page;
    uint32_t matches;
    *removed_out = 0;
    list__open(entry, run->backwards ? run->at - 1 : run->at, &place);
    int error = list__read_to_change(&place, &view);
    if (error == 0) error = count_matches(&view, &run->item, &matches);
    if (error != 0) return error;
    uint32_t count = view.count, take = matches < run->left ? matches : (uint32_t)run->left;
    uint64_t first = place.first;
    run->at = run->backwards ? first : first + count - take;
    if (take == 0) return 0;
    if (take == count) {
        list__drop(&place);
    } else {
        error = list__write(&place, view.payload.size, &page);
        if (error != 0) return error;
        take = list_page_filter(page, &run->item, run->backwards ? matches - take : 0, take);
        list__shrink(&place, page);
        list__close(&place);
    }
    entry->size -= take;
    run->left -= take;
    *removed_out = take;
    /* with the page looked at before, so that what is to come keeps its number */
    if (take < count && run->backwards) join_next(entry, first);
    if (take < count && !run->backwards && first > 0) join_next(entry, first - 1);
    return 0;
}

int list_remove(struct entry *entry, struct bytes text, int backwards, uint64_t count,
                uint64_t *removed_out) {
    struct remove_run run = {.backwards = backwards, .left = count == 0 ? UINT64_MAX : count};
    *removed_out = 0;
    if (text.size > LIST_ELEMENT_BYTES_MAX) return 0;
    list_item_make(text, &run.item);
    run.at = backwards ? entry->size : 0;
    while (run.left > 0 && (backwards ? run.at > 0 : run.at < entry->size)) {
        uint32_t removed;
        int error = remove_from_page(entry, &run, &removed);
        if (error != 0) return error;
        *removed_out += removed;
        if (removed > 0) fault_must_finish();
    }
    if (*removed_out > 0) list__make_small(entry);
    return 0;
}

int list_remove_at(struct entry *entry, struct bytes text, int backwards, uint64_t count,
                   const uint64_t *marks, size_t marks_count, uint64_t *removed_out) {
    struct remove_run run = {.backwards = backwards, .left = count == 0 ? UINT64_MAX : count};
    *removed_out = 0;
    if (text.size > LIST_ELEMENT_BYTES_MAX) return 0;
    list_item_make(text, &run.item);
    for (size_t i = 0; i < marks_count && run.left > 0; i++) {
        uint32_t removed;
        run.at = backwards ? marks[i] + 1 : marks[i] - *removed_out; /* the number it has now */
        int error = remove_from_page(entry, &run, &removed);
        if (error != 0) return error;
        *removed_out += removed;
        if (removed > 0) fault_must_finish();
    }
    if (*removed_out > 0) list__make_small(entry);
    return 0;
}

/* --- LTRIM --- */

/* Cut the elements of the page at the place that are not in [from, to). Not all of them. */
static int place_trim(struct list_place *place, uint64_t from, uint64_t to) {
    struct list_view view;
    struct list_element first, last;
    struct page *page;
    uint32_t count = place->slot->count;
    uint32_t before = from > place->first ? (uint32_t)(from - place->first) : 0;
    uint32_t behind = to < place->first + count ? (uint32_t)(place->first + count - to) : 0;
    if (before == 0 && behind == 0) return 0;
    int error = list__read_to_change(place, &view);
    if (error == 0) error = list_page_at(&view, before, &first);
    if (error == 0) error = list_page_at(&view, count - behind - 1, &last);
    if (error == 0) error = list__write(place, view.payload.size, &page);
    if (error != 0) return error;
    uint32_t end = last.offset + last.bytes;
    if (behind > 0) {
        page->bytes = end; /* nothing has to move */
        bytes_store16(page->data, (uint16_t)(count - behind));
    }
    if (before > 0) list_page_cut(page, view.begin, first.offset - view.begin, before);
    list__shrink(place, page);
    place->entry->size -= before + behind;
    list__close(place);
    return 0;
}

/* Take pages off ${end}, one by one, until only ${keep} of the first or last elements are left. */
static void trim_release(struct entry *entry, enum list_end end, uint64_t keep) {
    while (entry->size > keep) {
        struct list_place place;
        list__open(entry, end == LIST_HEAD ? 0 : entry->size - 1, &place);
        struct page_slot slot = list__take(&place);
        entry->size -= slot.count;
        page_release(slot.ref);
    }
}

struct pages_sum {
    uint64_t element_bytes, dram_bytes;
    uint32_t pages, pages_dram;
};

static void sum_slot(const struct page_slot *slot, struct pages_sum *sum) {
    if (slot->ref == 0) return;
    sum->pages++;
    sum->element_bytes += slot->bytes;
    if (page_ref_tag(slot->ref) != PAGE_TAG_DRAM) return;
    sum->pages_dram++;
    sum->dram_bytes += page_ref_dram(slot->ref)->bytes;
}

/* What the pages of an object come to. */
static struct pages_sum sum_pages(const struct list_object *object) {
    struct pages_sum sum = {0};
    struct sequence_cursor cursor;
    sum_slot(&object->ends[LIST_HEAD], &sum);
    sum_slot(&object->ends[LIST_TAIL], &sum);
    if (object->middle.pages == 0) return sum;
    page_sequence_at(&object->middle, 0, &cursor);
    do {
        sum_slot(page_sequence_slot(&cursor), &sum);
    } while (page_sequence_next(&cursor));
    return sum;
}

/* The pages of ${waste} were counted with those of ${object}: look at the fewer of both. */
static void trim_account(struct list_object *object, struct list_object *waste, uint64_t kept) {
    const struct object *head = &object->head;
    struct pages_sum sum;
    if (kept * 2 < head->pages) {
        sum = sum_pages(object);
        sum = (struct pages_sum){object->element_bytes - sum.element_bytes, head->dram_bytes - sum.dram_bytes,
                                 head->pages - sum.pages, head->pages_dram - sum.pages_dram};
    } else {
        sum = sum_pages(waste);
    }
    object_account(&object->head, -(int64_t)sum.dram_bytes, -(int32_t)sum.pages, -(int32_t)sum.pages_dram);
    object_account(&waste->head, (int64_t)sum.dram_bytes, (int32_t)sum.pages, (int32_t)sum.pages_dram);
    object->element_bytes -= sum.element_bytes;
    waste->element_bytes += sum.element_bytes;
}

/* All pages behind element ${keep} or, with LIST_HEAD, in front of it leave for the reaper. Pages begin
 * there. */
static void trim_cut(struct entry *entry, enum list_end end, uint64_t keep, uint64_t kept_pages) {
    struct list_object *object = list__object(entry), *waste = list__object_create();
    struct page_sequence right;
    struct list_place place;
    list__open(entry, keep, &place);
    uint64_t position = place.where == LIST_AT_MIDDLE ? page_sequence_position(&place.cursor)
                        : place.where == LIST_AT_HEAD ? 0
                                                      : object->middle.pages;
    page_sequence_split(&object->middle, position, &right);
    if (end == LIST_HEAD) {
        waste->middle = object->middle;
        object->middle = right;
    } else {
        waste->middle = right;
    }
    waste->ends[end] = object->ends[end];
    object->ends[end] = (struct page_slot){.ref = 0};
    entry->size = end == LIST_HEAD ? (uint32_t)(entry->size - keep) : (uint32_t)keep;
    trim_account(object, waste, kept_pages);
    type_reap_later(&waste->head);
}

/* Pages from the one with ${first} to the one with ${last}. */
static uint64_t pages_between(struct entry *entry, uint64_t first, uint64_t last) {
    struct list_place from, to;
    const uint64_t pages = list__object(entry)->middle.pages;
    list__open(entry, first, &from);
    list__open(entry, last, &to);
    uint64_t begin = from.where == LIST_AT_MIDDLE ? page_sequence_position(&from.cursor) + 1
                     : from.where == LIST_AT_HEAD ? 0
                                                  : pages + 1;
    uint64_t end = to.where == LIST_AT_MIDDLE ? page_sequence_position(&to.cursor) + 1
                   : to.where == LIST_AT_HEAD ? 0
                                              : pages + 1;
    return end - begin + 1;
}

int list_trim(struct entry *entry, uint64_t start, uint64_t count) {
    FIRN_ASSERT(count > 0 && start + count <= entry->size);
    struct list_place place;
    int error = list_touch(entry, start, 1), other = list_touch(entry, start + count - 1, 1);
    if (error == 0 || error == FIRN_EFAULT) error = other != 0 ? other : error;
    if (error != 0) return error;
    list__open(entry, start + count - 1, &place);
    int is_one = place.first <= start;
    error = place_trim(&place, is_one ? start : 0, start + count);
    if (error == 0 && !is_one) {
        fault_must_finish();
        list__open(entry, start, &place);
        uint64_t before = start - place.first;
        error = place_trim(&place, start, UINT64_MAX);
        if (error == 0) start -= before;
    } else if (error == 0) {
        start = place.first;
    }
    if (error != 0 || entry->size == count) return error;
    uint64_t kept = pages_between(entry, start, start + count - 1);
    if (list__object(entry)->head.pages - kept <= RELEASE_AT_ONCE) {
        trim_release(entry, LIST_TAIL, start + count);
        trim_release(entry, LIST_HEAD, count);
    } else {
        uint64_t in_front = start > 0 ? pages_between(entry, 0, start - 1) : 0;
        if (start + count < entry->size) trim_cut(entry, LIST_TAIL, start + count, in_front + kept);
        if (start > 0) trim_cut(entry, LIST_HEAD, start, kept);
    }
    list__make_small(entry);
    return 0;
}
