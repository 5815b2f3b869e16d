/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See geohash.h. A grid of step n has 2^n columns and 2^n rows; cell (column, row) is the prefix of 2n bits
 * that its places have in common. A search chooses the finest grid on which its area lies within a cell and
 * its eight neighbours and leaves out those that the area cannot reach.
 */
#include "ds/geohash.h"

#include <math.h>

#include "base/assert.h"

#define STEP_MAX            26u /* half of GEOHASH_BITS */
#define EARTH_RADIUS_METRES 6372797.560856
#define MERCATOR_METRES_MAX 20037726.37
#define RADIANS_PER_DEGREE  (M_PI / 180.0)
/* Cells are narrower towards the poles: from these latitudes on the grid is one, then two steps coarser. */
#define LATITUDE_COARSER  66.0
#define LATITUDE_COARSEST 80.0

static double radians(double degrees) {
    return degrees * RADIANS_PER_DEGREE;
}

static double degrees(double of_radians) {
    return of_radians / RADIANS_PER_DEGREE;
}

/* --- bits --- */

/* Bit i of ${bits} to place 2i. */
static uint64_t spread(uint32_t bits) {
    uint64_t wide = bits;
    wide = (wide | wide << 16) & UINT64_C(0x0000ffff0000ffff);
    wide = (wide | wide << 8) & UINT64_C(0x00ff00ff00ff00ff);
    wide = (wide | wide << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    wide = (wide | wide << 2) & UINT64_C(0x3333333333333333);
    return (wide | wide << 1) & UINT64_C(0x5555555555555555);
}

static uint32_t gather(uint64_t wide) {
    wide &= UINT64_C(0x5555555555555555);
    wide = (wide | wide >> 1) & UINT64_C(0x3333333333333333);
    wide = (wide | wide >> 2) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    wide = (wide | wide >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    wide = (wide | wide >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (uint32_t)(wide | wide >> 16);
}

struct cell {
    uint32_t column, row;
};

static uint64_t number_of(struct cell cell) {
    return spread(cell.row) | spread(cell.column) << 1;
}

/* --- places and numbers --- */

static struct cell cell_at(struct geohash_place place, double latitude_max, unsigned step) {
    double row = (place.latitude + latitude_max) / (latitude_max - -latitude_max);
    double column =
        (place.longitude + GEOHASH_LONGITUDE_MAX) / (GEOHASH_LONGITUDE_MAX - -GEOHASH_LONGITUDE_MAX);
    double cells = (double)(UINT64_C(1) << step);
    return (struct cell){(uint32_t)(column * cells), (uint32_t)(row * cells)};
}

struct bounds {
    double west, south, east, north; /* degrees */
};

static struct bounds bounds_of(struct cell cell, unsigned step) {
    const double wide = GEOHASH_LONGITUDE_MAX - -GEOHASH_LONGITUDE_MAX,
                 high = GEOHASH_LATITUDE_MAX - -GEOHASH_LATITUDE_MAX;
    double size = 1.0 / (double)(UINT64_C(1) << step); /* a power of two: multiplying is exact */
    return (struct bounds){
        .west = -GEOHASH_LONGITUDE_MAX + (cell.column * size) * wide,
        .east = -GEOHASH_LONGITUDE_MAX + ((cell.column + 1.0) * size) * wide,
        .south = -GEOHASH_LATITUDE_MAX + (cell.row * size) * high,
        .north = -GEOHASH_LATITUDE_MAX + ((cell.row + 1.0) * size) * high,
    };
}

static double clamp(double value, double limit) {
    return value > limit ? limit : value < -limit ? -limit : value;
}

uint64_t geohash_encode(struct geohash_place place) {
    FIRN_ASSERT(geohash_is_valid(place));
    return number_of(cell_at(place, GEOHASH_LATITUDE_MAX, STEP_MAX));
}

struct geohash_place geohash_decode(uint64_t number) {
    struct bounds bounds =
        bounds_of((struct cell){.column = gather(number >> 1), .row = gather(number)}, STEP_MAX);
    return (struct geohash_place){
        .longitude = clamp((bounds.west + bounds.east) / 2, GEOHASH_LONGITUDE_MAX),
        .latitude = clamp((bounds.south + bounds.north) / 2, GEOHASH_LATITUDE_MAX),
    };
}

struct geohash_place geohash_decode_score(double score) {
    const double limit = 9223372036854775808.0; /* 2^63 */
    uint64_t number = UINT64_C(1) << 63;        /* of scores that are no 64-bit numbers at all */
    if (score >= 0 && score < 2 * limit) {
        number = (uint64_t)score;
    } else if (score < 0 && score > -limit) {
        number = (uint64_t)(int64_t)score;
    }
    return geohash_decode(number);
}

void geohash_text(struct geohash_place place, char text_out[GEOHASH_TEXT_CHARS + 1]) {
    static const char alphabet[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    uint64_t number = number_of(cell_at(place, 90.0, STEP_MAX));
    for (unsigned i = 0; i < GEOHASH_TEXT_CHARS; i++) {
        /* 52 bits are ten characters and two bits over, which are not shown */
        unsigned shift = (i + 1) * 5;
        text_out[i] = shift > GEOHASH_BITS ? alphabet[0] : alphabet[number >> (GEOHASH_BITS - shift) & 31];
    }
    text_out[GEOHASH_TEXT_CHARS] = 0;
}

/* --- distances --- */

static double latitude_distance(double from, double to) {
    return EARTH_RADIUS_METRES * fabs(radians(to) - radians(from));
}

/* The haversine formula. */
double geohash_distance(struct geohash_place from, struct geohash_place to) {
    double across = sin((radians(to.longitude) - radians(from.longitude)) / 2);
    if (across == 0.0) return latitude_distance(from.latitude, to.latitude);
    double from_latitude = radians(from.latitude), to_latitude = radians(to.latitude);
    double along = sin((to_latitude - from_latitude) / 2);
    double square = along * along + cos(from_latitude) * cos(to_latitude) * across * across;
    return 2.0 * EARTH_RADIUS_METRES * asin(sqrt(square));
}

int geohash_is_inside(const struct geohash_area *area, struct geohash_place place, double *distance_out) {
    if (area->is_box) {
        if (latitude_distance(place.latitude, area->middle.latitude) > area->height / 2) return 0;
        struct geohash_place beside = {area->middle.longitude, place.latitude};
        if (geohash_distance(place, beside) > area->width / 2) return 0;
    }
    *distance_out = geohash_distance(area->middle, place);
    return area->is_box || !(*distance_out > area->radius);
}

/* --- searching --- */

/* The finest step on whose grid an area of ${metres} around a place at ${latitude} spans few cells. */
static unsigned step_for(double metres, double latitude) {
    if (metres == 0) return STEP_MAX;
    int step = 1;
    for (; metres < MERCATOR_METRES_MAX; metres *= 2)
        step++;
    step -= 2; /* so that neighbours on both sides are enough */
    if (fabs(latitude) > LATITUDE_COARSER) step--;
    if (fabs(latitude) > LATITUDE_COARSEST) step--;
    return step < 1 ? 1 : step > (int)STEP_MAX ? STEP_MAX : (unsigned)step;
}

/* A box along the meridians around all of ${area}; its longitudes may be beyond 180. */
static struct bounds bounds_around(const struct geohash_area *area) {
    double height = area->is_box ? area->height / 2 : area->radius;
    double width = area->is_box ? area->width / 2 : area->radius;
    double latitude = area->middle.latitude;
    double up = degrees(height / EARTH_RADIUS_METRES);
    /* widest, in degrees, at the edge nearer to a pole */
    double edge = latitude < 0 ? latitude - up : latitude + up;
    double aside = degrees(width / EARTH_RADIUS_METRES / cos(radians(edge)));
    return (struct bounds){
        .west = area->middle.longitude - aside,
        .east = area->middle.longitude + aside,
        .south = latitude - up,
        .north = latitude + up,
    };
}

/* The grid is closed in both directions. A place at the very end of a range lies one beyond the last cell; it
 * is brought back only where it moves, as in Redis. */
static struct cell neighbour(struct cell cell, int east, int north, unsigned step) {
    uint32_t mask = (UINT32_C(1) << step) - 1;
    if (east != 0) cell.column = (cell.column + (uint32_t)east) & mask;
    if (north != 0) cell.row = (cell.row + (uint32_t)north) & mask;
    return cell;
}

/* Whether a cell and its neighbours at ${step} do not reach as far as ${around}. */
static int is_too_fine(struct cell cell, unsigned step, const struct bounds *around) {
    return bounds_of(neighbour(cell, 0, 1, step), step).north < around->north ||
           bounds_of(neighbour(cell, 0, -1, step), step).south > around->south ||
           bounds_of(neighbour(cell, 1, 0, step), step).east < around->east ||
           bounds_of(neighbour(cell, -1, 0, step), step).west > around->west;
}

static const struct {
    int east, north;
} directions[GEOHASH_RANGES_MAX] = {{0, 0}, {0, 1},  {0, -1}, {1, 0},  {-1, 0},
                                    {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};

unsigned geohash_ranges(const struct geohash_area *area,
                        struct geohash_range ranges_out[GEOHASH_RANGES_MAX]) {
    struct bounds around = bounds_around(area);
    double reach = area->is_box
                       ? sqrt((area->width / 2) * (area->width / 2) + (area->height / 2) * (area->height / 2))
                       : area->radius;
    unsigned step = step_for(reach, area->middle.latitude), count = 0;
    struct cell cell = cell_at(area->middle, GEOHASH_LATITUDE_MAX, step);
    if (step > 1 && is_too_fine(cell, step, &around))
        cell = cell_at(area->middle, GEOHASH_LATITUDE_MAX, --step);
    struct bounds own = bounds_of(cell, step);
    for (unsigned i = 0; i < GEOHASH_RANGES_MAX; i++) {
        int east = directions[i].east, north = directions[i].north;
        if (step >= 2 &&
            ((north < 0 && own.south < around.south) || (north > 0 && own.north > around.north) ||
             (east < 0 && own.west < around.west) || (east > 0 && own.east > around.east)))
            continue; /* the cell itself reaches as far in that direction */
        unsigned shift = GEOHASH_BITS - 2 * step;
        uint64_t number = number_of(neighbour(cell, east, north, step));
        struct geohash_range range = {number << shift, (number + 1) << shift};
        /* On the coarsest grid two directions may be one cell; those come one after the other. */
        if (count > 0 && ranges_out[count - 1].first == range.first) continue;
        ranges_out[count++] = range;
    }
    return count;
}
