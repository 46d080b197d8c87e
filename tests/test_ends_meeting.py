"""Processes of one run that find each other, and those that do not."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fcn_jax.devices import meeting
from fcn_jax.devices.meeting import Patience, meet
from fcn_jax.devices.processes import join


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(meeting, "_PAUSE", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def all_meet(address, *numbers, timeout=60.0):
    """What became of each (process, processes): "" or the error."""
    ends = {}

    def one(number, total):
        try:
            meet(address, total, number, Patience(timeout, every=0.05))
            ends[number] = ""
        except ValueError as error:
            ends[number] = str(error)

    threads = [threading.Thread(target=one, args=each) for each in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_all_go_on_when_all_are_there(address):
    assert all_meet(address, (2, 3), (0, 3), (1, 3)) == {0: "", 1: "", 2: ""}
    with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
        pass  # the port is free for JAX


def test_who_is_missing_is_said_again_and_again_and_in_the_end(address, capsys):
    ends = all_meet(address, (0, 4), (2, 4), timeout=1.0)
    what = f"2 of 4 processes are at {address}; missing: 1, 3"
    assert ends[0].startswith(f"{what}; gave up after 1 s (--join-timeout)")
    assert ends[2].startswith(f"process 2 of 4 waits for process 0 at {address}")
    assert capsys.readouterr().err.count(what) > 2


def test_without_process_0_the_others_name_its_address(address, capsys):
    ends = all_meet(address, (1, 2), timeout=0.2)
    assert f"waits for process 0 at {address} (Connection refused); gave up" in ends[1]
    assert "(Connection refused) (" in capsys.readouterr().err


def test_a_port_in_use_is_a_message(address):
    with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
        ends = all_meet(address, (0, 2))
    assert "process 0 cannot listen at port" in ends[0] and "Address already in use" in ends[0]


def test_contradictions_are_refused_and_strangers_left_alone(address):
    others = [threading.Thread(target=all_meet, args=(address, (n, 3))) for n in (0, 1)]
    for other in others:
        other.start()
    host, port = address.split(":")
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"\xff", b""):
        while True:
            try:
                stranger = socket.create_connection((host, int(port)))
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        with stranger:
            stranger.sendall(text)
    assert all_meet(address, (2, 2)) == {
        2: "process 0 was started with --processes 3, this one with 2"
    }
    time.sleep(0.05)  # until process 1 has called
    assert all_meet(address, (1, 3)) == {1: "another process has --process 1 too"}
    assert all_meet(address, (2, 3)) == {2: ""}
    for other in others:
        other.join()


@pytest.mark.parametrize("coordinator", ["host:0", "host:65536", "host", ":"])
def test_an_address_that_cannot_be_is_refused(coordinator):
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        join(coordinator, 2, 0)


def test_jax_that_waits_too_long_is_ended_with_one_message():
    """A cluster's processes do not meet at an address that we know."""
    code = (
        "from fcn_jax.devices import meeting; import time; meeting._PAUSE = 0.01\n"
        "with meeting.aloud('waiting for the others', meeting.Patience(0.1, 0.04)): time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 1 and lines[0] == "waiting for the others (0 s)"
    assert lines[-1].startswith("error: waiting for the others; gave up")
    assert os.linesep not in lines[-1]
