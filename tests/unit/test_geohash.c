/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* Numbers and texts that redis-server gives for known places; distances; and that the ranges of a search
 * never miss a place that is inside, over random areas of every size everywhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "ds/geohash.h"

static void test_known_places(void **state) {
    (void)state;
    static const struct {
        struct geohash_place place;
        uint64_t number;
    } cases[] = {
        {{-74.0131604, 40.7126674}, 1791873972053020},
        {{-73.9903085, 40.7362513}, 1791875485187452},
        {{-73.7858139, 40.6428986}, 1791895905559723},
        {{13.361389, 38.115556}, 3479099956230698},
        {{-180, -85.05112878}, 0},
        {{0, 0}, 3377699720527872},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(geohash_encode(cases[i].place), cases[i].number);
        struct geohash_place back = geohash_decode(cases[i].number);
        assert_true(fabs(back.longitude - cases[i].place.longitude) < 1e-5);
        assert_true(fabs(back.latitude - cases[i].place.latitude) < 1e-5);
    }
    char text[GEOHASH_TEXT_CHARS + 1];
    geohash_text(geohash_decode(3479099956230698), text);
    assert_string_equal(text, "sqc8b49rny0");
    geohash_text(geohash_decode(geohash_encode((struct geohash_place){15.087269, 37.502669})), text);
    assert_string_equal(text, "sqdtr74hyu0");
}

static void test_distance(void **state) {
    (void)state;
    struct geohash_place palermo =
        geohash_decode(geohash_encode((struct geohash_place){13.361389, 38.115556}));
    struct geohash_place catania =
        geohash_decode(geohash_encode((struct geohash_place){15.087269, 37.502669}));
    assert_true(fabs(geohash_distance(palermo, catania) - 166274.1516) < 0.0001);
    assert_true(geohash_distance(palermo, palermo) == 0);
    assert_true(fabs(geohash_distance((struct geohash_place){5, 10}, (struct geohash_place){5, -10}) -
                     6372797.560856 * M_PI / 9) < 0.001);
}

static void test_any_score_is_some_place(void **state) {
    (void)state;
    static const double scores[] = {
        -1, -1e18, 1e19, -INFINITY, INFINITY, 1e300, 0.5, 18446744073709551615.0, 4503599627370496.0};
    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++) {
        struct geohash_place place = geohash_decode_score(scores[i]);
        assert_true(geohash_is_valid(place));
    }
}

static double random_between(double from, double to) {
    return from + (to - from) * ((double)(random_u64() >> 11) / 9007199254740992.0);
}

/* A place at random, half of the time near ${middle}. */
static struct geohash_place random_place(struct geohash_place middle, double metres) {
    struct geohash_place place = {random_between(-180, 180), random_between(-85, 85)};
    if (random_below(2) == 0) return place;
    double aside = metres / 111000;
    place.latitude = middle.latitude + random_between(-aside, aside);
    place.longitude = middle.longitude + random_between(-aside, aside) / cos(middle.latitude * M_PI / 180);
    if (place.longitude > 180) place.longitude -= 360;
    if (place.longitude < -180) place.longitude += 360;
    return geohash_is_valid(place) ? place : middle;
}

static int is_covered(const struct geohash_range *ranges, unsigned count, uint64_t number) {
    int times = 0;
    for (unsigned i = 0; i < count; i++)
        times += number >= ranges[i].first && number < ranges[i].end;
    assert_true(times <= 1);
    return times;
}

static void test_ranges_miss_nothing(void **state) {
    (void)state;
    random_seed(20261122);
    unsigned inside = 0;
    for (unsigned i = 0; i < 20000; i++) {
        /* as far north as Redis itself is exact */
        struct geohash_area area = {.middle = {random_between(-180, 180), random_between(-70, 70)},
                                    .is_box = (int)random_below(2)};
        double metres = pow(10, random_between(0, 6));
        area.radius = metres;
        area.width = metres * random_between(0.1, 1);
        area.height = metres * random_between(0.1, 1);
        struct geohash_range ranges[GEOHASH_RANGES_MAX];
        unsigned count = geohash_ranges(&area, ranges);
        assert_in_range(count, 1, GEOHASH_RANGES_MAX);
        for (unsigned j = 0; j < 50; j++) {
            double distance;
            uint64_t number = geohash_encode(random_place(area.middle, metres));
            if (!geohash_is_inside(&area, geohash_decode(number), &distance)) continue;
            inside++;
            assert_true(is_covered(ranges, count, number));
        }
    }
    assert_true(inside > 100000);
}

static void test_whole_world(void **state) {
    (void)state;
    struct geohash_area area = {.middle = {0, 0}, .radius = 50000000};
    struct geohash_range ranges[GEOHASH_RANGES_MAX];
    unsigned count = geohash_ranges(&area, ranges);
    assert_int_equal(count, 4);
    for (unsigned i = 0; i < 1000; i++) {
        struct geohash_place place = {random_between(-180, 180), random_between(-85, 85)};
        assert_true(is_covered(ranges, count, geohash_encode(place)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_places),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_any_score_is_some_place),
        cmocka_unit_test(test_ranges_miss_nothing),
        cmocka_unit_test(test_whole_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
