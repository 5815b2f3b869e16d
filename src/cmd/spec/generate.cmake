# SPDX-License-Identifier: BSD-3-Clause
# spec/*.json -> generated/command_table.c, part of firn_cmd, and command_handlers.h with the handlers' prototypes. The table refers to handlers
# weakly, and a weak reference pulls nothing out of a static library: whoever links firn_cmd links all of it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(FIRN_SPEC_FOLDER ${CMAKE_SOURCE_DIR}/src/cmd/spec)
set(FIRN_GENERATED ${CMAKE_BINARY_DIR}/generated)
file(GLOB FIRN_SPECS CONFIGURE_DEPENDS ${FIRN_SPEC_FOLDER}/*.json)
add_custom_command(
  OUTPUT ${FIRN_GENERATED}/command_table.c ${FIRN_GENERATED}/generated/command_handlers.h
  COMMAND Python3::Interpreter ${FIRN_SPEC_FOLDER}/generate.py ${FIRN_SPEC_FOLDER} ${FIRN_GENERATED}
  DEPENDS ${FIRN_SPEC_FOLDER}/generate.py ${FIRN_SPECS}
  COMMENT "command table"
  VERBATIM)
get_target_property(FIRN_CMD_TYPE firn_cmd TYPE)
if(NOT FIRN_CMD_TYPE STREQUAL "INTERFACE_LIBRARY")
  target_sources(firn_cmd PRIVATE ${FIRN_GENERATED}/command_table.c ${FIRN_GENERATED}/generated/command_handlers.h)
  target_link_options(firn_cmd INTERFACE "LINKER:--whole-archive,$<TARGET_FILE:firn_cmd>,--no-whole-archive")
endif()
