r"""Pictures of a terminal in which a command runs, such as docs/images/run.png.

    pip install pyte
    python benchmarks/screen.py after.png --during 'train +[4-7]\d%' docs/images/run.png -- gan-pipelines run

The command runs to its end in a pseudo-terminal. The first picture is of its last screen, the one of `--during` of the
first screen that matches a regular expression; their text is printed. `pyte` emulates the terminal; nothing else needs
it.
"""

import argparse
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont

FONT, SIZE, MARGIN = "DejaVuSansMono.ttf", 13, 10
PAPER, INK = "#1e1e1e", "#d4d4d4"
COLOURS = {"brightcyan": "#4ec9d0", "brightgreen": "#8bd26f", "brightred": "#f48771", "brightmagenta": "#d19ad8"}


def main():
    """Runs the command and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--during", nargs=2, metavar=("EXPRESSION", "PICTURE"))
    parser.add_argument("--prompt", help="What is shown as typed; absent means the command.")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    screen = pyte.Screen(arguments.columns, arguments.rows)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {arguments.prompt or ' '.join(arguments.command)}\r\n".encode())
    awaited = arguments.during
    for part in output(arguments.command, columns=arguments.columns, rows=arguments.rows):
        stream.feed(part)
        if awaited and re.search(awaited[0], "\n".join(screen.display)):
            draw(screen, Path(awaited[1]))
            awaited = None
    draw(screen, arguments.picture)


def output(command, *, columns, rows):
    """Yields the bytes that a command writes to a terminal of a size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True):
        os.close(theirs)
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # nobody writes any more
                break
            if not part:
                break
            yield part
    os.close(ours)


def draw(screen, path):
    """Writes a picture of a screen without the empty lines at its end, and prints it."""
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    print("\n".join(lines), flush=True)
    font = ImageFont.truetype(FONT, SIZE)
    width, height = font.getlength("M"), SIZE + 4
    size = round(screen.columns * width) + 2 * MARGIN, len(lines) * height + 2 * MARGIN
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    for row in range(len(lines)):
        for column in range(screen.columns):
            letter = screen.buffer[row][column]
            place = MARGIN + column * width, MARGIN + row * height
            pen.text(place, letter.data, font=font, fill=COLOURS.get(letter.fg, INK))
    picture.quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    main()
