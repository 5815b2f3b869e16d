/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* SHA-256 against the examples of the standard, at every block boundary that matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ds/sha256.h"

static void expect(const char *text, const char *hex) {
    char out[65];
    sha256_hex(bytes_of_text(text), out);
    assert_string_equal(out, hex);
}

static void standard(void **state) {
    (void)state;
    expect("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    expect(
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnop"
        "qrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(standard)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
