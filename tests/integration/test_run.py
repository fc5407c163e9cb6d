"""`coso run` as people use it: words, exit statuses, signals, terminals, errors."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Coso, eventually, what_is_left


@pytest.mark.parametrize(
    ("line", "status"),
    [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137), ("sh -c 'kill -15 $$'; exit $?", 143)],
)
def test_the_exit_status_is_the_commands(run: Coso, line: str, status: int) -> None:
    assert run(line).returncode == status


def test_a_killed_container_is_128_and_the_signal(start) -> None:  # type: ignore[no-untyped-def]
    process = start("echo up; exec sleep 100")
    process.stdout.readline()
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    os.kill(int(child), signal.SIGKILL)
    assert process.wait(10) == 137
    assert not what_is_left()


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["nonsense"], 127, "there is no such command"),
        (["/no/such"], 127, "there is no such command"),
        (["/etc/passwd"], 126, "cannot be executed: permission denied"),
        (["/etc"], 126, "cannot be executed"),
    ],
)
def test_a_command_that_cannot_run_is_said_in_a_sentence(run: Coso, command: list[str], status: int, said: str) -> None:
    done = run("--", *command)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not what_is_left()


def test_a_script_without_its_interpreter_is_explained(run: Coso, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    done = run("-v", f"{script}:/script", "--", "/script")
    assert done.returncode == 127
    assert "interpreter" in done.stderr
    script.write_bytes(b"\0\1\2\3")
    assert run("-v", f"{script}:/script", "--", "/script").returncode == 126


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "-rootfs", "/no/rootfs"], "run `invoke fs-setup --rootfs /no/rootfs`"),
        (["run", "-rootfs", "/etc/passwd"], "not a directory"),
        (["run", "ubuntu"], "`coso images` lists what is here"),
        (["run", "--nothing"], "has no option"),
        (["rum"], "no command 'rum'"),
        (["run", "-rootfs", "{rootfs}", "-network", "/no/helper"], "run `invoke net-setup`"),
        (["run", "-rootfs", "{rootfs}", "-network", "/etc/passwd"], "not executable"),
        (["run", "-rootfs", "{rootfs}", "-network", "none", "--user", "ghost", "true"], "no user 'ghost'"),
        (
            ["run", "-rootfs", "{rootfs}", "-network", "none", "--user", "70000", "true"],
            "outside of the",
        ),
        (["run", "-rootfs", "{rootfs}", "-network", "none", "--workdir", "/etc/passwd", "true"], "working directory"),
    ],
)
def test_each_mistake_leads_to_the_next_right_command(coso: Coso, rootfs: Path, words: list[str], said: str) -> None:
    done = coso(*[word.replace("{rootfs}", str(rootfs)) for word in words])
    assert done.returncode == 125
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not what_is_left()


def test_what_takes_root_says_so(programs: Path, rootfs: Path) -> None:
    setpriv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    words = [*setpriv, str(programs / "coso"), "network", "create", "web"]
    os.chmod(programs.parent, 0o755)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "Permission denied" in done.stderr and "coso:" not in done.stderr:
        pytest.skip("this checkout cannot be read by others")
    assert done.returncode == 125
    assert "needs root" in done.stderr and "sudo" in done.stderr


def test_user_namespaces_switched_off_are_explained(run: Coso) -> None:
    switch = Path("/proc/sys/user/max_user_namespaces")
    earlier = switch.read_text()
    try:
        switch.write_text("0")
    except PermissionError:
        pytest.skip("this machine's root lacks CAP_SYS_RESOURCE, which this sysctl asks for")
    try:
        done = run("true")
    finally:
        switch.write_text(earlier)
    assert done.returncode == 125
    assert "user namespaces are switched off" in done.stderr
    assert "sysctl -w user.max_user_namespaces" in done.stderr


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_no_subcommand_is_run(coso: Coso, rootfs: Path, dashes: str) -> None:
    done = coso(f"{dashes}rootfs", str(rootfs), f"{dashes}network", "none", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_a_rootfs_that_others_can_write_is_refused(coso: Coso, tmp_path: Path) -> None:
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    (tmp_path / "rootfs").chmod(0o777)
    done = coso("run", "-rootfs", str(tmp_path / "rootfs"), "-network", "none", "true")
    assert done.returncode == 125 and "can be written by others" in done.stderr
    (tmp_path / "rootfs").chmod(0o755)
    os.chown(tmp_path / "rootfs", 65534, 0)
    done = coso("run", "-rootfs", str(tmp_path / "rootfs"), "-network", "none", "true")
    assert done.returncode == 125 and "belongs to user 65534" in done.stderr


def test_environment_directory_user_and_umask_are_set(run: Coso) -> None:
    done = run("-e", "A=1", "-w", "/made/here", "--user", "nobody:tty", "echo $A $HOME; pwd; id -un; id -gn; umask")
    assert done.stdout.split() == ["1", "/", "/made/here", "nobody", "tty", "0022"], done.stderr
    assert run("env").stdout.count("\n") >= 3


def test_standard_input_is_passed_on_only_when_asked(run: Coso) -> None:
    assert run("-i", "--", "cat", input="hello").stdout == "hello"
    assert run("--", "cat", input="hello").stdout == ""


def test_standard_output_can_be_opened_anew(run: Coso) -> None:
    assert run("echo out > /dev/stdout; echo err > /dev/stderr").stdout == "out\n"


def test_volumes_show_the_hosts_files_as_the_containers_own(run: Coso, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("from the host")
    tmp_path.chmod(0o755)
    done = run("-v", f"{tmp_path}:/data", "cat /data/here; stat -c %u /data/here; echo back > /data/there")
    assert done.stdout.split("\n")[0] == "from the host0"
    assert (tmp_path / "there").read_text() == "back\n"
    assert (tmp_path / "there").stat().st_uid == os.geteuid()
    assert "Read-only" in run("-v", f"{tmp_path}:/data:ro", "touch /data/x").stderr
    assert run("-v", f"{tmp_path}/here:/etc/deep/file", "cat /etc/deep/file").stdout == "from the host"


def test_an_etc_without_the_files_keeps_its_owner_and_mode(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    (image / "etc/resolv.conf").unlink(missing_ok=True)
    os.chown(image / "etc", 0, 7)
    (image / "etc").chmod(0o750)
    script = "stat -c '%u:%g %a' /etc; test -s /etc/resolv.conf && test -s /etc/passwd && touch /etc/new && echo ok"
    done = coso("run", "-rootfs", str(image), "-network", "none", "--", "sh", "-c", script)
    assert done.stdout.splitlines() == ["0:7 750", "ok"], done.stderr
    assert not (image / "etc/new").exists()


def test_an_image_whose_resolv_conf_is_a_dangling_link_gets_one(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    subprocess.run(["cp", "-a", str(rootfs), str(image)], check=True)
    (image / "etc/resolv.conf").unlink(missing_ok=True)
    (image / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    done = coso("run", "-rootfs", str(image), "-network", "none", "--", "cat", "/etc/resolv.conf")
    assert done.returncode == 0, done.stderr
    assert not Path("/run/systemd/resolve/stub-resolv.conf").exists() or done.stdout


def test_limits_of_the_shell_can_be_set(run: Coso) -> None:
    assert run("--ulimit", "nofile=100:200", "ulimit -Sn; ulimit -Hn").stdout.split() == ["100", "200"]


def test_a_limit_beyond_the_hard_one_is_an_error_not_silence(run: Coso) -> None:
    import resource

    earlier = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = run("--ulimit", f"nofile={earlier[1] + 1}", "ulimit -n")
    assert done.returncode == 125 or done.stdout.strip() == str(earlier[1] + 1)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(start, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    name = number.name.removeprefix("SIG")
    process = start(f"trap 'echo got; exit 9' {name}; echo up; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(10) == 9
    assert process.stdout.read() == "got\n"


def test_with_init_a_command_without_handlers_ends_at_sigterm(start) -> None:  # type: ignore[no-untyped-def]
    process = start("--init", "--", "/bin/sh", "-c", "echo up; exec sleep 100")
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.wait(10) == 143


def test_init_reaps_orphans_and_keeps_the_status(run: Coso) -> None:
    done = run("--init", "(sleep 0.1 &) ; sleep 0.4; ls -d /proc/[0-9]* | wc -l; exit 5")
    assert done.returncode == 5
    assert int(done.stdout) <= 4


def test_three_interrupts_end_a_command_that_ignores_them(start) -> None:  # type: ignore[no-untyped-def]
    process = start("--", "sleep", "100")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    # Before execve it is Python that would be interrupted.
    assert eventually(
        lambda: [p for p in children.read_text().split() if "sleep" in Path(f"/proc/{p}/comm").read_text()]
    )
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.wait(10) == 137


class Terminal:
    """A person at a terminal of 40 by 111."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(words[0], words)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", 40, 111, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_until(self, wanted: str, seconds: float = 10) -> str:
        seen = ""
        os.set_blocking(self.fd, False)

        def look() -> bool:
            nonlocal seen
            try:
                seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                pass
            return wanted in seen

        assert eventually(look, seconds), seen
        return seen

    def end(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_person_gets_a_shell_with_job_control_and_window_size(programs: Path, rootfs: Path) -> None:
    terminal = Terminal([str(programs / "coso"), "run", "-rootfs", str(rootfs), "-network", "none"])
    terminal.read_until("# ")
    terminal.type("tty; ls -l /dev/console; echo pid=$$\n")
    seen = terminal.read_until("pid=1")
    assert "/dev/pts/0" in seen
    assert "can't access tty" not in seen
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 33, 99, 0, 0))
    os.kill(terminal.pid, signal.SIGWINCH)
    time.sleep(0.2)
    terminal.type("stty size\n")
    terminal.read_until("33 99")
    terminal.type("sleep 100\n")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.type("echo status=$?\n")
    terminal.read_until("status=130")
    terminal.type("exit 4\n")
    assert terminal.end() == 4
    assert not what_is_left()


def test_the_terminal_is_given_back_as_it_was(programs: Path, rootfs: Path) -> None:
    line = f"{programs}/coso run -t -i -rootfs {rootfs} -network none -- true; stty -a | grep -o ' [-]*icanon'"
    terminal = Terminal(["/bin/sh", "-c", line])
    assert "-icanon" not in terminal.read_until("icanon")
    terminal.end()


def test_explain_names_every_step_with_call_reason_page_and_time(run: Coso) -> None:
    said = run("--explain", "true").stderr
    steps = re.findall(r"^ *(\d+) (.{22}) .*  \d+ µs$", said, re.M)
    assert len(steps) > 25
    for wanted in ("clone3(CLONE_NEWIPC|", "pivot_root(", "MOUNT_ATTR_IDMAP", "[capabilities(7)", "[cgroups(7)]"):
        assert wanted in said


def test_every_run_leaves_nothing_behind(run: Coso) -> None:
    run("mkdir -p /a/b/c && touch /a/b/c/d && exit 3")
    assert not what_is_left()


def test_the_default_rootfs_and_images_by_name(coso: Coso, monkeypatch: pytest.MonkeyPatch) -> None:
    done = coso("run", "alpine:99.99", "true")
    assert done.returncode == 125
    assert "invoke fs-setup" in done.stderr


def test_a_tree_deeper_than_any_stack_is_removed(run: Coso) -> None:
    dig = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; touch bottom"
    assert run("-w", "/tmp", dig).returncode == 0
    assert not what_is_left()


def test_the_callers_umask_does_not_matter(run: Coso) -> None:
    done = run("--user", "nobody", "ls / > /dev/null && umask", umask=0o077)
    assert (done.returncode, done.stdout) == (0, "0022\n"), done.stderr


def test_a_caller_that_ignores_signals_gets_its_container_all_the_same(run: Coso) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    done = run("--init", "kill -TERM $$; echo ignored", preexec_fn=ignore)
    assert (done.returncode, done.stdout) == (143, ""), done.stderr


def test_closed_standard_streams_do_not_change_the_status(programs: Path, rootfs: Path) -> None:
    line = f"{programs}/coso run -rootfs {rootfs} -network none -- sh -c 'exit 6' >&- 2>&- <&-"
    assert subprocess.run(["/bin/sh", "-c", line], check=False).returncode == 6


@pytest.mark.parametrize("word", ["a\x1fb", "a" * 70000, "\udcff"])
def test_strange_words_are_no_traceback(run: Coso, word: str) -> None:
    done = run("--", word)
    assert done.returncode in (125, 126, 127)
    assert "Traceback" not in done.stderr


def test_control_groups_mounted_twice_are_used_once(run: Coso, tmp_path: Path) -> None:
    # Private: taking a shared copy away again would take the original away too.
    subprocess.run(["mount", "--rbind", "--make-rprivate", "/sys/fs/cgroup", str(tmp_path)], check=True)
    try:
        assert run("true").returncode == 0
    finally:
        subprocess.run(["umount", "-R", str(tmp_path)], check=True)


def test_explain_tells_what_was_imported_and_nothing_is_beyond_the_budget(coso: Coso, rootfs: Path) -> None:
    words = ("-network", "none", "--memory", "64m", "-u", "33", "-e", "A=1", "-v", "/etc:/x:ro", "-w", "/tmp")
    done = coso("run", "--explain", "-rootfs", str(rootfs), *words, "--", "true")
    assert done.returncode == 0, done.stderr
    assert "modules of coso; besides _ctypes _json" in done.stderr
    assert "beyond the budget" not in done.stderr
