"""The Raspberry Pi's boot script, run by bash with U-Boot's commands played by functions: which slot is started, and what is written before it."""

import pathlib
import subprocess

import pytest

from layers import YOCTO

SCRIPT = YOCTO / "meta-fieldgate-bsp/dynamic-layers/raspberrypi/recipes-bsp/fieldgate-boot-script/files/boot.cmd"

# U-Boot's commands as far as the script uses them; numbers of `test` may be hexadecimal with 0x in front, as there.
COMMANDS = r"""
setenv() { if [ $# -lt 2 ] || [ -z "${*:2}" ]; then unset "$1"; else printf -v "$1" '%s' "${*:2}"; fi; }
fdt() { if [ "$1" = get ]; then printf -v "$3" '%s' "console=serial0,115200"; fi; }
test() {
  case $2 in
    -gt) local number=${1#0x}; [ "$((16#${number:-0}))" -gt "$3" ] ;;
    *) [ "$@" ] ;;
  esac
}
saveenv() {
  [ -z "${SAVE_FAILS-}" ] || return 1
  echo "saved a=${BOOT_a_LEFT-} b=${BOOT_b_LEFT-} order=${BOOT_ORDER-} good=${BOOT_GOOD-}"
  for name in BOOT_ORDER BOOT_a_LEFT BOOT_b_LEFT BOOT_GOOD; do declare -p "$name"; done >"$STORE" 2>/dev/null
}
load() { case " ${UNREADABLE-} " in *" $2 "*) echo "unreadable $2"; return 1 ;; esac; loaded=$2; }
booti() { echo "start $loaded: $bootargs"; exit 0; }
reset() { echo reset; exit 0; }
fdt_addr=1 kernel_addr_r=2
[ ! -e "$STORE" ] || . "$STORE"
"""
A, B = "mmc 0:2", "mmc 0:3"


class Board:
    """A board whose environment outlives its starts."""

    def __init__(self, folder):
        self.store = pathlib.Path(folder, "environment")

    def set(self, **values):
        """As RAUC and fieldgate-keep-slot write it, with fw_setenv."""
        with self.store.open("a") as file:
            for name, value in values.items():
                file.write(f"{name}='{value}'\n")

    def start(self, unreadable="", save_fails=False):
        """Lines that the start printed: what was saved, and which partition was started."""
        unreadable = " ".join(one.split()[1] for one in unreadable.split(",") if one)
        script = f"STORE={self.store}\nUNREADABLE='{unreadable}'\n{'SAVE_FAILS=1' if save_fails else ''}\n{COMMANDS}\n{SCRIPT.read_text()}"
        script = script.replace("setenv BOOT_${slot}_LEFT", 'setenv "BOOT_${slot}_LEFT"')
        run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=10)
        assert run.returncode == 0 and not run.stderr, run.stderr
        return run.stdout.splitlines()


def started(lines):
    return f"mmc {lines[-1].split()[1].rstrip(':')}" if lines[-1].startswith("start ") else lines[-1]


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


def update_into(board, slot):
    """What `rauc install` leaves, with bootloader=uboot."""
    other = {"a": "b", "b": "a"}[slot]
    board.set(BOOT_ORDER=f"{slot} {other}", **{f"BOOT_{slot}_LEFT": 3})


def test_it_parses():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    text = "\n".join(line for line in SCRIPT.read_text().splitlines() if not line.startswith("#"))
    for word in ("[[", "$(", "`", "function ", "while ", "break"):
        assert word not in text, f"{word} is not for U-Boot's old parser"


def test_the_first_start_takes_a_and_leaves_an_environment(board):
    lines = board.start()
    assert lines[0] == "saved a=3 b=0 order=a good=a"
    assert started(lines) == A
    assert "root=PARTLABEL=root-a " in lines[-1] and " rauc.slot=a " in lines[-1] and "console=serial0,115200 " in lines[-1]


def test_an_ordinary_start_writes_nothing(board):
    board.start()
    for _ in range(5):
        lines = board.start()
        assert len(lines) == 1 and started(lines) == A
        assert "fieldgate.trial" not in lines[0]


def test_an_update_is_tried_three_times_and_then_left(board):
    board.start()
    update_into(board, "b")
    for left in (2, 1, 0):
        lines = board.start()
        assert lines[0] == f"saved a=3 b={left} order=b a good=a"
        assert started(lines) == B and lines[-1].endswith("fieldgate.trial")
    for _ in range(2):
        lines = board.start()
        assert len(lines) == 1 and started(lines) == A


def test_an_update_that_is_kept_is_counted_no_more(board):
    board.start()
    update_into(board, "b")
    board.start()
    board.set(BOOT_b_LEFT=3, BOOT_GOOD="b")
    for _ in range(4):
        lines = board.start()
        assert len(lines) == 1 and started(lines) == B and "root=PARTLABEL=root-b " in lines[0]


def test_the_next_update_goes_the_other_way(board):
    board.start()
    board.set(BOOT_ORDER="b a", BOOT_b_LEFT=3, BOOT_GOOD="b")
    update_into(board, "a")
    assert [started(board.start()) for _ in range(5)] == [A, A, A, B, B]


def test_power_that_fails_between_rauc_and_u_boot_leaves_a_try(board):
    """fieldgate-keep-slot tells RAUC first: tries are full again, but the slot is not the good one yet."""
    board.start()
    update_into(board, "b")
    board.start()
    board.set(BOOT_b_LEFT=3)
    lines = board.start()
    assert started(lines) == B and lines[-1].endswith("fieldgate.trial")


def test_a_kernel_that_cannot_be_read_leads_to_the_other_slot_at_once(board):
    board.start()
    update_into(board, "b")
    assert started(board.start(unreadable=B)) == A


def test_a_try_that_cannot_be_counted_is_none(board):
    board.start()
    update_into(board, "b")
    assert started(board.start(save_fails=True)) == A


def test_a_slot_that_was_marked_bad_is_not_taken(board):
    board.start()
    board.set(BOOT_ORDER="b a", BOOT_b_LEFT=0)
    assert started(board.start()) == A


def test_with_no_try_left_the_good_slot_is_started_all_the_same(board):
    board.start()
    board.set(BOOT_ORDER="b a", BOOT_a_LEFT=0, BOOT_b_LEFT=0, BOOT_GOOD="b")
    lines = board.start()
    assert started(lines) == B and "rauc.slot=b" in lines[-1]


def test_with_nothing_to_start_it_begins_anew(board):
    board.start()
    assert board.start(unreadable=f"{A},{B}")[-1] == "reset"
