"""The command that serves the page: its messages, where it listens, how it ends."""

import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_jax.app import server
from fcn_jax.commands.serve import serve

STORED = Path(__file__).with_name("run_of_0_1")


def refused(capsys, *args, **options):
    with pytest.raises(SystemExit) as end:
        serve(*args, **options)
    out, err = capsys.readouterr()
    assert end.value.code == 1 and out == "" and err.count("\n") == 1
    return err


def test_without_gradio_there_is_one_message(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gradio" else find(name, *a)
    )
    said = refused(capsys, (STORED,))
    assert said == "error: the page needs gradio: pip install 'fcn-jax[app]'\n"


def test_mistakes_of_the_command_give_one_message(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "check_gradio", lambda: None)
    assert "takes one net or two, found 0" in refused(capsys, ())
    assert "takes one net or two, found 3" in refused(capsys, (STORED,) * 3)
    assert "there is no such run" in refused(capsys, (tmp_path / "absent",))
    assert "--max-megabytes" in refused(capsys, (STORED,), max_megabytes=-1.0)
    assert "--bands" in refused(capsys, (STORED,), bands="red")


def test_an_address_that_cannot_be_listened_on():
    with server.listening("127.0.0.1", 0) as listener:
        where = server.address(listener)
        port = listener.getsockname()[1]
        assert where == f"http://127.0.0.1:{port}"
        with pytest.raises(
            ValueError, match=f"127.0.0.1:{port} cannot be .* choose another --port"
        ):
            server.listening("127.0.0.1", port)
    with pytest.raises(ValueError, match="--port: expected 0 to 65535, found 70000"):
        server.listening("127.0.0.1", 70_000)
    with pytest.raises(ValueError, match=r"192.0.2.1:0 cannot be listened on"):
        server.listening("192.0.2.1", 0)
    if socket.has_ipv6:
        try:
            with server.listening("::1", 0) as listener:
                assert server.address(listener).startswith("http://[::1]:")
        except ValueError:
            pass  # no such address here


@pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="needs gradio: pip install 'fcn-jax[app]'"
)
def test_the_command_serves_this_machine_alone_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "fcn_jax", "serve", str(STORED), "--port", "0"]
    more = {"env": os.environ | {"TMPDIR": str(tmp_path)}, "stdout": subprocess.PIPE}
    more["stderr"] = subprocess.PIPE
    with subprocess.Popen(command, text=True, **more) as process:
        said = re.fullmatch(
            r"page: http://127\.0\.0\.1:(\d+) \(Ctrl-C ends it\)\n", process.stdout.readline()
        )
        assert said
        [folder] = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o77 == 0  # what users send is their own
        connection = http.client.HTTPConnection("127.0.0.1", int(said[1]))
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200 and b"run_of_0_1" in answer.read()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self' ")
        connection.request("GET", "/gradio_api/heartbeat/someone")  # as a page that is open
        beating = connection.getresponse()
        assert beating.readline().startswith(b"data: ALIVE")
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
        assert process.wait(30) == 130
        connection.close()
    assert list(tmp_path.iterdir()) == []
