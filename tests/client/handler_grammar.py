"""Bodies of handlers, made at random out of what handlers do, and rows for them.

They use `seen`, `log`, `total`, `helper` and `Noisy` of the script that they are put into.
"""

from __future__ import annotations

from hypothesis import strategies as st

EXPRESSIONS = st.recursive(
    st.sampled_from(
        [
            *("event.pid", "event['prio']", "event._time", "event._pid", "event._cpu"),
            *("event.comm", "event._realtime", "event['keys']", "event._event", "event._period"),
            *("1", "'text'", "x", "y", "total", "f'{event.pid}'", "Noisy(event.pid)"),
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "//", "<", "and", "=="]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        inner.map("helper({})".format),
        inner.map("str({})[:9]".format),
        inner.map("(x := {})".format),
        inner.map("(7 if {} else y)".format),
        inner.map("[{}][0]".format),
    ),
    max_leaves=4,
)


def indented(block: str) -> str:
    return "\n".join(f"    {line}" for line in block.splitlines())


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    blocks = st.lists(inner, min_size=1, max_size=3).map("\n".join)
    body = blocks.map(indented)
    return st.one_of(
        st.tuples(EXPRESSIONS, body, body).map(
            lambda parts: "if {}:\n{}\nelse:\n{}".format(*parts)
        ),
        st.tuples(body, body).map(
            lambda parts: (
                "try:\n{}\nexcept Exception as error:\n    print(type(error).__name__)\n{}".format(
                    *parts
                )
            )
        ),
        st.tuples(body, body).map(lambda parts: "try:\n{}\nfinally:\n{}".format(*parts)),
        body.map("for i in range(2):\n    if i == total: continue\n{}\n    break".format),
        st.tuples(EXPRESSIONS, body).map(lambda parts: "with Noisy({}):\n{}".format(*parts)),
        st.tuples(EXPRESSIONS, body, body).map(
            lambda parts: "match {}:\n  case 1:\n{}\n  case x:\n{}".format(*parts)
        ),
    )


STATEMENTS = st.recursive(
    st.one_of(
        EXPRESSIONS.map("print({})".format),
        EXPRESSIONS.map("log.append(str({}))".format),
        EXPRESSIONS.map("total += {}".format),
        EXPRESSIONS.map("x = {}".format),
        EXPRESSIONS.map("y = {}".format),
        EXPRESSIONS.map("return {}".format),
        EXPRESSIONS.map("assert {}".format),
        EXPRESSIONS.map("raise ValueError({})".format),
        st.tuples(EXPRESSIONS, EXPRESSIONS).map(
            lambda parts: "seen[str({})] = str({})".format(*parts)
        ),
        st.sampled_from(["return", "del x", "del y", "pass", "raise"]),
    ),
    compound,
    max_leaves=6,
)
BODIES = st.lists(STATEMENTS, min_size=1, max_size=4).map(
    lambda parts: "\n".join(["global total", *parts])
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "_time": st.integers(0, 3),
            "_pid": st.integers(0, 2),
            "pid": st.integers(-1, 3),
            "prio": st.integers(0, 2),
            "keys": st.integers(0, 2),
            "comm": st.sampled_from([b"task", b"other", b"\xff"]),
        }
    ),
    max_size=6,
)
