#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Turn the command specifications of this folder into C: generate.py FOLDER OUT

OUT/command_table.c has command_table (see cmd/command.h), OUT/generated/command_handlers.h the prototypes of handlers.
A bad specification stops the build with one line that names the file, the field and what is allowed. README.md describes the format.
"""
import json
import os
import re
import sys

FLAGS = ("write readonly denyoom admin pubsub noscript blocking loading stale skip_monitor skip_slowlog asking fast no_auth "
         "may_replicate no_async_loading no_multi allow_busy no_mandatory_keys movablekeys only_sentinel").split()
FLAG_NAMES = {"movablekeys": "MOVABLE_KEYS"}
# The order is the order of bits and of what COMMAND prints; command.c has the same list for lookups by name.
ACL = ("keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking dangerous "
       "connection transaction scripting").split()
KEY_FLAGS = "RO RW OW RM access update insert delete not_key incomplete variable_flags".split()
TYPES = "string integer double key pattern unix-time pure-token oneof block".split()
TIERS = "none read modify".split()
DOCS = "deprecated syscmd".split()
TOP = {"name": str, "container": str, "group": str, "since": str, "summary": str, "complexity": str, "arity": int, "flags": list,
       "acl": list, "deprecated": dict, "docs": list, "history": list, "tips": list, "keys": list, "handler": str, "tier": str,
       "arguments": list}
REQUIRED = ["name", "group", "since", "summary", "complexity", "arity", "flags", "acl"]
ARGUMENT = {"name": str, "type": str, "display": str, "token": str, "summary": str, "since": str, "key_spec": int, "optional": bool,
            "multiple": bool, "multiple_token": bool, "arguments": list}


class Bad(Exception):
    """A specification that cannot be used; the text is for the person who wrote it."""


def need(condition, place, text):
    if not condition:
        raise Bad(f"{place}: {text}")


def check_fields(place, value, allowed, required):
    need(isinstance(value, dict), place, "must be an object")
    for key, item in value.items():
        need(key in allowed, place, f"unknown field '{key}'; allowed: {', '.join(allowed)}")
        need(type(item) is allowed[key], place, f"field '{key}' must be of type {allowed[key].__name__}")
    for key in required:
        need(key in value, place, f"field '{key}' is missing")


def check_words(place, words, allowed):
    for word in words:
        need(word in allowed, place, f"'{word}' is not one of: {', '.join(allowed)}")
    need(len(set(words)) == len(words), place, "has a word twice")


def check_arguments(place, arguments, key_count):
    need(arguments, place, "must not be an empty list; leave it out")
    for argument in arguments:
        where = f"{place}.{argument.get('name', '?') if isinstance(argument, dict) else '?'}"
        check_fields(where, argument, ARGUMENT, ["name", "type"])
        need(argument["type"] in TYPES, where, f"type '{argument['type']}' is not one of: {', '.join(TYPES)}")
        nested = argument["type"] in ("oneof", "block")
        need(nested == ("arguments" in argument), where, "oneof and block, and only they, have arguments")
        need(argument["type"] != "pure-token" or "token" in argument, where, "a pure-token needs a token")
        if "key_spec" in argument:
            need(0 <= argument["key_spec"] < key_count, where, "key_spec is not an index into keys")
        if nested:
            check_arguments(where, argument["arguments"], key_count)


def check_key(place, key):
    check_fields(place, key, {"notes": str, "flags": list, "begin": dict, "find": dict}, ["flags", "begin", "find"])
    check_words(f"{place}.flags", key["flags"], KEY_FLAGS)
    need(len([f for f in key["flags"] if f in ("RO", "RW", "OW", "RM")]) == (key["flags"] != ["not_key"]), f"{place}.flags", "needs exactly one of RO RW OW RM, or not_key alone")
    begin, find = key["begin"], key["find"]
    need(set(begin) in ({"index"}, {"keyword", "start"}, {"unknown"}), f"{place}.begin", "must be {index}, {keyword, start} or {unknown}")
    need(set(find) in ({"last", "step", "limit"}, {"keynum", "first", "step"}, {"unknown"}), f"{place}.find",
         "must be {last, step, limit}, {keynum, first, step} or {unknown}")
    need(find.get("step", 1) >= 1, f"{place}.find", "step must be at least 1")


def check(place, spec):
    check_fields(place, spec, TOP, REQUIRED)
    need(re.fullmatch(r"[a-z][a-z0-9_-]*", spec["name"]), place, "name must be lower case letters, digits, - and _")
    check_words(f"{place}: flags", spec["flags"], FLAGS)
    check_words(f"{place}: acl", spec["acl"], ACL)
    need(("fast" in spec["acl"]) != ("slow" in spec["acl"]), place, "acl needs either fast or slow")
    need(("fast" in spec["flags"]) == ("fast" in spec["acl"]), place, "flag fast and acl fast go together")
    need(not ("write" in spec["flags"] and "readonly" in spec["flags"]), place, "flags write and readonly exclude each other")
    need(spec["arity"] != 0, place, "arity counts the name, so it is never 0")
    need(spec.get("tier", "none") in TIERS, place, f"tier is not one of: {', '.join(TIERS)}")
    need(("handler" in spec) == ("tier" in spec), place, "handler and tier go together (a pure container has neither)")
    if "handler" in spec:
        need(re.fullmatch(r"cmd_[a-z0-9_]+", spec["handler"]), place, "handler must be named cmd_<name>")
    check_words(f"{place}: docs", spec.get("docs", []), DOCS)
    if "deprecated" in spec:
        check_fields(f"{place}: deprecated", spec["deprecated"], {"since": str, "replaced_by": str}, ["since", "replaced_by"])
    for entry in spec.get("history", []):
        need(isinstance(entry, list) and len(entry) == 2, place, "history is a list of [version, change]")
    for index, key in enumerate(spec.get("keys", [])):
        check_key(f"{place}: keys[{index}]", key)
    if "arguments" in spec:
        check_arguments(f"{place}: arguments", spec["arguments"], len(spec.get("keys", [])))


def load(folder):
    """All specs by full name ("config|get"), checked."""
    specs = {}
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".json"):
            continue
        with open(os.path.join(folder, file), encoding="utf-8") as stream:
            try:
                spec = json.load(stream)
            except ValueError as error:
                raise Bad(f"{file}: not JSON: {error}") from error
        check(file, spec)
        full = f"{spec['container']}|{spec['name']}" if "container" in spec else spec["name"]
        need(file == full.replace("|", "-") + ".json", file, f"must be named {full.replace('|', '-')}.json")
        spec["full"], spec["file"] = full, file
        specs[full] = spec
    for spec in specs.values():
        if "container" in spec:
            parent = specs.get(spec["container"])
            need(parent is not None, spec["file"], f"container '{spec['container']}' has no spec")
            need("container" not in parent, spec["file"], "a subcommand cannot be a container")
            parent.setdefault("subcommands", []).append(spec)
    for spec in specs.values():
        need("handler" in spec or "subcommands" in spec, spec["file"], "needs a handler, or subcommands in other files")
    return specs


def text(value):
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Writer:
    """Collects the C text; arrays are emitted before the table that points to them."""

    def __init__(self):
        self.lines = []
        self.index = 0

    def array(self, ctype, name, rows, end=""):
        self.lines.append(f"static const {ctype} {name}[] = {{")
        self.lines += [f"    {row}," for row in rows]
        if end:
            self.lines.append(f"    {end},")
        self.lines.append("};")
        return name

    def arguments(self, name, arguments):
        rows = []
        for number, a in enumerate(arguments):
            children = self.arguments(f"{name}_{number}", a["arguments"]) if "arguments" in a else "NULL"
            display = None if "arguments" in a else a.get("display", a["name"])
            rows.append("{" + ", ".join([
                f".name = {text(a['name'])}", f".type = {text(a['type'])}", f".token = {text(a.get('token'))}",
                f".summary = {text(a.get('summary'))}", f".since = {text(a.get('since'))}", f".display = {text(display)}",
                f".optional = {int(a.get('optional', False))}", f".multiple = {int(a.get('multiple', False))}",
                f".multiple_token = {int(a.get('multiple_token', False))}", f".key_spec_index = {a.get('key_spec', -1)}",
                f".children = {children}", f".child_count = {len(a.get('arguments', []))}"]) + "}")
        return self.array("struct command_argument", name, rows)

    def keys(self, name, keys):
        rows = []
        for key in keys:
            begin, find = key["begin"], key["find"]
            row = [f".notes = {text(key.get('notes'))}", f".flags = {text(' '.join(key['flags']))}"]
            if "index" in begin:
                row += [".begin = COMMAND_BEGIN_INDEX", f".begin_index = {begin['index']}"]
            elif "keyword" in begin:
                row += [".begin = COMMAND_BEGIN_KEYWORD", f".begin_keyword = {text(begin['keyword'])}", f".begin_index = {begin['start']}"]
            else:
                row += [".begin = COMMAND_BEGIN_UNKNOWN"]
            if "last" in find:
                row += [".find = COMMAND_FIND_RANGE", f".last = {find['last']}", f".step = {find['step']}", f".limit = {find['limit']}"]
            elif "keynum" in find:
                row += [".find = COMMAND_FIND_KEYNUM", f".keynum_index = {find['keynum']}", f".first_key = {find['first']}",
                        f".step = {find['step']}"]
            else:
                row += [".find = COMMAND_FIND_UNKNOWN"]
            rows.append("{" + ", ".join(row) + "}")
        return self.array("struct command_key_spec", name, rows)

    def command(self, spec):
        """The initializer of one command; its arrays are emitted on the way."""
        name = re.sub("[^a-z0-9]", "_", spec["full"])
        own_index = self.index
        self.index += 1
        subcommands = spec.get("subcommands", [])
        rows = [self.command(sub) for sub in subcommands]
        sub_name = self.array("struct command", f"{name}_subcommands", rows) if rows else "NULL"
        history = [text(word) for entry in spec.get("history", []) for word in entry]
        tips, keys, arguments = spec.get("tips", []), spec.get("keys", []), spec.get("arguments", [])
        docs = list(spec.get("docs", [])) + (["deprecated"] if "deprecated" in spec else [])
        deprecated = spec.get("deprecated", {})
        flags = ["COMMAND_" + FLAG_NAMES.get(flag, flag.upper()) for flag in spec["flags"]]
        acl = sum(1 << ACL.index(word) for word in spec["acl"])
        fields = [
            f".name = {text(spec['full'])}", f".group = {text(spec['group'])}", f".since = {text(spec['since'])}",
            f".summary = {text(spec['summary'])}", f".complexity = {text(spec['complexity'])}",
            f".deprecated_since = {text(deprecated.get('since'))}", f".replaced_by = {text(deprecated.get('replaced_by'))}",
            f".doc_flags = {text(' '.join(docs) or None)}",
            f".history = {self.array('char *const', name + '_history', history, 'NULL') if history else 'NULL'}",
            f".tips = {self.array('char *const', name + '_tips', [text(tip) for tip in tips], 'NULL') if tips else 'NULL'}",
            f".handler = {spec.get('handler', 'NULL')}", f".arity = {spec['arity']}", f".flags = {' | '.join(flags) or '0'}",
            f".acl_categories = UINT64_C({acl:#x})",
            f".key_specs = {self.keys(name + '_keys', keys) if keys else 'NULL'}", f".key_spec_count = {len(keys)}",
            f".arguments = {self.arguments(name + '_arguments', arguments) if arguments else 'NULL'}",
            f".argument_count = {len(arguments)}", f".subcommands = {sub_name}", f".subcommand_count = {len(subcommands)}",
            f".tier = COMMAND_TIER_{spec.get('tier', 'none').upper()}", f".index = {own_index}"]
        return "{" + ", ".join(fields) + "}"


def write_if_changed(path, content):
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            if stream.read() == content:
                os.utime(path)
                return
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(content)


def main():
    folder, out = sys.argv[1:3]
    try:
        specs = load(folder)
    except Bad as bad:
        sys.exit(f"command specification: {bad}")
    writer = Writer()
    handlers = sorted({spec["handler"] for spec in specs.values() if "handler" in spec})
    top = [writer.command(spec) for spec in specs.values() if "container" not in spec]
    head = ["/* Generated by src/cmd/spec/generate.py. Do not edit. */", '#include "cmd/command.h"', "",
            "/* Weak: a command whose handler is not linked in is left out of the table at start-up. */"]
    head += [f"int {handler}(struct call *call) __attribute__((weak));" for handler in handlers]
    tail = ["const struct command command_table[] = {"] + [f"    {row}," for row in top]
    tail += ["};", f"const unsigned command_table_count = {len(top)};", f"const unsigned command_total_count = {writer.index};", ""]
    header = ["/* Generated by src/cmd/spec/generate.py. Do not edit. */", "#ifndef FIRN_COMMAND_HANDLERS_H", "#define FIRN_COMMAND_HANDLERS_H",
              "struct call;"] + [f"int {handler}(struct call *call);" for handler in handlers] + ["#endif", ""]
    os.makedirs(os.path.join(out, "generated"), exist_ok=True)
    write_if_changed(os.path.join(out, "command_table.c"), "\n".join(head + writer.lines + tail))
    write_if_changed(os.path.join(out, "generated", "command_handlers.h"), "\n".join(header))


if __name__ == "__main__":
    main()
