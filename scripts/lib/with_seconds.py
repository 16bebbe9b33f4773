"""Copies a console to the output, each line with the seconds since the start, without what firmware and systemd do to the screen. What somebody is
asked stands there before they have answered: a line need not be finished."""

import os
import re
import sys
import time

# Cursor, colours and titles of a terminal (ECMA-48), and what cannot be seen.
CONTROL = re.compile(rb"\x1b\][^\a\x1b]*(?:\a|\x1b\\)|\x1b\[[0-9;?=!]*[a-zA-Z]|\x1b[c78]|\r|\0")
# The beginning of such a thing, which the next piece may finish.
UNFINISHED = re.compile(rb"\x1b(?:\][^\a\x1b]*|\[[0-9;?=!]*)?$")


def main():
    begun, at_start, rest = time.monotonic(), True, b""
    while piece := os.read(0, 65536):
        text = rest + piece
        begins = UNFINISHED.search(text)
        rest = text[begins.start() :] if begins else b""
        text = CONTROL.sub(b"", text[: len(text) - len(rest)])
        for line in text.splitlines(keepends=True):
            if at_start:
                sys.stdout.buffer.write(f"{time.monotonic() - begun:7.1f}  ".encode())
            sys.stdout.buffer.write(line)
            at_start = line.endswith(b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
