"""ptrace-client: says when it traces, and has a handler for every event."""

import json

count = 0
traced = False


def __sample__(event):  # noqa: N807
    global count
    count += 1


def __interval__():  # noqa: N807
    global traced
    if not traced:
        traced = True
        print("ready", flush=True)


def __exit__():  # noqa: N807
    print(json.dumps({"count": count}))
