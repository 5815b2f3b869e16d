/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places on a sphere as numbers of 52 bits (geohash: the bits of latitude and longitude interleaved, the
 * latitude's at the even places), distances between them, and which of the cells of such a grid a search has
 * to look into. With the constants and in the order of arithmetic that Redis documents by its results, so
 * that scores, distances and the order of an unsorted answer are the same. Any thread; no state.
 */
#ifndef FIRN_DS_GEOHASH_H
#define FIRN_DS_GEOHASH_H

#include <stdint.h>

#define GEOHASH_BITS          52u
#define GEOHASH_LONGITUDE_MAX 180.0
#define GEOHASH_LATITUDE_MAX  85.05112878 /* where the Mercator projection is square */
#define GEOHASH_TEXT_CHARS    11u

struct geohash_place {
    double longitude, latitude; /* degrees */
};

static inline int geohash_is_valid(struct geohash_place place) {
    return place.longitude >= -GEOHASH_LONGITUDE_MAX && place.longitude <= GEOHASH_LONGITUDE_MAX &&
           place.latitude >= -GEOHASH_LATITUDE_MAX && place.latitude <= GEOHASH_LATITUDE_MAX;
}

/* The number of a valid place, and the middle of what that number stands for. Any number is some place. */
uint64_t geohash_encode(struct geohash_place place);
struct geohash_place geohash_decode(uint64_t number);
/* The same for the score of a sorted set, which may be any but NaN. */
struct geohash_place geohash_decode_score(double score);
/* The place in the usual text of eleven characters (which counts latitudes from -90 to 90). */
void geohash_text(struct geohash_place place, char text_out[GEOHASH_TEXT_CHARS + 1]);

/* Metres between two places along the surface. */
double geohash_distance(struct geohash_place from, struct geohash_place to);

/* What is searched: around a middle, a circle or a box along the meridians. */
struct geohash_area {
    struct geohash_place middle;
    int is_box;
    double radius;        /* metres; of a circle */
    double width, height; /* metres; of a box */
};
/* Whether ${place} is inside; *distance_out: metres from the middle if so. */
int geohash_is_inside(const struct geohash_area *area, struct geohash_place place, double *distance_out);

/* Numbers from ${first} up to, not including, ${end}. */
struct geohash_range {
    uint64_t first, end;
};
#define GEOHASH_RANGES_MAX 9u
/* The ranges of numbers that all places inside ${area} lie in, in the order Redis looks at them. Returns how
 * many. They do not overlap. */
unsigned geohash_ranges(const struct geohash_area *area, struct geohash_range ranges_out[GEOHASH_RANGES_MAX]);

#endif
