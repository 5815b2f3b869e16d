# SPDX-License-Identifier: BSD-3-Clause
# decimal_powers.py -> generated/decimal_powers.h, the table of shortest.c.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(FIRN_DECIMAL_POWERS ${CMAKE_BINARY_DIR}/generated/generated/decimal_powers.h)
add_custom_command(
  OUTPUT ${FIRN_DECIMAL_POWERS}
  COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/src/ds/decimal_powers.py ${FIRN_DECIMAL_POWERS}
  DEPENDS ${CMAKE_SOURCE_DIR}/src/ds/decimal_powers.py
  COMMENT "powers of ten"
  VERBATIM)
target_sources(firn_ds PRIVATE ${FIRN_DECIMAL_POWERS})
